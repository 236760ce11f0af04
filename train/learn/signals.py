"""A small head on a finished net: how far eyes and mouth are open, see `tracker.spec.SIGNALS`.

In: what the net saw.  Out: signals and their sigma.  The heat map of each keypoint says where the keypoint is, so the
mean of the net's features under it is what the net saw there.  Two layers read the signals, and how far they may be
off, from these means.
"""

import torch
from torch import Tensor, nn

from tracker.spec import KEYPOINTS, SIGNALS, mirrored_name
from train.learn.model import Net, density_of, standardised

SIGNAL_MIRROR = tuple(SIGNALS.index(mirrored_name(name)) for name in SIGNALS)
"""`signals[:, SIGNAL_MIRROR]` are those of the mirror image."""


class SignalHead(nn.Module):
    """What the net saw -> signals (N, 3) and their sigma (N, 3), below 1."""

    def __init__(self, width: int, *, narrow: int, hidden: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, narrow, 1, bias=False)
        """What comes first: features (N, C, h, w) -> (N, narrow, h, w)."""
        self.hidden = nn.Linear(len(KEYPOINTS) * narrow, hidden)
        self.value = nn.Linear(hidden, len(SIGNALS))
        self.doubt = nn.Linear(hidden, len(SIGNALS))

    def forward(self, at_points: Tensor) -> tuple[Tensor, Tensor]:
        """Narrow features at the keypoints (N, 15, narrow)."""
        hidden = torch.relu(self.hidden(at_points.flatten(1)))
        return self.value(hidden), torch.sigmoid(self.doubt(hidden))

    def narrowed(self, at_points: Tensor) -> Tensor:
        """Features at the keypoints (N, 15, C) -> (N, 15, narrow): means and convolution may change places."""
        return at_points @ self.narrow.weight.flatten(1).T


class Telling(nn.Module):
    """A net with only scheme A's outputs that tells signals too."""

    def __init__(self, net: Net, head: SignalHead) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 1, 96, 96) uint8 -> points, sigma, signals (N, 3), signals_sigma (N, 3)."""
        features, deepest = self.net.features(standardised(faces))
        narrow = self.head.narrow(features)  # before the maps, so that all convolutions come first: see `fp16_form`
        density = density_of(self.net.mapped(features))
        return *self.net.located(density, deepest), *self.head(under(density, narrow))


def under(density: Tensor, features: Tensor) -> Tensor:
    """The mean features (N, C, h, w) under each map (N, 15, h * w): (N, 15, C)."""
    return density @ features.flatten(2).transpose(1, 2)
