"""Where one shot ends and the next begins: frames in, true at the first frame of a new shot.

Two small pictures are compared by their correlation, which does not depend on how bright or how rich in contrast they
are.  A large change may also be motion, because a film with five frames a second, or a swung camera, changes as much
from frame to frame as a quiet film does at a cut.  So it is a cut only if what was seen before is nowhere near.

A dissolve or a wipe changes every point only from its old value towards its new one, and moves nothing meanwhile.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.types import Frame

ACROSS = 40
"""Points compared along the frame's long side."""
CHANGE = 0.25
"""One minus the correlation, above which a frame may be the first of a new shot.  Of frames of 17 clips cut together
at random 99.5 % exceed it; motion exceeds it if a head fills the picture, at 10 frames a second and fewer."""
JUMP, JUMP_FADES, OTHER_FACE = 1.4, 0.8, 0.8
"""A change this many times as large as those before is a jump: somebody else may be in the same place.  Large changes
count for less with every frame.  Another face differs by two and more of the picture's contrasts at its points, so
smaller changes than the third number are none.  Films of ordinary motion have one jump in thirty frames."""
LITTLE = 0.5
"""A difference of this share of the contrast cannot change the correlation by more than `CHANGE`."""
UNRELATED = 0.5
"""... and above which it is one if the pictures are too plain to tell motion from a cut."""
BLOCK, REACH = 5, 8
"""Points along a side of the blocks that are looked for, and how far they may have moved."""
LEAST_CORNER = 1e-4
"""Smallest eigenvalue of the gradients of a block that has more to show than an edge, gray levels of 0 to 1 squared."""
FEWEST_BLOCKS = 6
"""Fewer blocks with such details are a plain picture."""
ALIKE = 0.8
"""Correlation from which on a block is found again."""
STAYS = 0.42
"""Share of the blocks that are found again, together with a neighbour, from which on a change is motion.  The least in
motion at 5 frames a second and more is 0.48, the most of frames cut together 0.4."""
BRIGHT, FLASH_SHARE, FLASH_FRAMES = 250, 0.4, 2
"""If this share of the points becomes as bright as this, it may be a photographer's flash; it lasts so many frames."""
KEPT_S, KEPT_EVERY_S, FEWEST_KEPT = 0.72, 0.1, 4
"""Dissolves and wipes are told from thumbnails of this time, so far apart.  Longer ones are told after most of them."""
CLOCK_TOLERANCE_S = 0.002
"""Films round their timestamps to milliseconds."""
FADED = 0.85
"""A smaller difference, in contrasts of one picture, leaves two pictures related (see `UNRELATED`)."""
CHANGED, NOISE = 20, 8
"""Gray levels by which a point differs between two shots, and by which it may leave the way from one to the other."""
FEWEST_CHANGED = 0.1
"""Smaller shares of changed points are no new picture."""
ON_WAY, LEAST_ON_WAY, BACK = 0.9, 0.8, 0.1
"""Shares of the changed points that are on their way in a transition: on average, and in every thumbnail.  Its progress
may go back so far."""
MOVED, MOVES = 1.5, 0.25
"""Motion moves this share of the blocks that are found again by more points.  In zooms, pans and people who lie down it
is 0.3 and more."""
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
        top, left = min(step // 2, len(image) - 1), min(step // 2, image.shape[1] - 1)  # a strip may be thinner
        return cls(np.ascontiguousarray(image[top::step, left::step, 1]), step)


class _View(NamedTuple):
    """A thumbnail prepared for comparison; blurred, so that fine patterns do not matter."""

    raw: NDArray[np.uint8]
    points: NDArray[np.uint8]
    mean: float
    energy: float
    """The sum of the squared differences from the mean."""

    @classmethod
    def of(cls, points: NDArray[np.uint8]) -> "_View":
        blurred: NDArray[np.uint8] = cv2.blur(points, (3, 3))
        mean, spread = cv2.meanStdDev(blurred)
        return cls(points, blurred, mean.item(), spread.item() ** 2 * blurred.size)

    def unlike(self, other: "_View") -> float:
        """One minus the correlation: 0 for the same up to contrast, about 1 for unrelated pictures."""
        count = self.points.size
        grain = GRAIN**2 * count
        apart = cv2.norm(self.points, other.points, cv2.NORM_L2SQR) - count * (self.mean - other.mean) ** 2
        both = (self.energy + other.energy - apart) / 2 + grain
        return 1 - both / math.sqrt((self.energy + grain) * (other.energy + grain))


class Cuts:
    """Gets every frame of a film or camera in order, and says which of them begin a new shot."""

    def __init__(self) -> None:
        self.thumbnail: Thumbnail | None = None
        """Of the last frame."""
        self.is_gradual = False
        """Whether the last cut was a dissolve or a wipe, so that the frame before it shows both shots."""
        self.may_replace = False
        """Whether so much has changed that a face may be another one."""
        self.has_jumped = False
        """Whether that is much more than between the frames before."""
        self._usual = 0.0
        """The largest change of late."""
        self._last: NDArray[np.uint8] | None = None
        """The points of the last frame that was no flash."""
        self._contrast = 0.0
        """Lower limit of the norm of its differences from its mean."""
        self._flashes = 0
        """Consecutive frames after it."""
        self._kept: deque[tuple[float, NDArray[np.uint8]]] = deque()
        """Timestamps and points of this shot, for `KEPT_S`."""

    def __call__(self, frame: Frame, smallest: float = 0.0) -> bool:
        """Whether a new shot begins with this frame.  Neither the first frame nor one of another size begins one.

        `smallest` is the side of the smallest face in it, frame px.
        """
        self.thumbnail = Thumbnail.of(frame.image)
        now, last = self.thumbnail.points, self._last
        if last is None or last.shape != now.shape:
            self._last, self._contrast = now, 0.0
            self._kept.clear()
            return False
        apart, self.is_gradual = cv2.norm(now, last), False
        another = OTHER_FACE * self._contrast * smallest / (self.thumbnail.step * math.sqrt(now.size))
        self.may_replace = apart > another
        self.has_jumped = self.may_replace and apart > JUMP * self._usual
        self._usual = max(apart, JUMP_FADES * self._usual)
        if apart <= LITTLE * self._contrast:
            self._last, self._contrast, self._flashes = now, self._contrast - apart, 0
        elif self._is_cut(_View.of(last), _View.of(now)):
            self._kept.clear()
            return True
        if self._flashes == 0 and self._is_due(frame.timestamp):
            self.is_gradual = self._has_faded(frame.timestamp, now)
        return self.is_gradual

    def _is_cut(self, before: _View, now: _View) -> bool:
        """Whether another shot begins after a change that may be large."""
        change = now.unlike(before)
        if change > CHANGE and self._flashes < FLASH_FRAMES and _is_flash(before, now):
            self._flashes += 1
            return False
        self._last, self._contrast, self._flashes = now.raw, math.sqrt(now.energy), 0
        return change > CHANGE and not _is_motion(before, now, change)

    def _is_due(self, now_s: float) -> bool:
        return not self._kept or now_s - self._kept[-1][0] >= KEPT_EVERY_S - CLOCK_TOLERANCE_S

    def _has_faded(self, now_s: float, now: NDArray[np.uint8]) -> bool:
        """Whether a transition from another shot has mostly come to its end; keeps the points `now`."""
        kept = self._kept
        while kept and now_s - kept[0][0] > KEPT_S:
            kept.popleft()
        kept.append((now_s, now))
        if len(kept) < FEWEST_KEPT or cv2.norm(now, kept[0][1]) < FADED * self._contrast:
            return False
        first, last = _View.of(kept[0][1]), _View.of(now)
        if last.unlike(first) < UNRELATED:
            return False
        between = [_View.of(points) for _, points in itertools.islice(kept, 1, len(kept) - 1)]
        if not _is_transition(first, between, last):
            return False
        kept.clear()
        return True


def _is_flash(before: _View, now: _View) -> bool:
    bright, were_bright = (int(np.count_nonzero(view.points >= BRIGHT)) for view in (now, before))
    return bright - were_bright > FLASH_SHARE * now.points.size


def _is_motion(before: _View, now: _View, change: float) -> bool:
    """Whether what was seen before is still there, somewhere near."""
    places = _places(before.points, now.points)
    if len(places) < FEWEST_BLOCKS:
        return change <= UNRELATED
    stays = sum(place is not None and _agrees(places, at, place) for at, place in places.items())
    return stays >= STAYS * len(places)


def _is_transition(first: _View, between: Sequence[_View], last: _View) -> bool:
    """Whether one picture becomes the other in place."""
    start, end = first.points.astype(np.int16), last.points.astype(np.int16)
    changed = np.abs(end - start) >= CHANGED
    if np.count_nonzero(changed) < FEWEST_CHANGED * changed.size:
        return False
    start, way = start[changed], (end - start)[changed]
    done = [(view.points[changed] - start) * np.sign(way) for view in between]
    on_way = [float(np.mean((each >= -NOISE) & (each <= np.abs(way) + NOISE))) for each in done]
    progress = [float(each.sum() / np.abs(way).sum()) for each in done]
    if np.mean(on_way) < ON_WAY or min(on_way) < LEAST_ON_WAY:
        return False
    if any(later < earlier - BACK for earlier, later in itertools.combinations(progress, 2)):
        return False
    pairs = [pair for view in between for pair in ((first, view), (view, last))]
    return not _is_motion(first, last, UNRELATED) and not _moves(pairs)


def _moves(pairs: Iterable[tuple[_View, _View]]) -> bool:
    """Whether much of what is found again is elsewhere."""
    ways = []
    for before, now in pairs:
        places = _places(before.points, now.points)
        ways += [abs(way) for at, way in places.items() if way is not None and _agrees(places, at, way)]
    return sum(way >= MOVED for way in ways) > MOVES * len(ways)


def _places(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> dict[tuple[int, int], complex | None]:
    """Row and column of each block with details -> how far it has moved, x + iy points; None if it is not found."""
    corners = cv2.cornerMinEigenVal(before, BLOCK, ksize=1)[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK]
    places: dict[tuple[int, int], complex | None] = {}
    for row, column in np.argwhere(corners >= LEAST_CORNER).tolist():
        y, x = row * BLOCK, column * BLOCK
        top, left = max(0, y - REACH), max(0, x - REACH)
        block, window = before[y : y + BLOCK, x : x + BLOCK], now[top : y + BLOCK + REACH, left : x + BLOCK + REACH]
        _, alike, _, (right, down) = cv2.minMaxLoc(cv2.matchTemplate(window, block, cv2.TM_CCOEFF_NORMED))
        places[row, column] = complex(left + right - x, top + down - y) if alike >= ALIKE else None
    return places


def _agrees(places: dict[tuple[int, int], complex | None], at: tuple[int, int], place: complex) -> bool:
    """Whether a neighbour has moved as far: blocks that are found by chance are scattered."""
    row, column = at
    beside = (places.get(each) for each in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)))
    return any(other is not None and abs(other - place) < 1.5 for other in beside)
