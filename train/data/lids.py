"""How far eyes and mouths are open, from the 68 landmarks of a face; and pictures whose eyes are closed by a warp.

In: `Crops68`.  Out: the truth of `tracker.spec.SIGNALS`, and gray images.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.spec import SIGNALS
from train.data.faces68 import COVERED, HIDDEN, HUMAN, LEFT_EYE, MACHINE, RIGHT_EYE, Crops68

INNER_LIPS = slice(60, 68)
PARTS = dict(zip(SIGNALS, (LEFT_EYE, RIGHT_EYE, INNER_LIPS), strict=True))
"""Signal -> its landmarks."""
GAPS = dict(zip(SIGNALS, (((43, 47), (44, 46)), ((37, 41), (38, 40)), ((61, 67), (62, 66), (63, 65))), strict=True))
"""Signal -> the pairs of landmarks whose mean distance it is."""
WIDTHS = dict(zip(SIGNALS, ((42, 45), (36, 39), (60, 64)), strict=True))
"""Signal -> the corners."""
MEAN_WIDTHS = np.array([0.145, 0.145, 0.19])
"""(3,) sides of a face's region: those widths of the mean face, by HELEN's frontal faces."""

TRUST_EYES, TRUST_HIDDEN, TRUST_MACHINE_MOUTH = 1.0, 0.4, 0.5
"""Weight of a signal by who placed its landmarks.  Machines teach no eyes: FaceMesh's closed lids are 0.1 apart."""

BROW_WIDTHS, CHEEK_WIDTHS = 0.75, 0.6
"""How far above and below an eye its surroundings stretch when it is closed, eye widths."""
UPPER_SHARE = 0.8
"""Part of the way between the lids that the upper one goes."""


def gaps_px(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """iBUG landmarks (N, 68, 2) px -> the distances between lids and between inner lips, (N, 3) px."""
    return np.stack([np.mean([_length(landmarks, *pair) for pair in GAPS[name]], axis=0) for name in SIGNALS], 1)


def own_ratios(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 3): the same over each eye's and mouth's own width, which turned heads shorten."""
    return gaps_px(landmarks) / np.stack([_length(landmarks, *WIDTHS[name]) + 1e-6 for name in SIGNALS], 1)


def signals_of(landmarks: NDArray[np.floating], sides_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """iBUG landmarks (N, 68, 2) and the sides (N,) of the faces' regions, px -> (N, 3) of `SIGNALS`."""
    return gaps_px(landmarks) / (sides_px[:, None] * MEAN_WIDTHS)


def trust_of_seen(seen: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 68) of `HIDDEN`, `MACHINE`, `HUMAN`, `COVERED` -> (N, 3) weights of the signals; -1 if hidden."""
    weights = np.zeros((len(seen), len(SIGNALS)))
    eyes_by_machine = (np.hstack([seen[:, LEFT_EYE], seen[:, RIGHT_EYE]]) == MACHINE).any(1)
    for i, name in enumerate(SIGNALS):
        part = seen[:, PARTS[name]]
        weights[:, i] = np.where((part == HUMAN).all(1), TRUST_EYES, TRUST_HIDDEN)
        if name == "mouth_open":
            weights[(part == MACHINE).any(1), i] = TRUST_MACHINE_MOUTH
        else:
            weights[eyes_by_machine, i] = 0.0
        weights[(part == COVERED).mean(1) >= 0.5, i] = -1.0
    masked = ~(seen == HUMAN).any(1) & (seen[:, INNER_LIPS] == HIDDEN).all(1)
    weights[masked, SIGNALS.index("mouth_open")] = -1.0
    return weights


def with_eyes_closed(crops: Crops68, random: np.random.Generator) -> Crops68:
    """The same faces with their lids nearer to each other, or closed: people blink too rarely in photographs."""
    images, landmarks = list(crops.images), crops.landmarks.copy()
    for i, face in enumerate(landmarks):
        for eye, kept in zip((LEFT_EYE, RIGHT_EYE), _kept(random), strict=True):
            images[i] = narrowed(images[i], face[eye], kept)
            face[eye] = _nearer(face[eye], kept)
    return replace(crops, images=images, landmarks=landmarks)


def _nearer(lids: NDArray[np.floating], kept: float) -> NDArray[np.floating]:
    """(6, 2): the lids' distance from the line through the corners times `kept`."""
    along = (lids[3] - lids[0]) / max(float(np.hypot(*(lids[3] - lids[0]))), 1e-6)
    on_line = lids[0] + np.outer((lids - lids[0]) @ along, along)
    return on_line + kept * (lids - on_line)


def narrowed(image: NDArray[np.uint8], lids: NDArray[np.floating], kept: float) -> NDArray[np.uint8]:
    """A copy of a gray image in which one eye is open to this part of what it was.

    `lids` (6, 2) px: corner, two of the upper lid, corner, two of the lower lid.  Columns of pixels across the eye are
    stretched: what lies between the lids shrinks, brow and cheek give way.
    """
    start, end = lids[0], lids[3]
    width = float(np.hypot(*(end - start)))
    left, top = np.maximum(np.floor(lids.min(0) - width), 0).astype(int)
    right, bottom = np.minimum(np.ceil(lids.max(0) + width), np.array(image.shape[::-1]) - 1).astype(int)
    if width < 1 or right - left < 2 or bottom - top < 2:
        return image
    along = (end - start) / width
    down = np.array([-along[1], along[0]]) * (1 if along[0] >= 0 else -1)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float64)
    middle = (start + end) / 2
    u, v = ((np.stack([x, y], -1) - middle) @ axis for axis in (along, down))
    profile = np.sqrt(np.clip(1 - (2 * u / width) ** 2, 0, 1))  # lids meet in the corners
    upper, lower = (profile * np.mean((lids[pair] - middle) @ down) for pair in ([1, 2], [4, 5]))
    meet = upper + UPPER_SHARE * (lower - upper)
    borders = [upper - BROW_WIDTHS * width, upper, lower, lower + CHEEK_WIDTHS * width]
    moved = [borders[0], meet + kept * (upper - meet), meet + kept * (lower - meet), borders[3]]
    source = v.copy()
    for low, high, before, after in zip(moved, moved[1:], borders, borders[1:], strict=False):
        share = (v - low) / np.maximum(high - low, 1e-6)
        source = np.where((v >= low) & (v < high), before + share * (after - before), source)
    columns, rows = np.moveaxis(middle + u[..., None] * along + source[..., None] * down, -1, 0).astype(np.float32)
    warped = image.copy()
    moved_part = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    warped[top:bottom, left:right] = moved_part
    return warped


def _kept(random: np.random.Generator) -> Sequence[float]:
    """How much of each eye stays open: mostly both alike, four in ten closed, some winks."""
    both = random.choice([0.0, random.uniform(0, 0.5), random.uniform(0.2, 0.9)], p=[0.4, 0.3, 0.3])
    eyes = [both, both]
    if random.random() < 0.25:
        eyes[random.integers(2)] = 1.0
    return eyes


def _length(landmarks: NDArray[np.floating], one: int, other: int) -> NDArray[np.float64]:
    return np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1).astype(np.float64)
