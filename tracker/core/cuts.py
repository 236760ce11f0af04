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
JUMP, TIMES_QUIET, QUIET_FRAMES, QUIET_S = 0.2, 8.0, 8, 0.11
"""A smaller change is one too, if it is this many times what this many frames, not further apart than this, changed.
Two talking heads before bright walls differ by 0.26 to 0.5; their own frames by 0.03."""
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
        top, left = (min(step // 2, side - 1) for side in image.shape[:2])  # a strip may be thinner than the grid
        return cls(np.ascontiguousarray(image[top::step, left::step, 1]), step)


class _Contrast(NamedTuple):
    """What a thumbnail shows besides its brightness; blurred, so that fine patterns do not matter."""

    points: NDArray[np.float32]
    """Its mean is 0."""
    energy: float
    """The sum of its squares."""

    @classmethod
    def of(cls, points: NDArray[np.uint8]) -> "_Contrast":
        blurred: NDArray[np.float32] = cv2.boxFilter(points, cv2.CV_32F, (3, 3))
        blurred -= cv2.mean(blurred)[0]
        return cls(blurred, float(np.vdot(blurred, blurred)))

    def unlike(self, other: "_Contrast") -> float:
        """One minus the correlation: 0 for the same up to contrast, about 1 for unrelated pictures."""
        grain = GRAIN**2 * self.points.size
        both = float(np.vdot(self.points, other.points)) + grain
        return 1 - both / math.sqrt((self.energy + grain) * (other.energy + grain))


class Cuts:
    """Gets every frame of a film or camera in order, and says which of them begin a new shot."""

    def __init__(self) -> None:
        self.thumbnail: Thumbnail | None = None
        """Of the last frame."""
        self._last_at = 0.0
        self._usual = 0.0
        self._frames = 0
        """Since the last cut."""

    def __call__(self, frame: Frame) -> bool:
        """Whether a new shot begins with this frame.  Neither the first frame nor one of another size begins one."""
        last, self.thumbnail = self.thumbnail, Thumbnail.of(frame.image)
        elapsed_s, self._last_at = frame.timestamp - self._last_at, frame.timestamp
        if last is None or last.points.shape != self.thumbnail.points.shape:
            return False
        is_still = cv2.norm(last.points, self.thumbnail.points, cv2.NORM_L1) < STILL * last.points.size
        change = 0.0 if is_still else _Contrast.of(self.thumbnail.points).unlike(_Contrast.of(last.points))
        usual = max(self._usual, min(FASTEST_PER_S * elapsed_s, MOST_USUAL))
        is_cut = change > max(CHANGE, TIMES_USUAL * usual) or self._is_jump(change, elapsed_s)
        self._frames = 0 if is_cut else self._frames + 1
        self._usual *= 0.5 ** (max(elapsed_s, 0.0) / USUAL_S)
        if not is_cut:
            self._usual = max(self._usual, change)
        return is_cut

    def _is_jump(self, change: float, elapsed_s: float) -> bool:
        """Whether a quiet film changes suddenly: two people before bright walls are alike in most points."""
        is_quiet = self._frames >= QUIET_FRAMES and elapsed_s <= QUIET_S
        return is_quiet and change > max(JUMP, TIMES_QUIET * self._usual)
