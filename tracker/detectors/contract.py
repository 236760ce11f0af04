"""The contract of a face detector.

Each detector maps its output to the framing that the network was trained with, by constants measured on that data.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detection


class Detector(Protocol):
    """The contract.  Implementations do not inherit from it."""

    @property
    def name(self) -> str:
        """Name for people and records, with the size at which it sees pictures: `yunet-2023mar auto`."""
        ...

    def __call__(
        self, image: NDArray[np.uint8], smallest: float | None = None, *, size: int | None = None
    ) -> list[Detection]:
        """(H, W, 3) uint8 BGR -> the faces in it, best score first; boxes may reach beyond the image.

        `smallest` is the smallest side of a region, frame px, that must be found; None for as small as possible.
        `size` is the long side, px, of the picture if every face is requested; None for the detector's own.
        """
        ...

    def close(self) -> None:
        """Free the runtime; the detector must not be called afterwards."""
        ...
