"""A course's plain network.

Published: about 1,700 faces to learn from, 60 epochs in batches of 32, Adam, mean squared error, 2.5 px on Kaggle.  Not
published: the layers, and which rows they were (here the complete ones).
"""

from train.data.kaggle import Faces
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete
from train.recipes.layers import plain_cnn
from train.recipes.learn import Course, fit_network

COURSE = Course(epochs=60, patience=None, batch=32)


def fit(faces: Faces, terms: Terms) -> Fitted:
    return fit_network(plain_cnn((16, 32, 64), 128), complete(faces), terms, COURSE)


RECIPES = (Recipe("simple", fit, published_kaggle=2.5),)
