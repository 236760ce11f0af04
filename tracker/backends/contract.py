"""What a runtime of the network takes and returns.

A backend is called with crops (N, 1, 96, 96) uint8 and returns (points (N, 15, 2) float32, sigma (N, 15) float32),
both in unit space.  N may be 0 and varies from call to call.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracker.types import Region


class Backend(Protocol):
    """The contract.  Implementations do not inherit from it."""

    name: str
    """For people and records, e.g. `onnxruntime-cpu 1.31.1`."""

    def __call__(self, faces: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 1, 96, 96) uint8 -> points (N, 15, 2) float32 unit, sigma (N, 15) float32 unit."""
        ...

    def close(self) -> None:
        """Free the runtime; the backend must not be called afterwards."""
        ...


@runtime_checkable
class Looks(Protocol):
    """What a backend may offer besides: it cuts the crops itself, where it runs."""

    def look(
        self, image: NDArray[np.uint8], regions: Sequence[Region]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A BGR frame (H, W, 3) uint8 and the regions of N faces, frame px -> as a call with their crops."""
        ...
