"""Where one shot ends and the next begins: frames in, true at the first frame of a new shot.

The measure is the correlation of two small pictures, so it does not depend on how bright or how rich in contrast they
are.  The threshold adapts to what is usual: a film with five frames a second, or a swung camera, changes as much from
frame to frame as a quiet film does at a cut.

"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.types import Frame

ACROSS = 40
"""Points compared along the frame's long side."""
CHANGE = 0.5
"""One minus the correlation, above which a frame may be the first of a new shot.  Of consecutive frames of 19 clips
none exceeds 0.35 at full rate; of 300 frames cut together at random 97 % exceed 0.5."""
TIMES_USUAL = 2.0
"""... and it must be this many times what the last frames changed."""
USUAL_S = 1.0
"""How long a large change counts as usual, first at its full and then at half of its size."""
FASTEST_PER_S = 1.6
"""The initial usual change, per second: low frame rates change more per frame."""
MOST_USUAL = 0.35
"""... but never more than this before it was observed."""
STILL = 3.0
"""Mean difference of two pictures, gray levels, up to which nothing has changed."""
GRAIN = 4.0
"""Contrast in gray levels that any two pictures are assumed to share, so that noise in the dark is no cut."""


class Thumbnail(NamedTuple):
    """A small picture of a frame: single points of the green channel on a square grid."""

    points: NDArray[np.uint8]
    step: int
    """Of the grid, frame px."""

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> "Thumbnail":
        step = max(1, max(image.shape[:2]) // ACROSS)
        return cls(np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step, 1]), step)


class Cuts:
    """Gets every frame of a film or camera in order, and says which of them begin a new shot."""

    def __init__(self) -> None:
        self.thumbnail: Thumbnail | None = None
        """Of the last frame."""
        self._last_at = 0.0
        self._usual = 0.0

    def __call__(self, frame: Frame) -> bool:
        """Whether a new shot begins with this frame.  Neither the first frame nor one of another size begins one."""
        last, self.thumbnail = self.thumbnail, Thumbnail.of(frame.image)
        elapsed_s, self._last_at = frame.timestamp - self._last_at, frame.timestamp
        if last is None or last.points.shape != self.thumbnail.points.shape:
            return False
        change = _change(last.points, self.thumbnail.points)
        usual = max(self._usual, min(FASTEST_PER_S * elapsed_s, MOST_USUAL))
        is_cut = change > max(CHANGE, TIMES_USUAL * usual)
        self._usual *= 0.5 ** (max(elapsed_s, 0.0) / USUAL_S)
        if not is_cut:
            self._usual = max(self._usual, change)
        return is_cut


def _change(last: NDArray[np.uint8], now: NDArray[np.uint8]) -> float:
    """One minus the correlation of two pictures, blurred so that fine patterns do not matter; 0 if nearly the same."""
    if cv2.norm(last, now, cv2.NORM_L1) < STILL * now.size:
        return 0.0
    one, other = (cv2.blur(points, (3, 3)).astype(np.float32) for points in (last, now))
    return 1 - _correlation(one - one.mean(), other - other.mean())


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of two pictures without their means: 1 for the same up to contrast, about 0 for unrelated ones."""
    grain = GRAIN**2 * one.size
    both = float(np.vdot(one, other)) + grain
    return both / math.sqrt((float(np.vdot(one, one)) + grain) * (float(np.vdot(other, other)) + grain))
