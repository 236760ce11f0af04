"""How closely to look: at everything the detector can see, or only as closely as the followed faces need.

A detector that may shrink the picture further sees a large face as surely in half of the time.  Nobody whose face is
small is followed then, but somebody may come: so after a few glances comes a close look, and whatever is unusual calls
for one at once.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detection

if TYPE_CHECKING:
    from tracker.detect import Detector
    from tracker.detect.ondemand import Watch

GLANCES = 2
"""Looks between two close ones, while every face is followed surely: a small face that comes then is found two looks
late."""
CLOSE_AGAIN_S = 1.0
"""After this time every look is close, however few there were: a small face that comes need not wait longer."""


class Closeness:
    """`detector`, taking up to so many `glances` in a row at the faces that `watch` follows."""

    def __init__(self, detector: "Detector", watch: "Watch", glances: int) -> None:
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
