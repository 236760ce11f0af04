"""Refuses labels that are numbers but no keypoints, before anything learns from them.

In: labels (N, 15, 2) crop px, NaN where unlabelled, and the name of the file they come from; row i stands in line
i + 2.  Out: nothing, or one DataError that names file, line and value and says what to do.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.spec import INDEX, KEYPOINTS, MIRROR, SIZE

PLACEHOLDERS = (0.0, -1.0)
"""What other programs write for a missing label, as both x and y; Kaggle's labels lie above 0.6."""
SAME_SHARE = 0.1
"""Share of a keypoint's labels that cannot be one and the same point by chance; in Kaggle's no two are."""
FRACTIONS = 2.0
"""If all x or all y of a face lie this near to 0, they are fractions of the picture, not pixels.  A face with only one
label is not judged: in Kaggle's, single points lie as near."""
SWAPPED_SHARE = 0.01
"""Of the rows; none of Kaggle's is swapped.  A single row may be a mistake, which `audit` finds."""
COPIED_SHARE = 0.2
"""Of the rows that label both keypoints."""
EYES_APART_PX, EYES_PX, EYES_SLACK_PX = (22.0, 54.0), (48.0, 38.0), 12.0
"""Where faces have their eyes in Kaggle's crops: 36 px apart, their middle at (48, 38)."""
ELSEWHERE_ROWS, ELSEWHERE_SHARE = 5, 0.04
"""So many rows and this share of all; 1.3 % of Kaggle's have their eyes elsewhere, 2.3 % of scheme B's."""
COINCIDE_PX = 0.5
"""A left and a right keypoint nearer than this are one; Kaggle's are at least 2.8 px apart."""
FEWEST, MOST_ALIKE, SMALLEST_PX = 4, 6, 8.0
"""Of the 68 landmarks: from how many on they are judged, how many may be one point, and the size of the least face."""
MIRRORED_SHARE = 0.2
"""Of the faces; full profiles, 4 % of them, have their eyes the other way round."""
EYE_CORNERS = (36, 45)
"""iBUG's outer corners of the subject's right and left eye."""

_LEFT = np.array([i for i, name in enumerate(KEYPOINTS) if name.startswith(("left_", "mouth_left"))])
_RIGHT = np.array(MIRROR)[_LEFT]

Labels = NDArray[np.floating]


def refuse_nonsense(points: Labels, place: str) -> None:
    """Raises DataError for labels (N, 15, 2) that cannot be keypoints of faces in Kaggle's crops."""
    _refuse_placeholders(points, place)
    _refuse_fractions(points, place)
    _refuse_swapped(points, place)
    _refuse_coinciding(points, place)
    _refuse_copied(points, place)
    _refuse_other_framing(points, place)


def _refuse_placeholders(points: Labels, place: str) -> None:
    for value in PLACEHOLDERS:
        _refuse_label(points, (points == value).all(2), place)
    for keypoint in range(len(KEYPOINTS)):
        labelled = points[np.isfinite(points[:, keypoint]).all(1), keypoint]
        values, counts = np.unique(labelled, axis=0, return_counts=True)
        if len(labelled) and counts.max() > max(SAME_SHARE * len(labelled), len(KEYPOINTS)):
            _refuse_label(points, (points == values[counts.argmax()]).all(2), place)


def _refuse_label(points: Labels, wrong: NDArray[np.bool_], place: str) -> None:
    """`wrong` (N, 15)"""
    if not wrong.any():
        return
    row, keypoint = np.argwhere(wrong)[0]
    x, y = points[row, keypoint]
    raise DataError(
        f"{place}, line {row + 2}: {KEYPOINTS[keypoint]} is at ({x:g}, {y:g}), as are {int(wrong.sum())} labels; "
        "this looks like a placeholder for a missing label; leave both fields empty instead"
    )


def _refuse_fractions(points: Labels, place: str) -> None:
    known = np.isfinite(points)
    near_0 = np.asarray(((np.abs(points) < FRACTIONS) | ~known).all(1) & (known.sum(1) > 1))
    if near_0.any():
        row, axis = np.argwhere(near_0)[0]
        keypoint = known[row, :, axis].argmax()
        raise DataError(
            f"{place}, line {row + 2}: {KEYPOINTS[keypoint]}_{'xy'[axis]} is {points[row, keypoint, axis]:g}, and in "
            f"{int(near_0.any(1).sum())} rows all such labels lie within {FRACTIONS:g} of 0; expected pixels of the "
            f"{SIZE}x{SIZE} image: multiply coordinates from 0 to 1 by {SIZE}, or those from -1 to 1 by {SIZE // 2}, "
            f"then add {SIZE // 2}"
        )


def _refuse_swapped(points: Labels, place: str) -> None:
    swapped = points[:, _LEFT, 0] < points[:, _RIGHT, 0]  # NaN is never less
    rows = np.array(swapped.any(1))
    if rows.sum() > max(1, SWAPPED_SHARE * len(rows)):
        row, pair = np.argwhere(swapped)[0]
        left, right = _LEFT[pair], _RIGHT[pair]
        raise DataError(
            f"{place}, line {row + 2}: {KEYPOINTS[left]} lies left of {KEYPOINTS[right]} in the picture (x "
            f"{points[row, left, 0]:g} and {points[row, right, 0]:g}), as in {int(rows.sum())} of {len(rows)} rows; "
            "left is the subject's own left, which is right in the picture: exchange left and right in those rows"
        )


def _refuse_coinciding(points: Labels, place: str) -> None:
    apart = np.linalg.norm(points[:, _LEFT] - points[:, _RIGHT], axis=2)
    if (apart < COINCIDE_PX).any():
        row, pair = np.argwhere(apart < COINCIDE_PX)[0]
        x, y = points[row, _LEFT[pair]]
        raise DataError(
            f"{place}, line {row + 2}: {KEYPOINTS[_LEFT[pair]]} and {KEYPOINTS[_RIGHT[pair]]} are both at "
            f"({x:g}, {y:g}); correct that row, or leave it out"
        )


def _refuse_copied(points: Labels, place: str) -> None:
    for one, other in combinations(range(len(KEYPOINTS)), 2):
        same = (points[:, one] == points[:, other]).all(1)
        if same.sum() > COPIED_SHARE * np.isfinite(points[:, (one, other)]).all((1, 2)).sum():
            row = int(same.argmax())
            x, y = points[row, one]
            raise DataError(
                f"{place}, line {row + 2}: {KEYPOINTS[one]} and {KEYPOINTS[other]} are both at ({x:g}, {y:g}), as in "
                f"{int(same.sum())} rows; was one column written twice?"
            )


def _refuse_other_framing(points: Labels, place: str) -> None:
    left, right = points[:, INDEX["left_eye_center"]], points[:, INDEX["right_eye_center"]]
    apart, middle = np.linalg.norm(left - right, axis=1), (left + right) / 2
    closest, widest = EYES_APART_PX
    elsewhere = (apart < closest) | (apart > widest) | (np.abs(middle - EYES_PX) > EYES_SLACK_PX).any(1)
    if elsewhere.sum() > ELSEWHERE_ROWS + ELSEWHERE_SHARE * np.isfinite(apart).sum():
        row = int(elsewhere.argmax())
        raise DataError(
            f"{place}, line {row + 2}: the eyes are {apart[row]:.0f} px apart around ({middle[row, 0]:.0f}, "
            f"{middle[row, 1]:.0f}), in Kaggle's crops some 36 px around ({EYES_PX[0]:g}, {EYES_PX[1]:g}); "
            f"{int(elsewhere.sum())} of {len(points)} rows are so; are these pixels of the {SIZE}x{SIZE} image, "
            "counted from its top left corner? Scale the labels with their images"
        )


def refuse_no_faces(landmarks: Labels, sizes: Sequence[tuple[int, ...]], places: Sequence[str]) -> None:
    """Raises DataError for landmarks (N, 68, 2) px that cannot be faces in pictures of these sizes (width, height).

    `places` say where each stands.
    """
    for face, size, place in zip(landmarks, sizes, places, strict=True):
        found = face[np.isfinite(face).all(1)]
        values, counts = np.unique(found, axis=0, return_counts=True)
        alike = np.where(np.isin(values, PLACEHOLDERS).all(1), len(face), counts)
        if len(found) and alike.max() > MOST_ALIKE:
            x, y = values[alike.argmax()]
            raise DataError(
                f"{place}: {counts[alike.argmax()]} landmarks are at ({x:g}, {y:g}); this looks like a placeholder for "
                "missing ones; leave both fields empty instead"
            )
        if len(found) >= FEWEST and (np.ptp(found, axis=0).max() < SMALLEST_PX or _is_outside(found.mean(0), size)):
            (left, top), (right, bottom) = found.min(0), found.max(0)
            raise DataError(
                f"{place}: the face reaches from ({left:.3g}, {top:.3g}) to ({right:.3g}, {bottom:.3g}) in a picture "
                f"of {size[0]}x{size[1]} pixels; expected pixels of that picture"
            )
    right_x, left_x = landmarks[:, EYE_CORNERS, 0].T
    mirrored = left_x < right_x
    if mirrored.sum() > max(1, MIRRORED_SHARE * len(landmarks)):
        raise DataError(
            f"{places[mirrored.argmax()]}: the subject's left eye lies left in the picture, as in "
            f"{int(mirrored.sum())} of {len(landmarks)} faces; expected iBUG's order: 36 to 41 are the right eye"
        )


def _is_outside(point: Labels, size: tuple[int, ...]) -> bool:
    return bool((point < 0).any() or (point > size).any())
