"""A course's three networks: a plain one, a deeper one, and the plain one taught by every label there is.

Published: complete rows for the first two, a loss that ignores missing labels and therefore all rows for the third.
Not published: layers, optimiser, epochs, scores.  Here the deeper one has two convolutions where the plain one has one.
"""

from train.data.kaggle import Faces
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete, labelled
from train.recipes.layers import plain_cnn
from train.recipes.learn import Course, fit_network

WIDTHS = (16, 32, 64, 128)
DENSE = 256


def fit_base(faces: Faces, terms: Terms) -> Fitted:
    return fit_network(plain_cnn(WIDTHS, DENSE), complete(faces), terms, Course())


def fit_extended(faces: Faces, terms: Terms) -> Fitted:
    return fit_network(plain_cnn(WIDTHS, DENSE, depth=2), complete(faces), terms, Course())


def fit_masked(faces: Faces, terms: Terms) -> Fitted:
    return fit_network(plain_cnn(WIDTHS, DENSE), labelled(faces), terms, Course())


RECIPES = (Recipe("base", fit_base), Recipe("base-extended", fit_extended), Recipe("masked", fit_masked))
