"""Turns labels of every convention into targets of the network's 34 outputs, and back.

In: Kaggle's `Faces` (crop px, one of three schemes per row) and 68-landmark crops.  Out: `Bank`s for the training loop,
targets in unit space.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.geometry import cut, region_from_keypoints, unit_from_frame
from tracker.spec import HALF_PX, KEYPOINTS, SIZE, crop_from_unit, unit_from_crop
from tracker.types import Region
from train.data.faces68 import HIDDEN, HUMAN, MACHINE, Crops68, keypoints_from_68, seen_from_68
from train.data.kaggle import Faces
from train.data.schemes import SCHEMES
from train.learn.augment import Bank
from train.learn.model import HEADS

LABEL_OFFSET_PX: dict[str, tuple[float, float]] = {"A": (-0.07, 0.0), "B": (-0.02, 0.0), "C": (0.76, 0.0)}
"""How far labels lie to the right of where mirroring would be consistent, crop px.

Uncorrected, the network's answers for a face and its mirror image would disagree by twice that.  Measured as the mean
of label minus prediction over the training rows, by a net that was trained with mirroring and so cannot learn such an
offset.  Registering eyes on their mirrored partners gives the same sign.
"""

CANVAS = 184
"""Side of the canvases cut around faces with 68 landmarks, px: room to rotate, shift and scale a 96 px crop."""

DRAW_CHANCE = {"A": 1.0, "B": 2.0, "C": 1.0}
"""Relative chance to draw a row of each scheme: B has few rows, and Kaggle's score asks for fifteen points of each."""

TRUST_68 = {"A": 1.0, "B": 0.3, "C": 0.3}
"""Weight of targets from 68 landmarks, whose convention is only nearly Kaggle's.  The tracker shows A's points."""

TRUST_SEEN = {HUMAN: 1.0, MACHINE: 0.5, HIDDEN: 0.4}
"""Weight of a landmark's target by who placed it; hidden ones are projections of a fitted head."""
TRUST_COVERED = 0.2
"""Weight of a hidden landmark that a machine placed: behind a mask, it can only guess."""
TURNED_CHANCE_DEG = 45.0
"""A face turned by this angle is drawn twice as often as a frontal one; at twice the angle, three times as often."""

QUARTER_TURNS = (math.pi / 2, math.pi, -math.pi / 2)
TURNED_SHARE = 0.5
"""Share of the faceless crops that show a face turned by 90 or 180 degrees; the others show a piece of the picture."""
PIECE_SIDES = (0.25, 1.0)
"""Smallest and largest side of such a piece, in sides of the face's region."""
LARGEST_INNER_PIECE = 0.3
"""Such a piece may lie within the face if it is smaller than this."""

TRUST_SHARED = 0.3
"""Weight of a label of scheme A for B's outputs and the reverse, for keypoints that both place alike.

A's rows show about 23 people in one room, B's many faces from the web; each scheme's outputs should learn from both.
"""

SCHEME_SPECIFIC = ("nose_tip", "mouth_center_top_lip", "mouth_center_bottom_lip")
"""What A and B place differently; on eyes, brows and mouth corners they agree to 0.2 px."""

_HEAD_SCHEME = np.array([SCHEMES.index(scheme) for scheme, _ in HEADS])
_HEAD_KEYPOINT = np.array([keypoint for _, keypoint in HEADS])
_HEAD_OF = np.full((len(SCHEMES), len(KEYPOINTS)), -1)
"""(3, 15) the head of a scheme's keypoint; -1 where the scheme does not label it."""
_HEAD_OF[_HEAD_SCHEME, _HEAD_KEYPOINT] = np.arange(len(HEADS))
_LABEL_OFFSET = np.array([LABEL_OFFSET_PX[name] for name in SCHEMES])


def _trust(row: str, head: str, keypoint: int) -> float:
    """How much a row of one scheme tells the head of another."""
    if row == head:
        return 1.0
    shared = "C" not in (row, head) and KEYPOINTS[keypoint] not in SCHEME_SPECIFIC
    return TRUST_SHARED if shared else 0.0


_TRUST = np.array([[_trust(row, head, keypoint) for head, keypoint in HEADS] for row in SCHEMES])
"""(3, 34)"""


def kaggle_bank(faces: Faces, chosen: NDArray[np.bool_]) -> Bank:
    """The `chosen` (N,) rows of Kaggle's faces; rows known to be bad and rows without labels are left out.

    Raises DataError when none is left.
    """
    targets, weights = head_targets(faces.points, faces.scheme)
    chosen = chosen & ~faces.problem & (weights.sum(1) > 0)
    if not chosen.any():
        raise DataError(f"{faces.name} leaves no labelled face to train on; give more of the download")
    chance = np.array([DRAW_CHANCE[name] for name in SCHEMES])[faces.scheme]
    return _bank(faces.images[chosen, None], targets[chosen], weights[chosen], chance[chosen])


def faces68_bank(crops: Sequence[Crops68]) -> Bank:
    """All faces of some 68-landmark sets, each on a canvas around the region that its landmarks give.

    Faces with too few landmarks to tell that region are left out; raises DataError if none is left.
    """
    faces = _some(crops)
    by_head = np.array(
        [
            unit_from_frame(np.stack([face.points[scheme][keypoint] for scheme, keypoint in HEADS]), face.region)
            for face in faces
        ]
    )
    weights = np.array([TRUST_68[scheme] for scheme, _ in HEADS]) * np.isfinite(by_head).all(2)
    return _bank(_canvases(faces), np.nan_to_num(by_head), weights, np.ones(len(faces)))


def turned_bank(crops: Sequence[Crops68]) -> Bank:
    """Faces whose table says what is visible.  They teach scheme A's points, and sigma for hidden points."""
    faces = _some(crops)
    targets = np.array([unit_from_frame(face.points["A"], face.region)[_HEAD_KEYPOINT] for face in faces])
    of_a = _HEAD_SCHEME == SCHEMES.index("A")
    weights = np.array([_trust_of_seen(face.seen)[_HEAD_KEYPOINT] * of_a for face in faces])
    doubts = np.array([(1.0 if HUMAN in face.seen else TRUST_SEEN[MACHINE]) * of_a for face in faces])
    chances = np.array([1 + abs(face.yaw) / TURNED_CHANCE_DEG for face in faces])
    return _bank(_canvases(faces), targets, weights, chances, doubts)


def faceless_bank(crops: Sequence[Crops68], seed: int = 0) -> Bank:
    """Crops without an upright face, one for every face: the face turned by 90 or 180 degrees, or a piece of the
    picture that is too small to hold a face."""
    random = np.random.default_rng(seed)
    images = np.array([_faceless(face, random) for face in _some(crops)])
    nothing = np.zeros((len(images), len(HEADS), 2))
    return _bank(images, nothing, nothing[..., 0], np.ones(len(images)), np.full(nothing.shape[:2], -1.0))


def unlabelled_bank(crops: Sequence[Crops68]) -> Bank:
    """Faces without targets: their landmarks are too coarse to learn from, and only say where the face is."""
    canvases = _canvases(_some(crops))
    nothing = np.zeros((len(canvases), len(HEADS), 2))
    return _bank(canvases, nothing, nothing[..., 0], np.ones(len(canvases)))


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A face with 68 landmarks and the region that they give."""

    image: NDArray[np.uint8]
    region: Region
    points: dict[str, NDArray[np.float32]]
    """Scheme -> (15, 2) px of the image."""
    seen: NDArray[np.uint8]
    """(15,) of `HIDDEN`, `MACHINE`, `HUMAN`."""
    yaw: float
    """Degrees; 0 if unknown."""


def framed(crops: Sequence[Crops68]) -> Iterator[Framed]:
    """Every face that has the landmarks which all keypoints need."""
    for crop_set in crops:
        points = {scheme: keypoints_from_68(crop_set.landmarks, scheme) for scheme in SCHEMES}
        by = seen_from_68(crop_set.placed_by)
        yaw = np.nan_to_num(crop_set.yaw if crop_set.yaw is not None else np.zeros(len(by)))
        for i in np.flatnonzero(np.isfinite(points["A"]).all((1, 2))):
            region = region_from_keypoints(points["A"][i])
            by_scheme = {name: each[i] for name, each in points.items()}
            yield Framed(crop_set.images[i], region, by_scheme, by[i], float(yaw[i]))


def _some(crops: Sequence[Crops68]) -> list[Framed]:
    """Those faces.  Raises DataError if there are none to make a bank of."""
    faces = list(framed(crops))
    if not faces:
        raise DataError("no face of the 68-landmark data has the landmarks that all keypoints need")
    return faces


def canvases(images: Iterable[NDArray[np.uint8]], regions: Iterable[Region]) -> NDArray[np.uint8]:
    """Gray images (H, W) and the region of the face in each -> (N, 1, CANVAS, CANVAS)."""
    wide = (replace(region, side=region.side * CANVAS / SIZE) for region in regions)
    cuts = [cut(image, [region], CANVAS)[0] for image, region in zip(images, wide, strict=True)]
    return np.array(cuts, np.uint8).reshape(-1, 1, CANVAS, CANVAS)


def _canvases(faces: Sequence[Framed]) -> NDArray[np.uint8]:
    return canvases((face.image for face in faces), (face.region for face in faces))


def _trust_of_seen(seen: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(15,) of `HIDDEN`, `MACHINE`, `HUMAN` -> (15,) weights."""
    trust = np.array([TRUST_SEEN[int(by)] for by in seen])
    return trust if HUMAN in seen else np.where(seen == HIDDEN, TRUST_COVERED, trust)


def _faceless(face: Framed, random: np.random.Generator) -> NDArray[np.uint8]:
    """(1, 96, 96)"""
    region = face.region
    if random.random() < TURNED_SHARE:
        turned = replace(region, roll=region.roll + random.choice(QUARTER_TURNS))
        return cut(face.image, [turned])[0]
    size = random.uniform(*PIECE_SIDES)
    height, width = face.image.shape
    while True:  # ends, because the piece shrinks until it may lie within the face
        x, y = random.uniform(0, width), random.uniform(0, height)
        apart = math.hypot(x - region.x, y - region.y) / region.side
        if size < LARGEST_INNER_PIECE or apart > 0.55:
            return cut(face.image, [Region(x, y, size * region.side, random.uniform(-math.pi, math.pi))])[0]
        size = max(size * 0.95, PIECE_SIDES[0])


def head_targets(
    points: NDArray[np.floating], scheme: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Labels (N, 15, 2) crop px of rows of `scheme` (N,) -> targets (N, 34, 2) unit, weights (N, 34).

    A label counts 1 for its own scheme's output, TRUST_SHARED for the output of the other scheme that means the same.
    """
    targets = unit_from_crop(points - _LABEL_OFFSET[scheme, None])[:, _HEAD_KEYPOINT]
    weights = _TRUST[scheme] * np.isfinite(targets).all(2)
    return np.nan_to_num(targets).astype(np.float32), weights.astype(np.float32)


def read_by_scheme(
    points: NDArray[np.floating], sigma: NDArray[np.floating], scheme: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Outputs (N, 34, 2) and (N, 34), unit space -> what a labeller of each row's scheme would write (N, 15, 2), and
    sigma (N, 15), crop px.

    NaN for the keypoints which that scheme does not label.
    """
    rows, heads = np.arange(len(scheme))[:, None], _HEAD_OF[scheme]
    labels = crop_from_unit(points[rows, heads]) + _LABEL_OFFSET[scheme, None]
    labels, doubt = labels.astype(np.float32), (sigma[rows, heads] * HALF_PX).astype(np.float32)
    labels[heads < 0], doubt[heads < 0] = np.nan, np.nan
    return labels, doubt


def _bank(
    images: NDArray[np.uint8],
    targets: NDArray[np.floating],
    weights: NDArray[np.floating],
    chance: NDArray[np.floating],
    doubts: NDArray[np.floating] | None = None,
) -> Bank:
    """`doubts` (N, 34) as of `Bank`; None for the weights."""
    cumulative = np.cumsum(chance / chance.sum())
    cumulative[-1] = 1.0
    labels = torch.from_numpy(np.asarray(targets, np.float32))
    return Bank(
        torch.from_numpy(images),
        labels,
        torch.from_numpy(np.asarray(weights, np.float32)),
        torch.from_numpy(cumulative.astype(np.float32)),
        torch.from_numpy(np.asarray(weights if doubts is None else doubts, np.float32)),
        labels.clone(),
    )
