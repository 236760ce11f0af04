"""Fits the head that tells signals to a finished net, which stays as it is.

In: a net and faces with 68 landmarks.  Out: a calibrated `SignalHead` and how good it is on pictures held out.

Photographs show few closed eyes, so most are made: lids are moved together by a warp (`train.data.lids`).
"""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tracker.errors import DataError
from tracker.geometry import region_from_keypoints
from tracker.spec import SIGNALS, SIZE
from train.data.faces68 import HUMAN, Crops68, keypoints_from_68
from train.data.lids import own_ratios, signals_of, trust_of_seen, with_eyes_closed
from train.data.occluders import covered
from train.learn.augment import Augmentation, disturbed, placed
from train.learn.calibrate import mirrored_scales
from train.learn.losses import student_t
from train.learn.model import SHOWN, Net, density_of, standardised
from train.learn.signals import SIGNAL_MIRROR, SignalHead, under
from train.learn.targets import CANVAS, canvases
from train.metrics import rank_auc

log = logging.getLogger(__name__)

CLOSED_COPIES = 2
"""Copies of each face whose eyes a warp closes."""
OFTEN = 3.0
"""How often a face with truly closed eyes is drawn, beside one of the others."""
JUDGING = 5
"""Every fifth picture is held out."""

CLOSED, OPEN = 0.1, 0.2
"""Lids over the eye's own width: below the first an eye is closed, from the second on it is open."""
SHUT, APART = 0.05, 0.15
"""Inner lips over their own width: the same of a mouth."""

UNSEEN = 0.3
"""The error that sigma learns for what nobody can see."""

CALM = Augmentation(rotation_deg=6.0, scale=0.05, shift=0.04, zoom_share=0.03, exposure_share=0.06)
"""Crops nearly as tracking cuts them."""


@dataclass(frozen=True, slots=True)
class SignalsConfig:
    """How the head is fitted."""

    narrow: int = 8
    """Channels to which features are reduced before they are read."""
    hidden: int = 16
    steps: int = 3_000
    batch: int = 256
    views: int = 2
    """Augmented crops of each face."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    near: float = 0.05
    """Errors below count by their square, those above by their size."""
    exact: float = 10.0
    """Weight of that beside the likelihood that teaches sigma."""
    seed: int = 0
    augmentation: Augmentation = CALM


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """M faces."""

    canvases: NDArray[np.uint8]
    """(M, 1, CANVAS, CANVAS)"""
    targets: NDArray[np.float32]
    """(M, 3) of `SIGNALS`"""
    weights: NDArray[np.float32]
    """(M, 3); -1 for what nobody can see."""
    ratios: NDArray[np.float32]
    """(M, 3), see `own_ratios`."""
    held_out: NDArray[np.bool_]
    human: NDArray[np.bool_]
    """Whether people placed all landmarks."""
    warped: NDArray[np.bool_]

    def only(self, chosen: NDArray[np.bool_]) -> "_Faces":
        return _Faces(*(getattr(self, each.name)[chosen] for each in fields(self)))

    @property
    def chances(self) -> Tensor:
        """(M,) how often each is drawn."""
        closed = (self.ratios[:, :2] < CLOSED) & (self.weights[:, :2] > 0) & ~self.warped[:, None]
        return torch.from_numpy(np.where(closed.any(1), OFTEN, 1.0))


def fitted(net: Net, sets: Sequence[Crops68], config: SignalsConfig) -> tuple[SignalHead, dict[str, Any]]:
    """A head for this net, and its report.  Raises DataError if `sets` hold too few faces.

    A fifth of the pictures is held out: they scale sigma, and the report is about them.
    """
    torch.manual_seed(config.seed)
    faces = _gathered(sets, np.random.default_rng(config.seed))
    learned, judged = faces.only(~faces.held_out), faces.only(faces.held_out & faces.human & ~faces.warped)
    if not len(learned.targets) or not len(judged.targets):
        raise DataError("the faces with 68 landmarks are too few to fit and judge signals; give more of them")
    log.info("%d faces to fit signals to, %d to judge them by", len(learned.targets), len(judged.targets))
    head = _fit(*_views(net, learned, config), learned.chances.repeat(config.views), config)
    edge = (CANVAS - SIZE) // 2
    with torch.no_grad():
        crops = torch.from_numpy(judged.canvases[..., edge : edge + SIZE, edge : edge + SIZE])
        seen = _seen(net, crops)
        values, sigma = (each.numpy() for each in _told(head, seen))
        scales = mirrored_scales(np.abs(values - judged.targets) / sigma, judged.weights > 0, SIGNAL_MIRROR)
        head.doubt.bias.add_(torch.from_numpy(np.log(scales)).float())  # a small sigmoid is nearly an exponential
        values, sigma = (each.numpy() for each in _told(head, seen))
    return head, reported(values, sigma, judged.targets, judged.ratios)


def reported(
    values: NDArray[np.floating],
    sigma: NDArray[np.floating],
    targets: NDArray[np.floating],
    ratios: NDArray[np.floating],
) -> dict[str, Any]:
    """How good signals (N, 3) are; `ratios` (N, 3) are the truth over each eye's and mouth's own width."""
    eyes, lids, lips = values[:, :2].ravel(), ratios[:, :2].ravel(), ratios[:, 2]
    off = np.abs(values - targets).astype(np.float64)
    return {
        "faces": len(values),
        "closed_eyes": int((lids < CLOSED).sum()),
        "closed_eyes_auc": round(rank_auc(eyes[lids >= OPEN], eyes[lids < CLOSED]), 4),
        "open_mouths": int((lips > APART).sum()),
        "open_mouths_auc": round(rank_auc(values[lips > APART, 2], values[lips < SHUT, 2]), 4),
        "mean_error": dict(zip(SIGNALS, off.mean(0).round(4).tolist(), strict=True)),
        "within_1_sigma": dict(zip(SIGNALS, (off <= sigma).mean(0).round(3).tolist(), strict=True)),
    }


def _gathered(sets: Sequence[Crops68], random: np.random.Generator) -> _Faces:
    """All faces, each with its copies."""
    parts = []
    for crops in sets:
        parts.append(_truths(crops, crops.landmarks, warped=False))
        known = _is_whole(crops.landmarks) & trust_of_seen(crops.placed_by)[:, :2].any(1)
        by_people = crops.only(known)
        copies = [with_eyes_closed(by_people, random) for _ in range(CLOSED_COPIES)]
        parts += [_truths(copy, by_people.landmarks, warped=True) for copy in copies]
        for version in (by_people, *copies):
            parts.append(_truths(covered(version, random), by_people.landmarks, warped=True))
    return _Faces(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(_Faces)))


def _truths(crops: Crops68, landmarks: NDArray[np.float32], *, warped: bool) -> _Faces:
    """`landmarks` (N, 68, 2), px, say where the faces lie, as before they were warped."""
    points = keypoints_from_68(landmarks)
    whole = _is_whole(points) & _is_whole(crops.landmarks)
    crops, points = crops.only(whole), points[whole]
    regions = [region_from_keypoints(each) for each in points]
    seen = crops.placed_by
    return _Faces(
        canvases(crops.images, regions),
        signals_of(crops.landmarks, np.array([region.side for region in regions])).astype(np.float32),
        trust_of_seen(seen).astype(np.float32),
        own_ratios(crops.landmarks).astype(np.float32),
        np.array([zlib.crc32(_picture(name).encode()) % JUDGING == 0 for name in crops.names], bool),
        (seen == HUMAN).all(1),
        np.full(len(seen), warped),
    )


def _is_whole(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N, K, 2) -> (N,) whether no point is missing."""
    whole: NDArray[np.bool_] = np.isfinite(points).all((1, 2))
    return whole


def _picture(name: str) -> str:
    """What the names of all faces in a picture, and of all that was made of them, have in common."""
    return name.removeprefix("helen_").partition("_")[0].partition(".")[0]


def _views(net: Net, faces: _Faces, config: SignalsConfig) -> tuple[Tensor, Tensor, Tensor]:
    """What the net sees in M augmented crops of the faces (M, 15, C), their targets (M, 3) and weights (M, 3)."""
    views = []
    for _ in range(config.views):
        for some in torch.split(torch.arange(len(faces.targets)), config.batch):
            placement = placed(len(some), config.augmentation, torch.device("cpu"))
            crops = disturbed(placement.cut(torch.from_numpy(faces.canvases[some])), config.augmentation)
            labels = (torch.from_numpy(each[some]) for each in (faces.targets, faces.weights))
            mirrored = placement.mirrored[:, None]
            here = (torch.where(mirrored, label[:, SIGNAL_MIRROR], label) for label in labels)
            views.append((_seen(net, crops), *here))
    at_points, targets, weights = (torch.cat(parts) for parts in zip(*views, strict=True))
    return at_points, targets, weights


@torch.no_grad()
def _seen(net: Net, crops: Tensor) -> Tensor:
    """What the net sees in crops (N, 1, 96, 96): its features at scheme A's points (N, 15, C)."""
    features, _ = net.features(standardised(crops))
    return under(density_of(net.mapped(features)[:, SHOWN]), features)


def _told(head: SignalHead, at_points: Tensor) -> tuple[Tensor, Tensor]:
    """Signals and their sigma, (N, 3) each."""
    answer: tuple[Tensor, Tensor] = head(head.narrowed(at_points))
    return answer


def _fit(at_points: Tensor, targets: Tensor, weights: Tensor, chances: Tensor, config: SignalsConfig) -> SignalHead:
    """A head fitted to the result of `_views`; `chances` (M,) are how often each crop is drawn."""
    spread = at_points.flatten(0, 1).std(0) + 1e-3
    head = SignalHead(len(spread), narrow=config.narrow, hidden=config.hidden)
    for layer, start in ((head.value, targets.mean(0)), (head.doubt, torch.full((len(SIGNALS),), -2.5))):
        nn.init.zeros_(layer.weight)
        layer.bias.data.copy_(start)
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, config.steps)
    for _ in range(config.steps):
        some = torch.multinomial(chances, config.batch, replacement=True)
        values, sigma = _told(head, at_points[some] / spread)
        off = values - targets[some]
        exact = nn.functional.smooth_l1_loss(off, torch.zeros_like(off), beta=config.near, reduction="none")
        trust = weights[some]
        likely = student_t(torch.where(trust < 0, UNSEEN, off)[..., None], sigma).squeeze(-1)
        value = (config.exact * exact * trust.clamp(min=0) + likely * trust.abs()).sum() / trust.abs().sum()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # from now on the head takes what the net saw as it is
        head.narrow.weight.div_(spread[:, None, None])
    return head
