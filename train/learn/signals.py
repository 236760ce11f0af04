"""A small head on a finished net: how far eyes and mouth are open, see `tracker.spec.SIGNALS`.

In: what the net saw.  Out: signals and their sigma.  The heat map of each keypoint says where the keypoint is, so the
mean of the net's features under it is what the net saw there.  From these means and from its deepest features two
layers read the signals and how far they may be off.
"""

import torch
from torch import Tensor, nn

from tracker.spec import KEYPOINTS, SIGNALS, mirrored_name
from train.learn.model import Net, density_of, mac_count, standardised

LOG_SIGMA = -6.0, 1.0
"""Least and largest."""

SIGNAL_MIRROR = tuple(SIGNALS.index(mirrored_name(name)) for name in SIGNALS)
"""`signals[:, SIGNAL_MIRROR]` are those of the mirror image."""


class SignalHead(nn.Module):
    """What the net saw (N, F) -> signals (N, 3) and their sigma (N, 3)."""

    def __init__(self, seen: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(seen, hidden)
        self.value = nn.Linear(hidden, len(SIGNALS))
        self.doubt = nn.Linear(hidden, len(SIGNALS))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.hidden(seen))
        return self.value(hidden), torch.exp(self.doubt(hidden).clamp(*LOG_SIGMA))


class Telling(nn.Module):
    """A net with only scheme A's outputs that tells signals too."""

    def __init__(self, net: Net, head: SignalHead) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 1, 96, 96) uint8 -> points, sigma, signals (N, 3), signals_sigma (N, 3)."""
        features, deepest = self.net.features(standardised(faces))
        density = density_of(self.net.mapped(features))
        return *self.net.located(density, deepest), *self.head(pooled(features, density, deepest))

    @property
    def macs(self) -> int:
        """Multiply-adds of one crop."""
        cells, widths = len(self.net.axis) ** 2, self.net.config.widths
        head = sum(parameter.numel() for parameter in self.head.parameters() if parameter.ndim == 2)
        return mac_count(self.net) + len(KEYPOINTS) * widths[0] * cells + head


def pooled(features: Tensor, density: Tensor, deepest: Tensor) -> Tensor:
    """Features (N, C, h, w) under each of scheme A's maps (N, 15, h * w), beside the deepest ones (N, D)."""
    at_points = density @ features.flatten(2).transpose(1, 2)
    return torch.cat([at_points.flatten(1), deepest], 1)
