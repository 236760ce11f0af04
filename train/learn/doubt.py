"""The last layer that tells sigma, fitted once more to what a tracker sees; the points stay as they are.

In: a trained and calibrated net, the rows it learned from, and faces with 68 landmarks.  Out: the net with another
`doubt` layer for scheme A's outputs.

Training draws crops around the true face.  A tracker cuts the crop that the net's own points ask for: where they are
wrong, the next crop is too, and sigma is too small.  Of the hidden points of faces that training never saw, 47 % lay
within one sigma; of the points on photographs, 65 %.  So every face is looked at here as a tracker does, from a first
crop that is as inexact as a detector's; and once more with something drawn before it, because behind real masks 58 % of
the errors lay within one sigma.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tracker.geometry import cut, frame_from_units, region_from_keypoints, unit_from_frame
from tracker.spec import HALF_PX
from tracker.types import Region
from train.data.faces68 import COVERED, HIDDEN, HUMAN, Crops68
from train.data.kaggle import Faces
from train.data.occluders import covered
from train.data.schemes import A
from train.learn.calibrate import FEWEST, best_scale
from train.learn.losses import LossConfig, student_t
from train.learn.model import HEAD_MIRROR, SHOWN, Net, standardised
from train.learn.targets import faceless_bank, framed, head_targets

SHARES = {"kaggle": 3.0, "photographs": 3.0, "seen": 2.0, "hidden": 2.0, "beside": 3.0, "covered": 2.0}
"""Weight of each kind of point: Kaggle's rows; faces whose table does not say what is visible; where it does, those
seen, and those hidden; of faces before which something is drawn, those beside and those behind it."""
DRAWN_OVER = {"beside": HUMAN, "covered": COVERED}
FACELESS_SHARE = 0.15
"""Weight of crops without a face, over all others."""
STAY = 0.1
"""Weight of the squared change of log sigma."""
LOOKS = (2, 4)
"""Which looks at a face count."""
SHAKEN_SIDES, SHAKEN_LOG, SHAKEN_RAD = 0.04, 0.07, 0.07
"""Standard deviations by which a detector's crop is shifted, scaled and turned."""
LOST = 0.4
"""Mean error, unit space, from which a face was lost."""


class Sample(NamedTuple):
    """What a net said of N crops, and how far off it was; unit space."""

    kind: str
    features: Tensor
    """(N, C) the net's deepest."""
    log_spread: Tensor
    """(N, 15) log sigma without what the `doubt` layer adds."""
    error: Tensor
    """(N, 15, 2)"""
    counts: Tensor
    """(N, 15) bool."""


class Fitted(NamedTuple):
    """A net with another `doubt` layer."""

    net: Net
    fitted_on: dict[str, int]
    """Kind of point -> how many taught it; empty if there were too few to change anything."""


def with_doubt_fitted(net: Net, faces: Faces, crops: Sequence[Crops68]) -> Fitted:
    """A copy of `net`, by rows and faces that it learned from."""
    samples = [_of_rows(net, faces), *(sample for each in crops for sample in _of_crops(net, each))]
    for each in crops:
        samples += _of_crops(net, covered(each, np.random.default_rng(0)), DRAWN_OVER)
    points = {kind: sum(int(each.counts.sum()) for each in samples if each.kind == kind) for kind in SHARES}
    if 2 * (points["photographs"] + points["seen"] + points["hidden"]) < FEWEST:
        return Fitted(net, {})
    weights = [each.counts * (SHARES[each.kind] / max(points[each.kind], 1)) for each in samples]
    faceless = _read(net, faceless_bank(crops).images)[1:]
    return Fitted(_refitted(net, samples, torch.cat(weights) / torch.cat(weights).sum(), faceless), points)


@torch.no_grad()
def _read(net: Net, images: Tensor, batch: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (N, 1, 96, 96) uint8 -> points (N, 15, 2), log_spread (N, 15), features (N, C)."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for crops in torch.split(images, batch):
        logits, deepest = net.heat(standardised(crops.to(net.axis.device)))
        points, sigma = net.read(logits, deepest)
        log_spread = torch.log(sigma) - net.doubt(deepest.float())
        parts.append((points[:, SHOWN], log_spread[:, SHOWN], deepest.float()))
    first, second, third = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
    return first, second, third


def _of_rows(net: Net, faces: Faces) -> Sample:
    rows = faces.only((faces.scheme == A) & ~faces.problem)
    targets, trust = (torch.from_numpy(each)[:, SHOWN] for each in head_targets(rows.points, rows.scheme))
    points, log_spread, features = _read(net, torch.from_numpy(rows.images[:, None]))
    return Sample("kaggle", features, log_spread, points - targets, trust == 1)


def _of_crops(net: Net, crops: Crops68, kinds: Mapping[str, int] | None = None) -> Iterator[Sample]:
    """What people labelled, and what they could not see of faces that they labelled, each look as a sample.

    `kinds`: which points are a sample of their own.
    """
    faces, random = list(framed([crops])), np.random.default_rng(0)
    if not faces:
        return
    kinds = kinds or {"photographs" if crops.seen is None else "seen": HUMAN, "hidden": HIDDEN}
    regions = [_shaken(face.region, random) for face in faces]
    seen = torch.from_numpy(np.array([face.seen for face in faces]))
    by_people = ((seen == HUMAN) | (seen == COVERED)).any(1)
    if not by_people.any():
        return
    for look in range(1, max(LOOKS) + 1):
        images = np.array([cut(face.image, [region])[0] for face, region in zip(faces, regions, strict=True)])
        points, log_spread, features = _read(net, torch.from_numpy(images))
        truth = [unit_from_frame(face.points["A"], region) for face, region in zip(faces, regions, strict=True)]
        error = points - torch.from_numpy(np.array(truth, np.float32))
        found = by_people & (error.norm(dim=2).mean(1) < LOST)
        regions = [region_from_keypoints(each) for each in frame_from_units(points.numpy(), regions)]
        if look in LOOKS and found.any():
            error -= error[found].median(0).values  # how two conventions of labelling differ is not sigma's to tell
            for kind, state in kinds.items():
                yield Sample(kind, features, log_spread, error, found[:, None] & (seen == state))


def _shaken(region: Region, random: np.random.Generator) -> Region:
    x, y, scale, turn = random.normal(0, (SHAKEN_SIDES, SHAKEN_SIDES, SHAKEN_LOG, SHAKEN_RAD)).tolist()
    side = region.side * math.exp(scale)
    return Region(region.x + x * region.side, region.y + y * region.side, side, region.roll + turn)


def _refitted(net: Net, samples: Sequence[Sample], weight: Tensor, faceless: tuple[Tensor, Tensor]) -> Net:
    """Another `doubt` layer, scaled so that shares within sigma are right for faces before which nothing is drawn.

    `weight` (N, 15) sums to 1; `faceless` are log_spread and features of crops without a face.
    """
    features, log_spread, error = (torch.cat(each) for each in zip(*(sample[1:4] for sample in samples), strict=True))
    layer = _fitted_layer(net, (log_spread, features), error, weight, faceless)
    refitted = copy.deepcopy(net)
    with torch.no_grad():
        ratio = error.abs() / _sigma(layer, log_spread, features)[..., None]
        plain = torch.cat([torch.full_like(each.counts, each.kind not in DRAWN_OVER) for each in samples])
        both = (weight * plain)[..., None].expand_as(ratio)
        pairs = [[i, HEAD_MIRROR[i]] for i in SHOWN]
        scales = [best_scale(ratio[:, pair].flatten().numpy(), both[:, pair].flatten().numpy()) for pair in pairs]
        refitted.doubt.weight[SHOWN] = layer.weight
        refitted.doubt.bias[SHOWN] = layer.bias + torch.tensor(scales).log()
    return refitted


def _fitted_layer(
    net: Net, said: tuple[Tensor, Tensor], error: Tensor, weight: Tensor, faceless: tuple[Tensor, Tensor]
) -> nn.Linear:
    """The part of `doubt` for scheme A's outputs, fitted further by the likelihood that taught it."""
    layer = nn.Linear(net.doubt.in_features, len(SHOWN))
    layer.load_state_dict({name: values[SHOWN] for name, values in net.doubt.state_dict().items()})
    before, spread_of_features = layer.weight.detach().clone(), said[1].std(0)
    off = torch.tensor(LossConfig().faceless_px / HALF_PX)

    def cost() -> Tensor:
        layer.zero_grad()
        value = (student_t(error, _sigma(layer, *said)).sum(2) * weight).sum()
        value = value + FACELESS_SHARE * 2 * student_t(off, _sigma(layer, *faceless)).mean()
        value = value + STAY * ((layer.weight - before) * spread_of_features).square().sum() / len(SHOWN)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=60, history_size=10, line_search_fn="strong_wolfe")
    optimizer.step(cost)  # type: ignore[no-untyped-call]
    return layer


def _sigma(layer: nn.Linear, log_spread: Tensor, features: Tensor) -> Tensor:
    """(N, 15) unit space."""
    return torch.exp(log_spread + layer(features))
