"""What training minimises.  All arguments are in unit space; all sums are over weighted targets.

Three terms: how far the points are off, how well the heat maps are concentrated around the target, and how well sigma
says how far the points are off.  Where there is no face, sigma says that they are off by as much as a face is wide.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tracker.spec import HALF_PX
from train.learn.augment import Drawn


@dataclass(frozen=True, slots=True)
class LossConfig:
    huber_px: float = 2.0
    """Errors below count by their square, those above by their size."""
    heat: float = 0.1
    """Weight of the heat maps' cross entropy with a Gaussian around the target."""
    heat_px: float = 3.0
    """That Gaussian's standard deviation, crop px."""
    sigma: float = 0.1
    """Weight of the likelihood that teaches sigma; it does not move the points."""
    faceless_px: float = 24.0
    """How far the points of a crop without a face count as off."""


def loss(points: Tensor, sigma: Tensor, logits: Tensor, axis: Tensor, wanted: Drawn, config: LossConfig) -> Tensor:
    """Scalar.  points (N, 34, 2); sigma (N, 34); logits (N, 34, h, h); axis (h,) the cells' centres."""
    _, targets, weights, doubts, labels = wanted
    total = weights.sum().clamp(min=1.0)
    error_px = (points - targets) * HALF_PX
    off = (_pseudo_huber(error_px, config.huber_px).sum(2) * weights).sum()
    blur = (_cross_entropy(logits.float(), axis, targets, config.heat_px / HALF_PX) * weights).sum()
    off_label_px = ((points - labels) * HALF_PX).detach()
    seen_px = torch.where(doubts[..., None] < 0, config.faceless_px, off_label_px)
    doubt = (_student_t(seen_px, sigma * HALF_PX).sum(2) * doubts.abs()).sum()
    return (off + config.heat * blur + config.sigma * doubt) / total


def _pseudo_huber(error: Tensor, delta: float) -> Tensor:
    return delta**2 * (torch.sqrt(1 + (error / delta).square()) - 1)


def _cross_entropy(logits: Tensor, axis: Tensor, targets: Tensor, width: float) -> Tensor:
    """(N, 34): cross entropy of each heat map with a Gaussian of standard deviation `width` around its target.

    The Gaussian is a product of one along x and one along y, so its mean over the logits needs no map of its own.
    """
    across = torch.softmax(-(targets[..., :1] - axis).square() / (2 * width**2), -1)
    down = torch.softmax(-(targets[..., 1:] - axis).square() / (2 * width**2), -1)
    expected = torch.einsum("nkyx,nky,nkx->nk", logits, down, across)
    return torch.logsumexp(logits.flatten(2), -1) - expected


def _student_t(error: Tensor, sigma: Tensor, freedom: float = 5.0) -> Tensor:
    """Negative log likelihood per coordinate up to a constant; heavy tails keep a bad label from inflating sigma.

    Sigma is where 68 % of the errors end, as in a normal distribution; for Student's t with 5 degrees of freedom that
    lies at 1.11 of its scale.
    """
    ratio = (1.11 * error / sigma[..., None]).square()
    return (freedom + 1) / 2 * torch.log1p(ratio / freedom) + torch.log(sigma)[..., None]
