"""Draws whole batches of training crops and augments them on the device that trains.

In: a `Bank` of faces (uint8 canvases, targets in unit space of the nominal crop).
Out: `Drawn` crops with their targets in unit space of the crop that was cut.

Everything is arithmetic on tensors of fixed shapes and no branch depends on a value, so a GPU never waits for the CPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from tracker.spec import SIZE
from train.learn.model import HEAD_MIRROR


@dataclass(slots=True)
class Bank:
    """Faces on canvases of one size.  The nominal 96x96 crop lies in the middle of the canvas, at the same scale."""

    images: Tensor
    """(M, 1, S, S) uint8 gray, S >= 96."""
    targets: Tensor
    """(M, 34, 2) float32, unit space of the nominal crop; any value where the weight is 0."""
    weights: Tensor
    """(M, 34) float32 >= 0: how much each target counts."""
    chances: Tensor
    """(M,) float32 cumulative: the chance to draw each face, ending in 1."""
    doubts: Tensor
    """(M, 34) float32: how much each label teaches sigma.  Below 0 the crop shows no face, and sigma must be large."""
    labels: Tensor
    """(M, 34, 2) float32, as `targets`, but never mixed with a teacher's answers: sigma is measured by them."""

    def to(self, device: torch.device) -> "Bank":
        return Bank(*(getattr(self, each.name).to(device) for each in fields(self)))


class Drawn(NamedTuple):
    """Augmented faces, N of them."""

    crops: Tensor
    """(N, 1, 96, 96) float 0..255."""
    targets: Tensor
    """(N, 34, 2) unit space."""
    weights: Tensor
    """(N, 34); also 0 for targets outside the crop."""
    doubts: Tensor
    """(N, 34)"""
    labels: Tensor
    """(N, 34, 2) unit space."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much training crops differ from the nominal one.  Most are standard deviations of clipped normal draws."""

    rotation_deg: float = 9.0
    scale: float = 0.08
    aspect: float = 0.03
    shift: float = 0.05
    """In unit space: 0.05 is 2.4 px."""
    flip: float = 0.5
    """Chance of mirroring."""
    brightness: float = 25.0
    """Light added everywhere, gray levels."""
    contrast: float = 0.25
    shade: float = 0.25
    """Strength of a linear light gradient across the crop."""
    blur_px: float = 0.8
    """Widest common Gaussian blur along a random axis (motion) and across it (focus)."""
    blur_share: float = 0.3
    noise: float = 6.0
    """Largest common sensor noise, gray levels."""
    jpeg_share: float = 0.2
    occlude_share: float = 0.2
    calm: float = 0.3
    """Share of crops that are the nominal one, except for the flip."""
    zoom_share: float = 0.1
    """Chance that a crop is far too small or too large for its face, as when tracking starts."""
    zoom: float = 0.6
    """Largest such change, as a logarithm: 0.55 to 1.8 times the nominal side."""
    exposure_share: float = 0.12
    """Share of crops that are far too dark or too bright."""


def draw(bank: Bank, count: int, settings: Augmentation) -> Drawn:
    """`count` augmented faces."""
    chosen = torch.searchsorted(bank.chances, torch.rand(count, device=bank.chances.device))
    placement = placed(count, settings, bank.images.device)
    moved = placement.into_crop(bank.targets[chosen])
    inside = (moved.abs().amax(2) < 1.0).float()  # a point pushed out of the crop cannot be read off its heat map
    return Drawn(
        disturbed(placement.cut(bank.images[chosen]), settings),
        moved,
        placement.reordered(bank.weights[chosen]) * inside,
        placement.reordered(bank.doubts[chosen]),
        placement.into_crop(bank.labels[chosen]),
    )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each of N crops lies in its canvas: nominal = axes @ crop + shift, both in unit space."""

    axes: Tensor
    """(N, 2, 2)"""
    shift: Tensor
    """(N, 2)"""
    mirrored: Tensor
    """(N,) bool"""

    def cut(self, canvases: Tensor) -> Tensor:
        """(N, 1, S, S) uint8 -> crops (N, 1, 96, 96) float 0..255."""
        ratio = SIZE / canvases.shape[-1]  # unit space of the crop -> unit space of the canvas
        theta = torch.cat([self.axes, self.shift[:, :, None]], 2) * ratio
        grid = torch.nn.functional.affine_grid(theta, [len(canvases), 1, SIZE, SIZE], align_corners=False)
        return torch.nn.functional.grid_sample(canvases.float(), grid, padding_mode="border", align_corners=False)

    def into_crop(self, points: Tensor) -> Tensor:
        """Points of every output (N, 34, 2) in the nominal crop -> the same in this crop."""
        return self.reordered((points - self.shift[:, None]) @ torch.linalg.inv(self.axes).transpose(1, 2))

    def out_of_crop(self, points: Tensor) -> Tensor:
        """The inverse of `into_crop`."""
        return self.reordered(points) @ self.axes.transpose(1, 2) + self.shift[:, None]

    def reordered(self, values: Tensor) -> Tensor:
        """(N, 34, ...) with left and right exchanged if the crop is mirrored."""
        order = torch.tensor(HEAD_MIRROR, device=values.device)
        mirrored = self.mirrored.view(-1, *[1] * (values.ndim - 1))
        return torch.where(mirrored, values[:, order], values)


def placed(count: int, settings: Augmentation, device: torch.device) -> Placement:
    """`count` random placements."""
    stray = (torch.rand(count, device=device) >= settings.calm).float()
    angle = _normal(count, device) * stray * math.radians(settings.rotation_deg)
    zoomed = (torch.rand(count, device=device) < settings.zoom_share).float() * stray
    zoom = (torch.rand(count, device=device) * 2 - 1) * settings.zoom * zoomed
    scale = torch.exp(_normal(count, device) * stray * settings.scale + zoom)
    aspect = torch.exp(_normal(count, device) * stray * settings.aspect)
    shift = torch.stack([_normal(count, device), _normal(count, device)], 1) * stray[:, None] * settings.shift
    mirrored = torch.rand(count, device=device) < settings.flip
    sign = torch.where(mirrored, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    axes = torch.stack([cos * aspect * sign, -sin / aspect, sin * aspect * sign, cos / aspect], 1)
    return Placement(axes.view(-1, 2, 2), shift, mirrored)


def disturbed(crops: Tensor, settings: Augmentation) -> Tensor:
    """Light, blur, noise, JPEG and something in front of the face; (N, 1, 96, 96) float 0..255 in and out."""
    count, device = len(crops), crops.device
    crops = _on_some(crops, settings.occlude_share, _occluded)
    crops = _on_some(crops, settings.blur_share, lambda some: _blurred(some, settings.blur_px))
    y, x = _grid(device)
    slope = torch.randn(2, count, 1, 1, 1, device=device) * settings.shade
    gain = torch.exp(_normal(count, device) * settings.contrast).view(-1, 1, 1, 1)
    offset = _normal(count, device).view(-1, 1, 1, 1) * settings.brightness
    mean = crops.mean((2, 3), keepdim=True)
    crops = (crops - mean) * gain * (1 + slope[0] * x + slope[1] * y).clamp(0.2, 2.5) + mean + offset
    crops = crops + slope[0] * x * mean + slope[1] * y * mean
    level = torch.rand(count, 1, 1, 1, device=device).square() * settings.noise
    crops = _on_some(crops, settings.exposure_share, _exposed)
    crops = (crops + torch.randn_like(crops) * level).clamp(0, 255)
    return _on_some(crops, settings.jpeg_share, _jpeg).clamp(0, 255)


def _normal(count: int, device: torch.device) -> Tensor:
    """(count,) standard normal, cut at 2.5 standard deviations."""
    return torch.randn(count, device=device).clamp(-2.5, 2.5)


def _grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """y (96, 1) and x (1, 96) in unit space."""
    axis = (torch.arange(SIZE, device=device) + 0.5) / SIZE * 2 - 1
    return axis[:, None], axis[None, :]


def _occluded(crops: Tensor) -> Tensor:
    """A soft-edged tilted rectangle of another crop's texture or of one gray, over a part of the face."""
    count, device = len(crops), crops.device
    y, x = _grid(device)
    centre = torch.rand(2, count, 1, 1, 1, device=device) * 2 - 1
    half = torch.rand(2, count, 1, 1, 1, device=device) * 0.5 + 0.08
    angle = torch.rand(count, 1, 1, 1, device=device) * math.pi
    dx, dy = x - centre[0], y - centre[1]
    along = (dx * torch.cos(angle) + dy * torch.sin(angle)).abs() / half[0]
    across = (dy * torch.cos(angle) - dx * torch.sin(angle)).abs() / half[1]
    power = torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.5, 2.0, 8.0)  # ellipse or rectangle
    cover = torch.sigmoid(((1 - (along**power + across**power)) * 12).clamp(-20, 20))
    gray = torch.rand(count, 1, 1, 1, device=device) * 255
    texture = crops.roll(1, 0).roll((SIZE // 3, SIZE // 4), (2, 3))
    filling = torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.5, gray, texture)
    return crops * (1 - cover) + filling * cover


def _exposed(crops: Tensor) -> Tensor:
    """Between a twelfth and two and a half times the light, in whole gray levels."""
    light = torch.exp(torch.rand(len(crops), 1, 1, 1, device=crops.device) * 3.4 - 2.5)
    return (crops * light).clamp(0, 255).round()


def _on_some(crops: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change a random `share` of the crops; their number is always the same, so shapes stay fixed."""
    chosen = torch.randperm(len(crops), device=crops.device)[: round(share * len(crops))]
    return crops.index_copy(0, chosen, change(crops[chosen])) if len(chosen) else crops


def _blurred(crops: Tensor, widest_px: float) -> Tensor:
    """Anisotropic Gaussian blur of random width and direction, computed by FFT."""
    count, device = len(crops), crops.device
    fy = torch.fft.fftfreq(SIZE, device=device)[:, None]
    fx = torch.fft.rfftfreq(SIZE, device=device)[None, :]
    angle = torch.rand(count, 1, 1, 1, device=device) * math.pi
    along = fx * torch.cos(angle) + fy * torch.sin(angle)
    across = fy * torch.cos(angle) - fx * torch.sin(angle)
    sigma = torch.randn(2, count, 1, 1, 1, device=device).abs() * widest_px
    sigma = torch.stack([sigma[0] * 1.5, sigma[1].minimum(sigma[0] * 1.5)])
    transfer = torch.exp(-2 * math.pi**2 * ((along * sigma[0]).square() + (across * sigma[1]).square()))
    return torch.fft.irfft2(torch.fft.rfft2(crops) * transfer, s=(SIZE, SIZE))


def _jpeg(crops: Tensor) -> Tensor:
    """Quantises 8x8 cosine blocks as JPEG does, at random strength."""
    count, device = len(crops), crops.device
    k = torch.arange(8, device=device)
    basis = torch.cos((2 * k[None, :] + 1) * k[:, None] * math.pi / 16) * 0.5
    basis = torch.cat([basis[:1] * math.sqrt(0.5), basis[1:]])
    blocks = crops.view(count, SIZE // 8, 8, SIZE // 8, 8).transpose(2, 3)
    waves = basis @ blocks @ basis.T
    coarseness = torch.rand(count, 1, 1, 1, 1, device=device) * 6  # 1 is about quality 75
    step = 1 + (8 + 6 * (k[:, None] + k[None, :])) * 0.5 * coarseness
    return (basis.T @ ((waves / step).round() * step) @ basis).transpose(2, 3).reshape(crops.shape)
