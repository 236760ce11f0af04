"""How closely the detector looks at each frame: a frame and what is known of its faces in, a `Look` or None out.

None skips the frame: followed faces need no detector while they are sure.  Somebody new changes the picture: a point in
16 x 16 px (of 640x480) is compared with what it was at the last look.  That costs 5 us on pixels in the cache, 40 on
others, and shows a newcomer within 0.1 s, where looking twice a second takes 0.2 s on average and 0.45 s at worst (1 s
for one so small that only a close look finds it).

A glance shrinks the picture further and sees a large face as surely in half of the time.  It cannot find somebody
small, so a close look follows after a few glances, and whatever is unusual calls for one at once.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.association import Followed
from tracker.types import CLOSE, Frame, Look, Region

LONGEST_REST_S = 0.5
"""However sure the faces are, the detector looks again after this."""
CLOCK_TOLERANCE_S = 0.002
"""Films round their timestamps to milliseconds."""
GLANCES = 2
"""Looks between two close ones, while every face is followed surely: a small face that comes then is found two looks
late."""
CLOSE_AGAIN_S = 1.0
"""After this time every look is close, however few there were: a small face that comes need not wait longer."""
LOOK_AT = 40
"""Points compared along the frame's long side."""
OTHER_GRAY = 25
"""A point has changed when it differs by more gray levels: noise and compression stay below 10."""
CHANGED_SHARE = 0.01
"""Share of the points that somebody who enters changes at least: on 640x480 a head of 60 px with its shoulders."""
SHORTEST_REST_S = 0.1
"""A picture that changes all the time, because the camera moves, calls for the detector no more often than this."""
ABOVE_SIDES, BESIDE_SIDES = 1.0, 1.5
"""How far a person's hair and body reach from the centre of the face's region; they move without being news."""


class Schedule(Protocol):
    """Decides how closely the detector looks at a frame."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        """The first look at a frame in which `faces` are expected; None skips it."""
        ...

    def closer(self, look: Look | None) -> Look | None:
        """The look to take after `look` left somebody in doubt; None when there is no closer one."""
        ...


class EveryFrame:
    """A close look at every frame."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        return CLOSE

    def closer(self, look: Look | None) -> Look | None:
        return None


class _Glancing:
    """Looks of which up to `glances` in a row are glances, while the faces are sure."""

    def __init__(self, glances: int) -> None:
        self._glances = glances
        self._glanced = glances

    def closer(self, look: Look | None) -> Look | None:
        self._glanced = 0
        return None if look == CLOSE else CLOSE

    def _look(self, faces: Followed, *, closely: bool = False) -> Look:
        """A glance where that is enough, unless it must be done `closely`."""
        enough = self._glanced < self._glances and faces.close_rested_s < CLOSE_AGAIN_S and faces.is_sure
        if closely or not enough:
            self._glanced = 0
            return CLOSE
        self._glanced += 1
        return Look(smallest=min(region.side for region in faces.regions))


class OnDemand(_Glancing):
    """Looks when a face needs it, when the picture changes beside the followed people, and now and then."""

    def __init__(self, glances: int = GLANCES) -> None:
        super().__init__(glances)
        self._seen = np.empty((0, 0), np.uint8)
        """The thumbnail of the last look."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        news = faces.rested_s >= SHORTEST_REST_S and changed(frame.image, self._seen, faces.regions)
        due = faces.rested_s + faces.period_s > LONGEST_REST_S + CLOCK_TOLERANCE_S
        if faces.is_sure and not news and not due:
            return None
        self._seen = _thumbnail(frame.image)
        return self._look(faces, closely=news)


class EveryN(_Glancing):
    """Looks at the first and then every n-th frame; sooner where a face is in doubt, and counts from there."""

    def __init__(self, n: int, glances: int = GLANCES) -> None:
        if n < 1:
            raise ValueError(f"n is {n}, expected 1 or more")
        super().__init__(glances)
        self._n = n
        self._until_next = 0

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        if self._until_next > 0 and not faces.in_doubt:
            self._until_next -= 1
            return None
        self._until_next = self._n - 1
        return self._look(faces)


def schedule_of(every: int | Literal["auto"], *, glances: int = GLANCES) -> Schedule:
    """Looks at every n-th frame and sooner in doubt, or ("auto") whenever the faces need it."""
    return OnDemand(glances) if every == "auto" else EveryN(every, glances)


def changed(image: NDArray[np.uint8], before: NDArray[np.uint8], people: Sequence[Region]) -> bool:
    """Whether a BGR image (H, W, 3) differs from the thumbnail `before`, except where `people` (frame px) are."""
    now = _thumbnail(image)
    if now.shape != before.shape:
        return True
    differs = cv2.absdiff(now, before)
    step = _step(image)
    for face in people:
        left, right = face.x - BESIDE_SIDES * face.side, face.x + BESIDE_SIDES * face.side
        top = face.y - ABOVE_SIDES * face.side
        differs[max(0, round(top / step)) :, max(0, round(left / step)) : max(0, round(right / step))] = 0
    return int(np.count_nonzero(differs > OTHER_GRAY)) >= CHANGED_SHARE * differs.size


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Single points of the green channel on a square grid."""
    step = _step(image)
    return np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step, 1])


def _step(image: NDArray[np.uint8]) -> int:
    return max(1, max(image.shape[:2]) // LOOK_AT)
