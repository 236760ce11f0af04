"""Nearest neighbours on raw pixels, December 2019: the five most similar pictures vote.

Published: k = 5, found by search; complete rows.  Not published: how many augmented copies there were (here one for
each row, beside it), and whether near neighbours count more (here all alike).
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from train.data.kaggle import Faces
from train.recipes.augment import augmented
from train.recipes.contract import Fitted, Predict, Recipe, Terms
from train.recipes.labels import complete

K = 5


def fit(faces: Faces, terms: Terms, *, augment: bool = False) -> Fitted:
    """Remember the complete rows, maybe with an augmented copy of each."""
    faces, random = complete(faces), np.random.default_rng(terms.seed)
    known = list(zip(faces.images, faces.points, strict=True))
    copies = [augmented(*face, random) for face in known] if augment else []
    images, points = (np.stack(part) for part in zip(*known, *copies, strict=True))
    notes = ("one augmented copy of each row",) if augment else ()
    return Fitted(_voting(images, points), rows=len(known), notes=notes)


def _voting(images: NDArray[np.uint8], points: NDArray[np.float32]) -> Predict:
    from sklearn.neighbors import KNeighborsRegressor

    model = KNeighborsRegressor(n_neighbors=K, algorithm="brute").fit(_pixels(images), points.reshape(len(points), -1))

    def predict(images: NDArray[np.uint8], _scheme: NDArray[np.uint8]) -> NDArray[np.float32]:
        return model.predict(_pixels(images)).reshape(len(images), -1, 2).astype(np.float32)

    return predict


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


RECIPES = (
    Recipe("knn", fit, 2.4898, 4.03406, ("sklearn",)),
    Recipe("knn-augmented", partial(fit, augment=True), 2.5213, 3.98281, ("sklearn",)),
)
