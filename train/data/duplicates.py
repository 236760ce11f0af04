"""Finds images that show the same picture: exactly, but for another compression, or cropped or exposed otherwise.

In: images (N, 96, 96) uint8, and their labels for the last kind.  Out: group numbers; who has a near copy.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.spec import INDEX, SIZE

BLOCKS = 16
"""Images are compared as 16x16 means of 6x6 pixels, which forgets compression noise."""

SAME_RMS = 1.5
"""Largest root mean square difference of those means, gray levels, within a group.

Chosen on Kaggle's training faces: the 493 identical pairs among 6345 rows differ by 0.0, one photo recompressed by
0.3.  The next pairs differ by 2.8 and more; those that still are one photo are near copies.
"""

_CHUNK = 256

THUMBNAIL = 24
"""Side of the pictures, laid over each other by their labels, in which near copies are looked for."""
ANCHORS = [INDEX[name] for name in ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")]
"""The keypoints that every scheme labels."""
CANDIDATE = 0.8
"""Smallest correlation of two such thumbnails that is worth a closer look.  Labels of one picture can differ."""
CANDIDATES = 8
"""Pictures that each one is compared with closely, at most."""
SAME_CORRELATION = 0.97
"""Smallest correlation of two near copies, after an affine map has laid one over the other.

On Kaggle's training faces, 150 pairs of schemes B and C reach it that are not exact copies, and as many reach 0.975.
Those just above it were looked at: all are one photo, cropped, sharpened or exposed otherwise.  In scheme A they are
frames of one recording that hardly differ.
"""

_ECC_ENDS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 1e-3)
"""Enhanced correlation (Evangelidis and Psarakis 2008) of two pictures ends after 15 steps, or gains so little."""
_HALVE = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
"""Pixels of a picture -> pixels of the one half its size."""


def groups(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the first image that shows the same picture, for each of (N, 96, 96): (N,) int64."""
    blocks = images.reshape(len(images), BLOCKS, images.shape[1] // BLOCKS, BLOCKS, images.shape[2] // BLOCKS)
    means = blocks.mean((2, 4), dtype=np.float32).reshape(len(images), BLOCKS * BLOCKS)
    group = np.arange(len(images), dtype=np.int64)
    for alike in _neighbourhoods(means):
        joined = np.unique(group[alike])
        if len(joined) > 1:
            group[np.isin(group, joined)] = joined[0]
    return group


def have_near_copy(
    images: NDArray[np.uint8], points: NDArray[np.float32], chosen: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) which of the `chosen` (N,) images show the same picture as one of the others, maybe cropped or
    exposed otherwise, or through further copies among the chosen.

    `points` (N, 15, 2) crop px are their labels, NaN if there are none.
    """
    maps = _to_mean_face(points[:, ANCHORS])
    thumbnails = _thumbnails(images, maps)
    half = [
        cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32) for image in images
    ]
    maps = _HALVE @ maps @ np.linalg.inv(_HALVE)
    group, rows = np.arange(len(images)), np.flatnonzero(chosen)
    for row, alike in zip(rows, thumbnails[rows] @ thumbnails.T, strict=True):
        nearest = np.argsort(-alike)[: CANDIDATES + 1]  # one is the row itself
        for other in nearest[alike[nearest] >= CANDIDATE]:
            one, two = sorted((row, other))
            if group[one] != group[two] and _correlation(half, maps, one, two) >= SAME_CORRELATION:
                group[group == group[two]] = group[one]
    return chosen & np.isin(group, group[~chosen])


def _neighbourhoods(means: NDArray[np.float32]) -> Iterator[NDArray[np.intp]]:
    """For each row of (N, K) that has any: itself and the later rows, in order of brightness, within SAME_RMS.

    The mean brightness of two close rows differs by no more than SAME_RMS either, so a chunk of rows in order of
    brightness need only be compared with the rows just after it.
    """
    order = np.argsort(means.mean(1))
    means = means[order]
    brightness, squares = means.mean(1), (means**2).sum(1)
    limit = SAME_RMS**2 * means.shape[1]
    for start in range(0, len(means), _CHUNK):
        stop = min(start + _CHUNK, len(means))
        end = int(np.searchsorted(brightness, brightness[stop - 1] + SAME_RMS, side="right"))
        distance = squares[start:stop, None] + squares[start:end] - 2 * means[start:stop] @ means[start:end].T
        close = np.triu(distance <= limit)
        for row in np.flatnonzero(close.sum(1) > 1):
            yield order[start:end][close[row]]


def _to_mean_face(anchors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, 3, 3): the similarity that lays each face's anchors (N, 4, 2) crop px, some NaN, best on their mean."""
    there = np.isfinite(anchors).all(2)
    z = np.where(there, anchors[..., 0] + 1j * anchors[..., 1], 0)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    goal = np.where(there, (z.sum(0) / np.maximum(there.sum(0), 1)), 0)
    middle, goal_middle = z.sum(1, keepdims=True) / count, goal.sum(1, keepdims=True) / count
    around, goal_around = (z - middle) * there, (goal - goal_middle) * there
    turn = (goal_around * around.conj()).sum(1) / np.maximum((np.abs(around) ** 2).sum(1), 1.0)
    shift = goal_middle[:, 0] - turn * middle[:, 0]
    zero, one = np.zeros(len(turn)), np.ones(len(turn))
    rows = [turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag, zero, zero, one]
    return np.stack(rows, 1).reshape(-1, 3, 3)


def _thumbnails(images: NDArray[np.uint8], maps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Faces laid over each other, three quarters of their crop: (N, THUMBNAIL ** 2) with mean 0 and length 1."""
    small = THUMBNAIL / SIZE * 0.75
    shrink = np.array([[small, 0, (THUMBNAIL - SIZE * small) / 2], [0, small, (THUMBNAIL - SIZE * small) / 2]])
    laid = [
        cv2.warpAffine(image, shrink @ map_, (THUMBNAIL, THUMBNAIL), borderMode=cv2.BORDER_REPLICATE)
        for image, map_ in zip(images, maps, strict=True)
    ]
    flat = np.array(laid, np.float32).reshape(len(images), -1)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _correlation(half: list[NDArray[np.float32]], maps: NDArray[np.float64], one: int, other: int) -> float:
    """Of two pictures (48, 48) in the part that an affine map lays over each other; -1 if no map does."""
    guess = (np.linalg.inv(maps[other]) @ maps[one])[:2].astype(np.float32)
    try:
        _, found = cv2.findTransformECC(half[one], half[other], guess, cv2.MOTION_AFFINE, _ECC_ENDS, None, 1)
    except cv2.error:  # it does not converge: the pictures have nothing in common
        return -1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(half[other], found, half[one].shape, flags=flags, borderValue=(math.nan,))
    both = np.isfinite(laid)
    return float(np.corrcoef(half[one][both], laid[both])[0, 1])
