"""The best of a course's fifteen networks, autumn 2021: SELU, missing labels filled by the network itself, rotation.

Published: SELU, predict the missing keypoints, add them, train again; rotation; mean squared error.  Not published: the
layers, how far it rotates (here 10 degrees), the epochs, how often it fills (here once, after half of them), whether
training started again (here it continues).  Its scores were published as pictures only.
"""

import time
from dataclasses import replace

import numpy as np
from torch import nn

from train.data.kaggle import Faces
from train.learn.model import lecun_normal
from train.recipes.augment import rotated
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete, labelled
from train.recipes.layers import plain_cnn
from train.recipes.learn import Course, Learned, fitted, learn, predicted

HALF = Course(epochs=50, augment=rotated)


def fit(faces: Faces, terms: Terms) -> Fitted:
    """Learn from the complete rows, fill in the others, learn from all."""
    faces = labelled(faces)
    net = plain_cnn((16, 32, 64, 128), 256, activation=nn.SELU).apply(lecun_normal)
    half_time = replace(terms, ends_at=time.monotonic() + terms.seconds_left() / 2)
    first = learn(net, complete(faces), half_time, HALF, "complete")
    second = learn(net, _filled(faces, net), terms, HALF, "filled")
    both = Learned(first.epochs + second.epochs, second.finished, first.seconds_before + second.seconds_before)
    return fitted(net, len(faces.images), both, replace(HALF, epochs=2 * HALF.epochs))


def _filled(faces: Faces, net: nn.Module) -> Faces:
    """What is not labelled is what `net` says."""
    points = faces.points.copy()
    gaps = np.isnan(points).any((1, 2))
    points[gaps] = np.where(np.isnan(points[gaps]), predicted(net, faces.images[gaps]), points[gaps])
    return replace(faces, points=points)


RECIPES = (Recipe("selu15", fit),)
