"""Pieces that several recipes build their networks of.  Maps keep their size unless a layer says otherwise."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from tracker.spec import HALF_PX, SIZE
from train.recipes.learn import OUTPUTS


def convolution(before: int, after: int, side: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, side, padding=side // 2), activation())


class Flattened(nn.Module):
    """Maps (N, C, H, W) -> (N, H * W * C), in the order in which channels-last maps lie: nothing is copied."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


class InPx(nn.Module):
    """The end of a network whose outputs are crop px, as the labels stand in Kaggle's file: px -> unit space."""

    def forward(self, points: Tensor) -> Tensor:
        return points / HALF_PX - 1


def start_as_keras(module: nn.Module) -> None:
    """Give a layer the weights from which Keras starts: uniform by Glorot and Bengio 2010, no biases."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


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
    layers += [Flattened(), nn.Linear(before * map_side**2, dense), activation(), nn.Linear(dense, OUTPUTS)]
    return nn.Sequential(*layers)
