"""How alike two faces look: a frame and regions in (frame px), small pictures out that are compared by correlation.

Light and contrast are evened around every point, so that lamps and cameras matter little.  It tells whether somebody
is still the same a moment later; it is no face recognition, and nothing is stored beyond the film.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.geometry import cut
from tracker.types import Frame, Region

SAME, STRANGER, STRANGER_LATER = 0.65, 0.45, 0.3
"""Likeness from which on two pictures show the same person, and below which they do not: of neighbouring frames, and of
some seconds.  Of different people one pair in a thousand exceeds 0.65, 97 of 100 lie below 0.45 and 80 below 0.3.
Somebody who talks and turns has 0.98 after 0.1 s, 0.45 in one frame of 300; after a second 0.9, 0.3 in one of 100."""
SURELY_SAME = 0.85
"""A dissolve that is half over leaves 0.7 of the likeness, so that more is needed to tell that it is none."""
SIDE, AROUND = 24, (7, 7)
GRAIN = 3.0
"""Contrast in gray levels that is noise."""
PLAIN = 0.1 * SIDE
"""A shorter row shows nothing."""
SMALLEST = 32.0
"""A region with a shorter side, frame px, shows too little."""

Picture = NDArray[np.float32]


def pictures(frame: Frame, regions: Sequence[Region]) -> Picture:
    """One row per region, of length 1: the product of two rows is their likeness, -1 to 1, NaN if one shows nothing."""
    rows = np.empty((len(regions), SIDE * SIDE), np.float32)
    for row, crop, region in zip(rows, cut(frame.image, regions, 2 * SIDE)[:, 0], regions, strict=True):
        points = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        points -= cv2.blur(points, AROUND)
        points /= np.sqrt(cv2.blur(points * points, AROUND)) + GRAIN
        points -= points.mean()
        length = float(np.linalg.norm(points))
        row[:] = points.ravel() / length if length > PLAIN and region.side >= SMALLEST else math.nan
    return rows
