"""Which of Kaggle's three label conventions a row follows.

Different people labelled the rows in different ways, and no column says which.  In the original file the row number
shows it; elsewhere the labels themselves do.

- A, rows 0-1582: laboratory faces, 15 points; the lip points lie on the outer edges of the lips.
- B, rows 1583-2283: web portraits, 15 points; the lip points lie on the inner edges.
- C, rows 2284-7048: web faces, 4 points; the "nose tip" is the base of the nose.
"""

import numpy as np
from numpy.typing import NDArray

from tracker.spec import INDEX, KEYPOINTS

SCHEMES = ("A", "B", "C")
A, B, C = range(3)

FIRST_B, FIRST_C, GENUINE_ROWS = 1583, 2284, 7049
"""Row numbers of Kaggle's training.csv, counted from 0."""

C_KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
"""The only points that scheme C labels."""

BEYOND_C = [INDEX[name] for name in KEYPOINTS if name not in C_KEYPOINTS]

OUTER_LIPS = 0.2
"""Distance of the two lip points over the mouth's width that best separates A (median 0.34) from B (0.05).

By itself it is right for 96.0 % of the A and B rows; the rest are B with an open mouth or A with pressed lips.
"""

_DOUBT = 0.15
"""Where more distance is no further evidence, in mouth widths."""

_ORDERED = 0.85
"""Agreement between lips and order from which A is taken to come before B: 0.95 in Kaggle's order, 0.68 shuffled."""


def of_genuine_rows(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Row numbers (N,) of Kaggle's own training.csv -> index into SCHEMES (N,) uint8."""
    return np.digitize(rows, (FIRST_B, FIRST_C)).astype(np.uint8)


def is_genuine(points: NDArray[np.floating]) -> bool:
    """Whether labels (N, 15, 2) have the length and the pattern of Kaggle's whole training.csv."""
    return len(points) == GENUINE_ROWS and bool(
        (has_c_points_only(points) == (np.arange(len(points)) >= FIRST_C)).all()
    )


def has_c_points_only(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Labels (N, 15, 2) -> (N,) bool; right for every row that Kaggle gives."""
    return np.asarray(np.isnan(points[:, BEYOND_C]).any(2).all(1))


def inferred(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Labels (N, 15, 2) crop px, NaN where missing -> index into SCHEMES (N,) uint8, by geometry and order.

    Where the lips say that the A rows come before the B rows, as in any part of Kaggle's file that kept its order, the
    best border between them decides; otherwise each row's own lips do.
    """
    scheme = np.where(has_c_points_only(points), C, B).astype(np.uint8)
    full = np.flatnonzero(scheme == B)
    evidence = _evidence_of_a(points[full])
    border = int(np.argmax(np.concatenate([[0.0], np.cumsum(evidence)])))
    ordered = np.arange(len(full)) < border
    by_lips = evidence > 0
    is_a = ordered if np.count_nonzero(ordered == by_lips) >= _ORDERED * len(full) else by_lips
    scheme[full[is_a]] = A
    return scheme


def _evidence_of_a(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, 15, 2) -> (N,): how much further apart the lip points are than OUTER_LIPS; 0 if a point is missing."""
    left, right, top, bottom = (
        points[:, INDEX[name]]
        for name in ("mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip", "mouth_center_bottom_lip")
    )
    width = np.maximum(np.hypot(*(left - right).T), 1e-3)
    gap = np.hypot(*(bottom - top).T) / width
    evidence: NDArray[np.floating] = np.nan_to_num(np.clip(gap - OUTER_LIPS, -_DOUBT, _DOUBT))
    return evidence
