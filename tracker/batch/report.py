"""The progress of a batch on stderr: a bar or a line per film; at the end, failures and a summary."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft

from tracker.batch.plan import Task
from tracker.batch.work import Outcome
from tracker.support.printable import printable

log = logging.getLogger(__name__)

LISTED = 20
"""Failures that are listed at the end of a batch."""


class Report:
    """Counts the results of a batch.

    `show` is called after every change, with the films through, the frames finished and a line to tell or None.
    """

    def __init__(self, total: int, already: int) -> None:
        self.failures: list[tuple[Task, str]] = []
        self.show: Callable[[int, int, str | None], object] = _tell
        self._total = total
        self._already = already
        self._tracked = 0
        self._empty: list[str] = []
        """Films in which nobody was seen."""
        self._frames = 0
        self._began = perf_counter()

    def progressed(self, frames: int) -> None:
        """Count newly finished frames."""
        self._frames += frames
        self.show(self._through, self._frames, None)

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Count one finished film."""
        if outcome.failure is None:
            self._tracked += 1
            self._empty += [task.name] * (outcome.faces == 0)
            line = f"{outcome.frames} frames in {outcome.seconds:.1f} s" + ", no face" * (outcome.faces == 0)
        else:
            self.failures.append((task, outcome.failure))
            line = f"failed: {outcome.failure}"
        self.show(self._through, self._frames, f"{self._through} of {self._total}: {task.name}: {line}")

    def close(self, records: str) -> None:
        """Log the summary and the failures; `records` is where everything is recorded."""
        counts = {
            "tracked": self._tracked,
            "done before": self._already,
            "failed": len(self.failures),
            "left for the next time": self._total - self._through,
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        time = f"; {self._frames} frames in {perf_counter() - self._began:.0f} s" if self._frames else ""
        films = "1 film" if self._total == 1 else f"{self._total} films"
        log.info("%s: %s%s -> %s", films, told, time, records)
        if self._empty:
            more = f" and {len(self._empty) - LISTED} more" if len(self._empty) > LISTED else ""
            log.warning("no face in %s%s", ", ".join(self._empty[:LISTED]), more)
        for task, failure in self.failures[:LISTED]:
            log.error("failed: %s: %s", task.name, failure)
        if self.failures[LISTED:]:
            log.error("failed: %d more", len(self.failures[LISTED:]))

    @property
    def _through(self) -> int:
        return self._already + self._tracked + len(self.failures)


@contextmanager
def open_report(total: int, already: int, records: str) -> Iterator[Report]:
    """A report with a bar if stderr is a terminal, else with a line per film; at its end it gives the sum."""
    report = Report(total, already)
    try:
        with _bar(total, already) if sys.stderr.isatty() else nullcontext(_tell) as report.show:
            yield report
    finally:
        report.close(records)


def _tell(_films: int, _frames: int, line: str | None) -> None:
    if line is not None:
        log.info("%s", line)


@contextmanager
def _bar(total: int, already: int) -> Iterator[Callable[[int, int, str | None], object]]:
    console = Console(stderr=True)
    of_films, of_frames = TextColumn("films"), TextColumn("{task.fields[frames]} frames")
    columns = (of_films, BarColumn(), MofNCompleteColumn(), of_frames, TimeLeft())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total, completed=already, frames=0)

        def show(films: int, frames: int, line: str | None) -> None:
            progress.update(bar, completed=films, frames=frames)
            if line is not None and "failed: " in line:
                console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

        yield show
