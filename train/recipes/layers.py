"""Pieces that several recipes build their networks of.  Maps keep their size where a layer does not say otherwise."""

from collections.abc import Callable, Sequence

from torch import nn

from tracker.spec import SIZE
from train.recipes.learn import OUTPUTS


def convolution(before: int, after: int, side: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, side, padding=side // 2), activation())


def plain_cnn(
    widths: Sequence[int], dense: int, *, depth: int = 1, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Stages of `depth` 3x3 convolutions, each halving the map at its end, one hidden dense layer, 30 outputs."""
    layers: list[nn.Module] = []
    before = 1
    for width in widths:
        for _ in range(depth):
            layers.append(convolution(before, width, 3, activation))
            before = width
        layers.append(nn.MaxPool2d(2))
    map_side = SIZE >> len(widths)
    layers += [nn.Flatten(), nn.Linear(before * map_side**2, dense), activation(), nn.Linear(dense, OUTPUTS)]
    return nn.Sequential(*layers)
