"""What a face detector takes and returns.

Each detector maps what it sees to the framing that the network was trained on, with constants measured on that data.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detection


class Detector(Protocol):
    """The contract.  Implementations do not inherit from it."""

    @property
    def name(self) -> str:
        """For people and records, e.g. `yunet-2023mar 320`."""
        ...

    def __call__(
        self, image: NDArray[np.uint8], smallest: float | None = None, *, size: int | None = None
    ) -> list[Detection]:
        """(H, W, 3) uint8 BGR -> the faces in it, best score first; boxes may reach beyond the image.

        `smallest` is the side, frame px, from which on a face's region must be found; None for all that can be.
        `size` is the long side, px, that the picture gets if every face is asked for; None for the detector's own.
        """
        ...

    def close(self) -> None:
        """Free the runtime; the detector must not be called afterwards."""
        ...
