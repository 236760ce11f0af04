"""Frames as they arrive: what a camera and a network stream have in common.

In: pictures with the time of their arrival, taken by a thread.  Out: Frames, timestamps in seconds since the first one.
"""

import threading
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

from tracker.sources.contract import Source, SourceInfo
from tracker.support.threads import Background
from tracker.types import Frame, Image


class Shot(NamedTuple):
    """One picture when it arrived."""

    image: Image
    """(H, W, 3) uint8 BGR."""
    time: float
    """`time.perf_counter()` when it arrived."""
    unix: float
    """`time.time()` then."""


def arrived(image: Image) -> Shot:
    """A picture that arrives now."""
    return Shot(image, time.perf_counter(), time.time())


def live(info: SourceInfo, stop: threading.Event, shots: Generator[Shot, None, None]) -> Source:
    """Pictures that a thread takes; those that are not fetched in time are dropped and not counted in `skipped`.

    Ends only when it is closed, which sets `stop`.
    """
    newest = Background(shots, depth=1, newest_only=True)

    def frames() -> Iterator[Frame]:
        zero, aspect = info.clock_zero or 0.0, float(info.sample_aspect)
        for index, shot in enumerate(newest):
            yield Frame(shot.image, index, shot.time - zero, aspect=aspect, captured=shot.unix)

    def close() -> None:
        stop.set()
        newest.close()

    return Source(info, frames(), close)
