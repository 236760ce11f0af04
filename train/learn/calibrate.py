"""Corrects a net that has finished learning: moves the points to the mean of their scheme's labels, and scales sigma so
that the promised share of errors lies within it.

In: a trained net's outputs for faces that it learned from, and their labels.  Out: one offset and one factor per
output, which become part of the exported graph.

An output also learns from labels of other conventions that mean nearly the same point, and from a teacher that did.
The difference is a constant, which the offset removes.

The likelihood that teaches sigma sees augmented faces and tolerates wild labels; the promise is about shares of plain
errors.  The factors are fitted on training rows, never on the hold-out, so the hold-out judges them fairly: it would
show a net that learned its rows by heart to be overconfident.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.kaggle import Faces
from train.learn.model import HEAD_MIRROR, HEADS, Net
from train.learn.targets import head_targets
from train.metrics import NORMAL, TOLERANCE, WITHIN

FEWEST = 200
"""With fewer labelled coordinates nothing is fitted; with so many, the share within 1 sigma has a standard error of
0.033."""

_CANDIDATES = np.geomspace(0.25, 4.0, 401)


class Calibrated(NamedTuple):
    """A calibrated net and what was changed."""

    net: Net
    offsets: NDArray[np.float64]
    """(34, 2) unit space, added to the points."""
    scales: NDArray[np.float64]
    """(34,) factors of sigma."""


def calibrated(net: Net, points: NDArray[np.floating], sigma: NDArray[np.floating], faces: Faces) -> Calibrated:
    """A copy of `net`, calibrated by `faces`, for which its outputs were `points` and `sigma`."""
    offsets = point_offsets(points, faces.points, faces.scheme)
    scales = sigma_scales(points + offsets, sigma, faces.points, faces.scheme)
    return Calibrated(adjusted(net, offsets, scales), offsets, scales)


def point_offsets(
    points: NDArray[np.floating], labels: NDArray[np.floating], scheme: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(34, 2) the mean of label minus point, unit space; 0 if there are too few labels.

    The arguments are those of `sigma_scales`.  Mirrored outputs are fitted together.
    """
    targets, trust = head_targets(labels, scheme)
    off, own = targets - points, trust == 1
    offsets = np.zeros((len(HEADS), 2))
    for head, mirrored in enumerate(HEAD_MIRROR):
        seen = np.concatenate([off[own[:, head], head], off[own[:, mirrored], mirrored] * (-1, 1)])
        if seen.size >= FEWEST:
            offsets[head] = seen.mean(0)
    return offsets


def adjusted(net: Net, offsets: NDArray[np.floating], scales: NDArray[np.floating]) -> Net:
    """A copy of `net` that adds `offsets` (34, 2), unit space, to its points and multiplies sigma by `scales` (34,)."""
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.offset.add_(torch.from_numpy(offsets).to(changed.offset))
        changed.doubt.bias.add_(torch.from_numpy(np.log(scales)).to(changed.doubt.bias))
    return changed


def sigma_scales(
    points: NDArray[np.floating],
    sigma: NDArray[np.floating],
    labels: NDArray[np.floating],
    scheme: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """(34,) the factor for each output's sigma; 1 if there are too few labels.

    points (N, 34, 2) and sigma (N, 34) are the net's, unit space; labels (N, 15, 2) crop px, NaN where missing, of
    rows of `scheme` (N,).  An output is judged by labels of its own scheme; mirrored outputs are judged together,
    because the net was taught to treat them alike.
    """
    targets, trust = head_targets(labels, scheme)
    ratio = np.abs(points - targets) / sigma[..., None]
    return mirrored_scales(ratio, trust == 1, HEAD_MIRROR)


def mirrored_scales(
    ratio: NDArray[np.floating], known: NDArray[np.bool_], mirror: Sequence[int]
) -> NDArray[np.float64]:
    """(K,) the factor of each output's sigma; `ratio` (N, K, ...) is error over sigma, `known` (N, K) where it counts.

    Outputs are fitted together with their `mirror` (K,); 1 if there are too few labels.
    """
    together = (
        np.concatenate([ratio[known[:, i], i].ravel() for i in {one, mirror[one]}]) for one in range(len(mirror))
    )
    return np.array([best_scale(each) if len(each) >= FEWEST else 1.0 for each in together])


def best_scale(ratio: NDArray[np.floating], weight: NDArray[np.floating] | None = None) -> float:
    """The factor of sigma that keeps both promised shares of `ratio` (M,), error over sigma, as well as possible.

    Each error counts by its `weight` (M,); without weights, all count alike.
    Errors of labels have heavier tails than a normal distribution, so no factor keeps both shares exactly.
    """
    reach = np.outer(WITHIN, _CANDIDATES)
    order = np.argsort(ratio)
    below = np.concatenate([[0.0], np.cumsum(np.ones(len(ratio)) if weight is None else weight[order])])
    share = below[np.searchsorted(ratio[order], reach, side="right")] / below[-1]
    off = np.abs(share - np.array(NORMAL)[:, None]) / np.array(TOLERANCE)[:, None]
    return float(_CANDIDATES[off.max(0).argmin()])
