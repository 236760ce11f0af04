"""A detector that is asked only when its answer is needed: a BGR frame in, faces or None out, frame px.

Followed faces say themselves when they need it (`Watch.wants_look`).  For somebody new there is a look at the picture,
cheap enough for every frame: a point in 16 x 16 px (of 640x480) is compared with what it was when the detector looked
last.  It costs 5 us on pixels in the cache, 40 on others, and shows a newcomer within 0.1 s, where looking twice a
second alone takes 0.2 s on average and 0.45 s at worst (1 s for one so small that only a close look finds it, see
`closeness`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.types import Detection, Region

if TYPE_CHECKING:
    from tracker.detect.closeness import Closeness

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


class Watch(Protocol):
    """What has to be known of the faces that are followed; implemented by `Identity`."""

    def in_doubt(self) -> bool:
        """Whether one of them needs the detector at once."""
        ...

    def is_sure(self) -> bool:
        """Whether somebody is followed, nobody is in doubt, and nobody was lost a moment ago."""
        ...

    def wants_look(self) -> bool:
        """Whether the detector is needed in this frame, for one of them or because it has rested long enough."""
        ...

    def rested_s(self) -> float:
        """How long ago the detector looked last, s of the frames' own time."""
        ...

    def regions(self) -> Sequence[Region]:
        """Where the followed faces are in this frame, frame px."""
        ...


class OnDemand:
    """A detector that looks when `watch` wants it or the picture changes beside the followed people, else says None."""

    def __init__(self, detector: "Closeness", watch: Watch) -> None:
        self._detector = detector
        self._watch = watch
        self._seen = np.empty((0, 0), np.uint8)
        """The thumbnail of the last look."""

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection] | None:
        """The faces, or None where this frame was not looked at."""
        news = self._has_news(image)
        if not news and not self._watch.wants_look():
            return None
        self._seen = _thumbnail(image)
        return self._detector(image, closely=news)

    def close(self) -> None:
        self._detector.close()

    def _has_news(self, image: NDArray[np.uint8]) -> bool:
        return self._watch.rested_s() >= SHORTEST_REST_S and changed(image, self._seen, self._watch.regions())


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
