"""Frames as they arrive: what a camera and a network stream have in common.

In: pictures with the time of their arrival, taken by a thread.  Out: Frames, timestamps in seconds since the first one.
"""

import threading
import time
from collections.abc import Generator, Iterator
from datetime import datetime
from typing import Any, NamedTuple

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


def live(name: str, first: Shot, shots: Generator[Shot, None, None], stop: threading.Event, **about: Any) -> Source:
    """`shots` that a thread takes; those that are not fetched in time are dropped and not counted in `skipped`.

    Ends only when it is closed, which sets `stop`.  Time 0 is that of `first`, which `shots` repeat; `about` is what
    else is known for the `SourceInfo`.
    """
    height, width = first.image.shape[:2]
    about |= {"started": datetime.now().astimezone(), "clock_zero": first.time}
    info = SourceInfo("camera", name, width, height, None, None, **about)
    newest = Background(shots, depth=1, newest_only=True)

    def frames() -> Iterator[Frame]:
        for index, shot in enumerate(newest):
            time_s, aspect = shot.time - first.time, float(info.sample_aspect)
            yield Frame(shot.image, index, time_s, aspect=aspect, captured=shot.unix)

    def close() -> None:
        stop.set()
        newest.close()

    return Source(info, frames(), close)
