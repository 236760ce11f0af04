"""Frames as they arrive: what a camera and a network stream have in common.

In: pictures with the time of their arrival, taken by a thread.  Out: Frames, timestamps in seconds since the first one.
"""

import threading
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.sources.contract import Source, SourceInfo
from tracker.support.threads import Background
from tracker.types import Frame


class Shot(NamedTuple):
    """One picture when it arrived."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8 BGR."""
    time: float
    """`time.perf_counter()` when it arrived."""
    unix: float
    """`time.time()` then."""


def arrived(image: NDArray[np.uint8]) -> Shot:
    """A picture that arrives now."""
    return Shot(image, time.perf_counter(), time.time())


class Live(Source):
    """Pictures that a thread takes.  Those that are not fetched in time are dropped and not counted in `skipped`.

    Ends only by `close()`, which sets `stop`.
    """

    def __init__(self, info: SourceInfo, stop: threading.Event, shots: Generator[Shot, None, None]) -> None:
        self.info = info
        self._stop = stop
        self._shots = Background(shots, depth=1, newest_only=True)

    @property
    def skipped(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Frame]:
        zero, aspect = self.info.clock_zero or 0.0, float(self.info.sample_aspect)
        for index, shot in enumerate(self._shots):
            yield Frame(shot.image, index, shot.time - zero, aspect=aspect, captured=shot.unix)

    def close(self) -> None:
        self._stop.set()
        self._shots.close()
