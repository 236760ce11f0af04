"""What training minimises.  All arguments are in unit space; all sums are over weighted targets.

Three terms: how far the points are from their targets, how well the heat maps concentrate around the targets, and how
well sigma predicts the error of the points.  If there is no face, sigma learns the large error `faceless_px`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tracker.spec import HALF_PX
from train.learn.augment import Drawn


@dataclass(frozen=True, slots=True)
class LossConfig:
    huber_px: float = 2.0
    """Smaller errors count by their square, larger ones by their size."""
    heat: float = 0.1
    """Weight of the heat maps' cross entropy with a Gaussian around the target."""
    heat_px: float = 3.0
    """That Gaussian's standard deviation, crop px."""
    sigma: float = 0.1
    """Weight of the likelihood that teaches sigma; it does not move the points."""
    faceless_px: float = 24.0
    """The error that sigma learns for crops without a face."""


def loss(points: Tensor, sigma: Tensor, logits: Tensor, axis: Tensor, wanted: Drawn, config: LossConfig) -> Tensor:
    """Scalar.  points (N, 34, 2); sigma (N, 34); logits (N, 34, h, h); axis (h,) the cells' centres."""
    _, targets, weights, doubts, labels = wanted
    total = weights.sum().clamp(min=1.0)
    error_px = (points - targets) * HALF_PX
    off = (_pseudo_huber(error_px, config.huber_px).sum(2) * weights).sum()
    blur = (_cross_entropy(logits.float(), axis, targets, config.heat_px / HALF_PX) * weights).sum()
    off_label_px = ((points - labels) * HALF_PX).detach()
    seen_px = torch.where(doubts[..., None] < 0, config.faceless_px, off_label_px)
    doubt = (student_t(seen_px, sigma * HALF_PX).sum(2) * doubts.abs()).sum()
    return (off + config.heat * blur + config.sigma * doubt) / total


def _pseudo_huber(error: Tensor, delta: float) -> Tensor:
    return delta**2 * (torch.sqrt(1 + (error / delta).square()) - 1)


def _cross_entropy(logits: Tensor, axis: Tensor, targets: Tensor, width: float) -> Tensor:
    """(N, 34): cross entropy of each heat map with a Gaussian of standard deviation `width` around its target.

    The Gaussian is a product of one along x and one along y, so the mean of the logits needs no map of weights.
    """
    across = torch.softmax(-(targets[..., :1] - axis).square() / (2 * width**2), -1)
    down = torch.softmax(-(targets[..., 1:] - axis).square() / (2 * width**2), -1)
    expected = torch.einsum("nkyx,nky,nkx->nk", logits, down, across)
    return torch.logsumexp(logits.flatten(2), -1) - expected


def student_t(error: Tensor, sigma: Tensor, freedom: float = 5.0) -> Tensor:
    """Negative log likelihood per coordinate up to a constant; heavy tails keep a bad label from inflating sigma.

    68 % of the errors are below sigma, as in a normal distribution.  For Student's t with 5 degrees of freedom, that is
    1.11 times its scale.
    """
    ratio = (1.11 * error / sigma[..., None]).square()
    return (freedom + 1) / 2 * torch.log1p(ratio / freedom) + torch.log(sigma)[..., None]
