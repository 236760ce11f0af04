"""A detector for whoever must not miss a face: what it only suspects is kept aside."""

import numpy as np
from numpy.typing import NDArray

from tracker.detectors.contract import Detector
from tracker.types import Detection


class Wary:
    """Reports what `detector` is at least `certain` of, as if it had been opened with that threshold."""

    def __init__(self, detector: Detector, certain: float) -> None:
        self._detector = detector
        self._certain = certain
        self.suspected: list[Detection] = []
        """All that the detector found in the image seen last, best first."""

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, image: NDArray[np.uint8], smallest: float | None = None) -> list[Detection]:
        """The faces in a BGR image (H, W, 3)."""
        self.suspected = self._detector(image, smallest)
        return [each for each in self.suspected if each.score >= self._certain]

    def close(self) -> None:
        self._detector.close()
