"""Four convolutional networks of December 2019, each with and without augmentation, on complete rows.

Published: the layers and their numbers of parameters, which these match exactly (with the running statistics of batch
norm, as Keras counts), the augmentation, the scores.  Not published: activation (here ReLU), dropout rate, optimiser,
epochs; those are the ordinary ones.  Labels are px and weights start as in Keras: with labels in -1..1 and torch's
start, most of cnn0's hidden units fall silent in Adam's first steps, and 170 steps later it is 16 px off, five times as
far as the mean face.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from train.data.kaggle import Faces
from train.recipes.augment import augmented
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete
from train.recipes.layers import Flattened, InPx, convolution, start_as_keras
from train.recipes.learn import OUTPUTS, Course, fit_network

DROPOUT = 0.2


def cnn0() -> nn.Sequential:
    """14,177,602 parameters, nearly all between the 48x48 maps and the hidden layer."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        convolution(1, 32, 3),
        convolution(32, 64, 3),
        nn.MaxPool2d(2),
        nn.Dropout(DROPOUT),
        Flattened(),
        nn.Linear(64 * 48 * 48, 96),
        nn.ReLU(),
        nn.Linear(96, OUTPUTS),
    )


def cnn1() -> nn.Sequential:
    """7,153,762 parameters."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        convolution(1, 32, 3),
        convolution(32, 64, 3),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        convolution(64, 96, 3),
        nn.BatchNorm2d(96),
        Flattened(),
        nn.Linear(96 * 48 * 48, 32),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(32, OUTPUTS),
    )


def cnn2() -> nn.Sequential:
    """543,490 parameters: down to 6x6 before anything is dense."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        *_pooled(1, 16, 3),
        *_pooled(16, 32, 3),
        *_pooled(32, 64, 3),
        *_pooled(64, 128, 3),
        Flattened(),
        nn.Linear(128 * 6 * 6, 96),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(96, OUTPUTS),
    )


def cnn3() -> nn.Sequential:
    """220,050 parameters by its layers; the results of the same publication list 150,914 for a variant."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        *_pooled(1, 32, 5),
        nn.Dropout(DROPOUT),
        *_pooled(32, 32, 5),
        nn.Dropout(DROPOUT),
        *_pooled(32, 48, 5),
        nn.Dropout(DROPOUT),
        *_pooled(48, 64, 3),
        nn.Dropout(DROPOUT),
        *_pooled(64, 64, 3),
        Flattened(),
        nn.Linear(64 * 3 * 3, 128),
        nn.ReLU(),
        nn.Linear(128, 96),
        nn.ReLU(),
        nn.BatchNorm1d(96),
        nn.Linear(96, OUTPUTS),
    )


def _pooled(before: int, after: int, side: int) -> tuple[nn.Module, ...]:
    return convolution(before, after, side), nn.MaxPool2d(2), nn.BatchNorm2d(after)


def fit(faces: Faces, terms: Terms, *, build: Callable[[], nn.Module], course: Course) -> Fitted:
    """Train one of them on the complete rows."""
    return fit_network(started(build()), complete(faces), terms, course)


def started(net: nn.Module) -> nn.Sequential:
    """Ready to learn px."""
    return nn.Sequential(net, InPx()).apply(start_as_keras)


def _both(build: Callable[[], nn.Module], plain: tuple[float, float], more: tuple[float, float]) -> tuple[Recipe, ...]:
    """The recipe and its augmented twin, with their published (validation, Kaggle) scores."""
    name = build.__name__
    return (
        Recipe(name, partial(fit, build=build, course=Course()), *plain),
        Recipe(f"{name}-augmented", partial(fit, build=build, course=Course(augment=augmented)), *more),
    )


RECIPES = (
    *_both(cnn0, (1.5338, 3.3852), (1.4857, 3.3857)),
    *_both(cnn1, (1.9058, 3.5105), (1.4911, 3.0930)),
    *_both(cnn2, (3.1621, 5.4136), (2.3246, 3.5182)),
    *_both(cnn3, (1.4177, 2.8694), (1.0914, 2.7843)),
)
