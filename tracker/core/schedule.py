"""When the detector is asked and how closely it looks: BGR frames in, faces or None (not asked) out, frame px.

Followed faces say themselves when they need the detector (`Watch.wants_look`).  For somebody new there is a look at the
picture, cheap enough for every frame: a point in 16 x 16 px (of 640x480) is compared with what it was when the detector
looked last.  It costs 5 us on pixels in the cache, 40 on others, and shows a newcomer within 0.1 s, where looking twice
a second takes 0.2 s on average and 0.45 s at worst (1 s for one so small that only a close look finds it).

A detector that may shrink the picture further sees a large face as surely in half of the time: a glance.  Somebody
small may come meanwhile, so a close look follows after a few glances, and whatever is unusual calls for one at once.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.detectors.contract import Detector
from tracker.types import Detection, Region

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


class Closeness:
    """`detector`, taking up to so many `glances` in a row at the faces that `watch` follows."""

    def __init__(self, detector: Detector, watch: Watch, glances: int) -> None:
        self._detector = detector
        self._watch = watch
        self._glances = glances
        self._glanced = glances
        self._close_look_s = 0.0
        """From the last close look to the last look."""

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, image: NDArray[np.uint8], *, closely: bool = False) -> list[Detection]:
        """The faces in a BGR image (H, W, 3): all that can be seen, if only `closely`."""
        ago_s = self._close_look_s + self._watch.rested_s()
        if not closely and self._glanced < self._glances and ago_s < CLOSE_AGAIN_S and self._watch.is_sure():
            sides = [region.side for region in self._watch.regions()]
            faces = self._detector(image, min(sides))
            if len(faces) >= len(sides):
                self._glanced, self._close_look_s = self._glanced + 1, ago_s
                return faces
        self._glanced, self._close_look_s = 0, 0.0
        return self._detector(image)

    def close(self) -> None:
        self._detector.close()


class OnDemand:
    """A detector that looks when `watch` wants it or the picture changes beside the followed people, else says None."""

    def __init__(self, detector: Closeness, watch: Watch) -> None:
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


class EveryN:
    """A detector that looks at the first and then every n-th frame, and answers None in between.

    It looks sooner where `watch` is in doubt, and counts from there.
    """

    def __init__(self, detector: Closeness, n: int, watch: Watch) -> None:
        if n < 1:
            raise ValueError(f"n is {n}, expected 1 or more")
        self._detector = detector
        self._n = n
        self._watch = watch
        self._until_next = 0

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection] | None:
        """The faces, or None where this frame was not looked at."""
        if self._until_next > 0 and not self._watch.in_doubt():
            self._until_next -= 1
            return None
        self._until_next = self._n - 1
        return self._detector(image)

    def close(self) -> None:
        self._detector.close()


def paced(
    detector: Detector, every: int | Literal["auto"], watch: Watch, *, glances: int = GLANCES
) -> EveryN | OnDemand:
    """`detector`, looking at every n-th frame and sooner in doubt, or ("auto") whenever the faces need it.

    Between two close looks it takes up to so many `glances`.
    """
    looking = Closeness(detector, watch, glances)
    return OnDemand(looking, watch) if every == "auto" else EveryN(looking, every, watch)
