"""The progress of a run on stderr: a bar with rate and remaining time, and one line at its end."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from tracker.sources.contract import Kind, SourceInfo
from tracker.support.printable import printable
from tracker.types import Tracked

log = logging.getLogger(__name__)

FIRST_KEYPOINTS = "first keypoints are out"
"""Logged once per run; `fkp-bench` measures start-up by it."""

Advance = Callable[[], object]
"""To be called after each frame."""


class Tally:
    """Counts the results of a run; `str(tally)` is its last line."""

    def __init__(self) -> None:
        self.frames = 0
        self.faces = 0
        """The number of ids; for unrelated pictures, the number of faces."""
        self._ids: set[int] = set()
        self.skipped = 0
        """Corrupt packets, frames or pictures that the source skipped."""
        self._first_s = self._last_s = 0.0

    def count(self, tracked: Tracked, kind: Kind) -> None:
        """Count one finished frame of a source of that kind."""
        self._last_s = perf_counter()
        if self.frames == 0:
            self._first_s = self._last_s
            log.info(FIRST_KEYPOINTS)
        self.frames += 1
        if kind == "images":
            self.faces += len(tracked.faces)
        else:
            self._ids.update(face.id for face in tracked.faces)
            self.faces = len(self._ids)

    @property
    def fps(self) -> float | None:
        """Frames per second of wall time, first finished frame to last; None below two frames."""
        if self._last_s <= self._first_s:
            return None
        return (self.frames - 1) / (self._last_s - self._first_s)

    def __str__(self) -> str:
        rate = "" if self.fps is None else f", {self.fps:.1f} frames/s"
        skipped = f", {self.skipped} corrupt skipped" if self.skipped else ""
        return f"{_counted(self.frames, 'frame')}, {_counted(self.faces, 'face')}{rate}{skipped}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def open_progress(info: SourceInfo, *, visible: bool) -> Iterator[Advance]:
    """A bar on stderr if `visible` and stderr is a terminal, else nothing; yields the function to call per frame."""
    if not (visible and sys.stderr.isatty()):
        yield lambda: None
        return
    # Not at the top: rich costs a run without a bar 60 ms.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.0f} frames/s")

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(info.name), total=info.frames)
        yield lambda: progress.advance(task)
