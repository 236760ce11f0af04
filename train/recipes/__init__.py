"""The published systems that this project descends from, one file per family, and our own beside them.

Each is a `Recipe`: it learns from `Faces` under `Terms` and becomes `Fitted`, which predicts labels in Kaggle's crop
px.  Gaps in a publication are filled with the usual choice, and the file says so.
"""

from train.recipes import base, cnn, knn, ours, selu15, simple, transfer
from train.recipes.contract import Recipe

RECIPES: tuple[Recipe, ...] = (
    *knn.RECIPES,
    *cnn.RECIPES,
    *base.RECIPES,
    *transfer.RECIPES,
    *simple.RECIPES,
    *selu15.RECIPES,
    *ours.RECIPES,
)
"""In the order in which they are run."""
