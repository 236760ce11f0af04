"""Frames at full speed for as long as asked, into every kind of file: memory and open files must stay flat.

    python tests/manual/soak.py --minutes 60

The demo's ten seconds are tracked again and again as one endless camera; nothing waits for a clock.  Twenty times a
line tells frames, memory, open files and threads.  Once the first rows of Parquet are written, memory may grow by
`GROWTH_BYTES` per frame, for the index that MP4 gets at its end, and open files and threads not at all.  Needs Linux.
"""

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import typer

from tracker.app.follow import follow
from tracker.app.outputs import header_of, open_sinks
from tracker.backends.choice import open_backend
from tracker.backends.registry import BackendName
from tracker.backends.weights import load
from tracker.detectors.registry import open_detector
from tracker.options import Options
from tracker.sinks.keypoints.parquet import ROWS_PER_GROUP
from tracker.sources.registry import open_source
from tracker.types import Frame

READINGS = 20
GROWTH_BYTES = 250
FILES = ("out.jsonl", "out.csv", "out.parquet")


class Reading(NamedTuple):
    """What the process holds at one moment."""

    frames: int
    resident: int
    """Bytes."""
    open_files: int
    threads: int

    @classmethod
    def now(cls, frames: int) -> "Reading":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        open_files = len(list(Path("/proc/self/fd").iterdir()))
        return cls(frames, pages * os.sysconf("SC_PAGE_SIZE"), open_files, threading.active_count())


def main(minutes: float = 60.0, backend: BackendName = "auto") -> None:
    """Run, tell, and fail where something grows."""
    with TemporaryDirectory() as folder:
        readings = list(told(soak(Path(folder), 60 * minutes, backend)))
    warm = [reading for reading in readings if reading.frames > 2 * ROWS_PER_GROUP]
    if len(warm) < READINGS // 2:
        sys.exit("too short to judge")
    first, last = warm[0], warm[-1]
    growth = (last.resident - first.resident) / (last.frames - first.frames)
    print(f"memory grew by {growth:.0f} bytes per frame")
    if growth > GROWTH_BYTES or last.open_files > first.open_files or last.threads > first.threads:
        sys.exit("it leaks")


def soak(folder: Path, seconds: float, backend: BackendName) -> Iterator[Reading]:
    """Track into `folder`, with a reading now and then."""
    options = Options(out=folder / "out.mp4", keypoints=tuple(folder / name for name in FILES))
    weights = load()
    with (
        open_source(None, demo=True) as demo,
        closing(open_backend(backend, weights)) as network,
        closing(open_detector("yunet", threads=1)) as detector,
        open_sinks(options, demo.info, header_of(demo.info, weights, network, detector, options)) as sinks,
    ):
        began = time.monotonic()
        due = (seconds * number / READINGS for number in range(1, READINGS + 1))
        next_s = next(due)
        for tracked in follow(endless(list(demo)), "camera", detector, network, options):
            for sink in sinks:
                sink.write(tracked)
            if time.monotonic() - began >= next_s:
                yield Reading.now(tracked.frame.index + 1)
                next_s = next(due, -1.0)
                if next_s < 0:
                    return


def endless(shots: list[Frame]) -> Iterator[Frame]:
    """The frames of ten seconds for ever, at 30 per second."""
    for index, shot in enumerate(itertools.cycle(shots)):
        yield Frame(shot.image.copy(), index, index / 30)


def told(readings: Iterable[Reading]) -> Iterator[Reading]:
    """The readings, each printed as it comes."""
    for reading in readings:
        print(
            f"{reading.frames:9} frames  {reading.resident / 1e6:7.1f} MB  "
            f"{reading.open_files} open files  {reading.threads} threads",
            flush=True,
        )
        yield reading


if __name__ == "__main__":
    typer.run(main)
