"""The network: a compact U-shaped SELU CNN that ends in one heat map per keypoint and label scheme.

In: gray crops (N, 1, 96, 96) uint8, or float 0..255 in training.
Out: points (N, 34, 2) and sigma (N, 34), both in unit space: scheme A's 15 keypoints, B's 15, C's 4 (`HEADS`).

There is no batch norm: SELU keeps activations near mean 0 and variance 1 when weights start LeCun normal
(Klambauer et al. 2017, "Self-Normalizing Neural Networks"); each residual branch starts small (SkipInit, De & Smith
2020).  A keypoint is the mean of its heat map (soft-argmax; "integral regression", Sun et al. 2018).  Its
uncertainty combines the map's spread with a linear reading of the deepest layer.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tracker.spec import INDEX, KEYPOINTS, MIRROR, SIZE
from train.data.schemes import C_KEYPOINTS

HEADS: tuple[tuple[str, int], ...] = tuple(
    (scheme, INDEX[name])
    for scheme, names in (("A", KEYPOINTS), ("B", KEYPOINTS), ("C", C_KEYPOINTS))
    for name in names
)
"""(scheme, keypoint) of each of the network's 34 outputs.  Kaggle's rows were labelled by three conventions that
disagree on nose tip and lips; each has its own maps."""

SHOWN: list[int] = [i for i, (scheme, _) in enumerate(HEADS) if scheme == "A"]
"""The outputs that the tracker shows: scheme A's, in the order of `KEYPOINTS`."""

HEAD_MIRROR: tuple[int, ...] = tuple(HEADS.index((scheme, MIRROR[keypoint])) for scheme, keypoint in HEADS)
"""`points[:, HEAD_MIRROR]` reorders outputs after a horizontal flip."""


@dataclass(frozen=True, slots=True)
class NetConfig:
    """Sizes of the network.  The defaults are the net that ships.

    Its channels are multiples of 16, because processors compute them in blocks of 16: 24 would cost as much as 32.
    """

    stem: int = 0
    """Channels at 48x48; 0 for one convolution from the crop to 24x24."""
    widths: tuple[int, ...] = (32, 48, 96)
    """Channels at 24x24, 12x12, 6x6 ..."""
    inners: tuple[int, ...] = (32, 64, 128)
    """Channels within the residual blocks, at each resolution."""
    kernels: tuple[int, ...] = (3, 5, 5)
    """Kernel sizes of the depthwise convolutions, at each resolution."""
    depths: tuple[int, ...] = (1, 2, 2)
    """Residual blocks on the way down, at each resolution."""
    up_depths: tuple[int, ...] = (1, 0)
    """Residual blocks on the way up, at each resolution except the last."""
    selu_between: bool = False
    """Whether SELU also follows the convolutions between stages and precedes the heat maps."""
    dense: bool = False
    """Whether blocks mix space and channels in one convolution: more multiply-adds, but faster to train on a CPU."""


class Block(nn.Module):
    """x + gain * project(selu(expand(depthwise(x)))): one activation per residual branch, as in ConvNeXt.

    In a `dense` block there is no depthwise convolution; `expand` is 3x3 instead.
    """

    def __init__(self, width: int, inner: int, kernel: int, *, dense: bool) -> None:
        super().__init__()
        self.depthwise = nn.Identity() if dense else nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.expand = nn.Conv2d(width, inner, 3, padding=1) if dense else nn.Conv2d(width, inner, 1)
        self.project = nn.Conv2d(inner, width, 1)
        self.gain = nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.project(nn.functional.selu(self.expand(self.depthwise(x))))


class _Down(nn.Conv2d):
    """Halves width and height: a 2x2 convolution with stride 2."""

    def __init__(self, before: int, after: int, *, selu: bool) -> None:
        super().__init__(before, after, 2, stride=2)
        self._selu = selu

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return nn.functional.selu(x) if self._selu else x


class Net(nn.Module):
    """The docstring of this module defines inputs and outputs."""

    axis: Tensor
    moments: Tensor
    offset: Tensor
    """(34, 2) unit space, added to the points: zero until training is over, see train/learn/calibrate.py."""

    def __init__(self, config: NetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetConfig()
        widths = config.widths
        downs = [_Down(*pair, selu=config.selu_between) for pair in itertools.pairwise(widths)]
        if config.stem:
            self.stem = nn.Conv2d(1, config.stem, 5, stride=2, padding=2)
            self.down = nn.ModuleList([_Down(config.stem, widths[0], selu=config.selu_between), *downs])
        else:
            self.stem = nn.Conv2d(1, widths[0], 8, stride=4, padding=2)
            self.down = nn.ModuleList([nn.Identity(), *downs])
        self.down_blocks = nn.ModuleList(self._blocks(level, depth) for level, depth in enumerate(config.depths))
        self.up = nn.ModuleList(nn.Conv2d(below, width, 1) for width, below in itertools.pairwise(widths))
        self.up_blocks = nn.ModuleList(self._blocks(level, depth) for level, depth in enumerate(config.up_depths))
        self.smooth = nn.Conv2d(widths[0], widths[0], 3, padding=1, groups=widths[0])
        self.maps = nn.Conv2d(widths[0], len(HEADS), 1)
        self.spread_weight = nn.Parameter(torch.full((len(HEADS),), 0.5))
        self.doubt = nn.Linear(widths[-1], len(HEADS))
        map_size = SIZE // 4
        self.register_buffer("axis", (torch.arange(map_size) + 0.5) / map_size * 2 - 1, persistent=False)
        self.register_buffer("moments", _moments(self.axis), persistent=False)
        self.register_buffer("offset", torch.zeros(len(HEADS), 2), persistent=False)
        self.apply(lecun_normal)
        with torch.no_grad():
            self.doubt.weight.zero_()
            self.doubt.bias.fill_(-2.0)

    def _blocks(self, level: int, depth: int) -> nn.Sequential:
        config = self.config
        sizes = config.widths[level], config.inners[level], config.kernels[level]
        return nn.Sequential(*(Block(*sizes, dense=config.dense) for _ in range(depth)))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 96, 96) uint8 or 0..255 -> points (N, 34, 2), sigma (N, 34), float32, unit space."""
        logits, deepest = self.heat(standardised(faces))
        return self.read(logits, deepest)

    def heat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised crops (N, 1, 96, 96) -> logits of the heat maps (N, 34, h, w), deepest features (N, C)."""
        features, deepest = self.features(x)
        return self.mapped(features), deepest

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised crops (N, 1, 96, 96) -> what the maps are made of (N, C, h, w), deepest features (N, C)."""
        x = nn.functional.selu(self.stem(x))
        skips = []
        for down, blocks in zip(self.down, self.down_blocks, strict=True):
            x = blocks(down(x))
            skips.append(x)
        deepest = x.mean((2, 3))
        for up, blocks, skip in reversed(list(zip(self.up, self.up_blocks, skips, strict=False))):
            x = blocks(skip + nn.functional.interpolate(up(x), scale_factor=2, mode="nearest"))
        return x, deepest

    def mapped(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> logits of the heat maps (N, 34, h, w)."""
        x = features + self.smooth(features)
        logits: Tensor = self.maps(nn.functional.selu(x) if self.config.selu_between else x)
        return logits

    def read(self, logits: Tensor, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """Heat map logits (N, 34, h, w) and deepest features (N, C) -> points (N, 34, 2), sigma (N, 34)."""
        return self.located(density_of(logits), deepest)

    def located(self, density: Tensor, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """The probability of each cell (N, 34, h * w), deepest features (N, C) -> points (N, 34, 2), sigma (N, 34)."""
        moments = density @ self.moments
        points = moments[..., :2]
        variance = (moments[..., 2:] - points.square()).sum(-1) / 2
        log_spread = 0.5 * torch.log(variance + 1e-5)
        log_sigma = self.spread_weight * log_spread + self.doubt(deepest.float())
        return points + self.offset, torch.exp(log_sigma.clamp(-8.0, 1.0))


def density_of(logits: Tensor) -> Tensor:
    """Heat map logits (N, K, h, w) -> the probability of each cell (N, K, h * w)."""
    return logits.float().flatten(2).softmax(-1)


def standardised(faces: Tensor) -> Tensor:
    """Each crop with mean 0 and standard deviation 1, so that exposure and contrast do not matter."""
    x = faces.float()
    x = x - x.mean((1, 2, 3), keepdim=True)
    return x * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + 16.0)


def parameter_count(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


@torch.no_grad()
def mac_count(net: nn.Module) -> int:
    """Multiply-adds of one 96x96 crop in all convolutions, linear layers and products of matrices."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, SIZE, SIZE, device=next(net.parameters()).device))
    return counter.get_total_flops() // 2


def _moments(axis: Tensor) -> Tensor:
    """Cell centres (h,) along one axis -> (h * h, 4): x, y, x^2, y^2 of each cell, unit space."""
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    xy = torch.stack([x.flatten(), y.flatten()], 1)
    return torch.cat([xy, xy.square()], 1)


def lecun_normal(module: nn.Module) -> None:
    """Initialise one layer so that SELU keeps mean and variance: normal with variance 1 / inputs, biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        nn.init.normal_(module.weight, std=1 / math.sqrt(fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def predicted(net: Net, images: NDArray[np.uint8], batch: int = 256) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The net's outputs for crops (N, 96, 96) uint8: points (N, 34, 2), sigma (N, 34), unit space."""
    outputs = [net(crops.to(net.axis.device)) for crops in torch.split(torch.from_numpy(images[:, None]), batch)]
    points, sigma = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return points, sigma
