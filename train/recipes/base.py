"""A course's three networks: a plain one, a deeper one, and the plain one taught by every label there is.

Published: complete rows for the first two, a loss that ignores missing labels and therefore all rows for the third.
Not published: layers, optimiser, epochs, scores.  Here the deeper one has two convolutions where the plain one has one.
"""

from collections.abc import Callable
from functools import partial

from train.data.kaggle import Faces
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete, labelled
from train.recipes.layers import plain_cnn
from train.recipes.learn import Course, fit_network

WIDTHS = (16, 32, 64, 128)
DENSE = 256


def fit(faces: Faces, terms: Terms, *, rows: Callable[[Faces], Faces] = complete, depth: int = 1) -> Fitted:
    return fit_network(plain_cnn(WIDTHS, DENSE, depth=depth), rows(faces), terms, Course())


RECIPES = (
    Recipe("base", fit),
    Recipe("base-extended", partial(fit, depth=2)),
    Recipe("masked", partial(fit, rows=labelled)),
)
