"""How alike two faces look: a frame and regions in (frame px), small pictures out that are compared by correlation.

Light and contrast are evened around every point, so that lamps and cameras matter little.  It tells whether somebody
is still the same a moment later; it is no face recognition, and nothing is stored beyond the film.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.geometry import cut
from tracker.types import Frame, Region

SAME = 0.68
"""Likeness from which on two pictures show the same person; of different people one pair in a thousand exceeds it."""
SURELY_SAME = 0.85
"""A dissolve that is half over leaves 0.7 of the likeness, so that more is needed to tell that it is none."""
STRANGER, STRANGER_LATER, FADES_PER_S = 0.66, 0.42, 0.5
"""Likeness below which two pictures show different people: at once, later, and how fast it falls from one to the other.
Somebody who talks and turns has less than 0.73 from frame to frame in one of 1000, less than 0.56 after 0.2 s in one of
100, and less than 0.42 after 2 s in one of 30.  Two faces in one head of hair have 0.33 on average, 0.6 in one of 100.
"""
SURELY_STRANGER = 0.32
"""Below this they are different people though nothing else suggests it, up to 0.2 s apart."""
SIDE, AROUND = 24, (7, 7)
GRAIN = 3.0
"""Contrast in gray levels that is noise."""
PLAIN = 0.06 * SIDE
"""A shorter row shows nothing."""
SMALLEST = 32.0
"""A region with a shorter side, frame px, shows too little."""
OFF_CENTRE = (np.indices((SIDE, SIDE), np.float32) + 0.5) / (SIDE / 2) - 1
WEIGHTS = np.exp(-(OFF_CENTRE**2).sum(0))
"""The middle counts most: hair and walls stay where they are if another face takes the place."""

Picture = NDArray[np.float32]


def pictures(frame: Frame, regions: Sequence[Region]) -> Picture:
    """One row per region, of length 1: the product of two rows is their likeness, -1 to 1, NaN if one shows nothing."""
    rows = np.empty((len(regions), SIDE * SIDE), np.float32)
    for row, crop, region in zip(rows, cut(frame.image, regions, 2 * SIDE)[:, 0], regions, strict=True):
        points = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        points -= cv2.blur(points, AROUND)
        points /= np.sqrt(cv2.blur(points * points, AROUND)) + GRAIN
        points = (points - points.mean()) * WEIGHTS
        length = float(np.linalg.norm(points))
        row[:] = points.ravel() / length if length > PLAIN and region.side >= SMALLEST else math.nan
    return rows


@dataclass(slots=True, eq=False)
class Looks:
    """How somebody looked, without anybody before them."""

    portraits: tuple[Picture, ...] = ()
    """Not long ago, the older one first."""
    portrayed_at: float = -math.inf
    """Timestamp of the last portrait, s."""
    glimpse: Picture | None = None
    """In the last frame before somebody else may have taken the place, at `glimpsed_at`, s."""
    glimpsed_at: float = -math.inf

    def likeness(self, now: Picture) -> float:
        """How much a picture looks like them; NaN if nothing tells."""
        known = [float(now @ each) for each in (*self.portraits, self.glimpse) if each is not None]
        return max((each for each in known if not math.isnan(each)), default=math.nan)

    def stranger_below(self, now_s: float) -> float:
        """Likeness below which a picture shows somebody else."""
        elapsed = now_s - max(self.glimpsed_at, self.portrayed_at)
        return max(STRANGER_LATER, STRANGER - FADES_PER_S * elapsed)
