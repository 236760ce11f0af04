"""One task of a batch, run in the calling process: the film is tracked into a staging folder beside its outputs.

Staged outputs are complete.  The batch's main process gives them their names, so that work done twice, or by a worker
that was believed dead, never appears.
"""

import errno
import logging
import tempfile
import traceback
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from tracker.app.progress import Tally
from tracker.app.run import run
from tracker.batch.plan import Output, Task, is_picture
from tracker.batch.storage import fetch, is_url, remove, store
from tracker.errors import FkpError, SinkError, SourceError
from tracker.options import Options
from tracker.support.printable import PrintableFormatter, printable

STAGING = ".fkp-batch"
"""The folder for work in progress in each output folder; it is removed when the batch ends."""

REMARKS = 20
"""Warnings kept per film."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended."""

    stage: str = ""
    """Name of the folder below `STAGING` with its complete outputs."""
    failure: str | None = None
    """One message; None after success."""
    code: int = 0
    """The exit code that `fkp-track` would have had."""
    details: str = ""
    """The traceback, for bugs of ours."""
    no_room: bool = False
    """The disk is full: the next film would fail too."""
    frames: int = 0
    faces: int = 0
    skipped: int = 0
    """Corrupt packets or pictures that were skipped."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    read: dict[str, Any] = field(default_factory=dict)
    """`facts_of` the film when it was opened; empty if it never was."""


def speak_of(task: Task, level: int) -> None:
    """Let this process log to stderr with its parent's `level`; warnings go to the record anyway."""
    if level < logging.WARNING:
        to_stderr = logging.StreamHandler()
        said = f"{printable(task.name).replace('%', '%%')}: %(name)s: %(message)s"
        to_stderr.setFormatter(PrintableFormatter(said))
        logging.basicConfig(level=level, handlers=[to_stderr], force=True)


def perform(task: Task, each: Options, tally: Tally) -> Outcome:
    """Track `task.source` with the settings of `each`, counting into `tally`.  Never raises an Exception."""
    stage = uuid.uuid4().hex
    began = perf_counter()
    read: dict[str, Any] = {}
    with _Listener() as warnings, tempfile.TemporaryDirectory(prefix="fkp-batch-") as scratch:
        try:
            made = _workplaces(task, stage, Path(scratch))
            read = facts_of(task.source)
            run(_options(task, each, made, Path(scratch)), tally, bar=False)
            if facts_of(task.source) != read:
                again = "when it is copied or recorded to its end, run again"
                raise SourceError(f"{task.source} changed while it was read; {again}")
            _hand_in(task, stage, made)
            ended = Outcome()
        except FkpError as error:
            ended = _failure(error, task, stage, Path(scratch))
        except Exception as error:
            told = f"{type(error).__name__}: {error}; this is a bug in fkp, please report it"
            ended = Outcome(failure=told, code=1, details=traceback.format_exc())
    if ended.failure is not None:
        discard(task, stage)
        warnings[:] = [each for each in warnings if stage not in each]  # they name files that are not kept
        stage = ""
    return replace(
        ended,
        stage=stage,
        frames=tally.frames,
        faces=tally.faces,
        skipped=tally.skipped,
        seconds=round(perf_counter() - began, 3),
        warnings=tuple(warnings),
        read=read,
    )


def facts_of(source: Path) -> dict[str, Any]:
    """Size and date of a film, or of the pictures in a folder: they show whether it is still the same.

    Empty if there is nothing or it cannot be looked up: then earlier outputs still count.
    """
    facts = []
    with suppress(OSError):
        for path in filter(is_picture, source.iterdir()) if source.is_dir() else [source]:
            with suppress(OSError):
                facts.append(path.stat())
    if not facts:
        return {}
    return {"size": sum(fact.st_size for fact in facts), "modified": max(fact.st_mtime for fact in facts)}


def staged(output: Output, stage: str) -> Path:
    """Where an output waits for its name."""
    return output.root / STAGING / stage / output.name


def discard(task: Task, stage: str) -> None:
    """Remove everything that `perform` has staged; does nothing for an empty `stage`."""
    for root in {output.root for output in task.outputs if stage}:
        remove(root / STAGING / stage)


def _workplaces(task: Task, stage: str, scratch: Path) -> dict[Output, Path]:
    """The path where each output is written: in its stage or, for a URL, in the local folder `scratch`."""
    made = {
        output: scratch / str(number) / output.name if is_url(output.root) else staged(output, stage)
        for number, output in enumerate(task.outputs)
    }
    for output, place in made.items():
        pictures = output.option == "out" and task.source.is_dir()
        try:
            (place if pictures else place.parent).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write {place}: {error.strerror}") from error
    return made


def _options(task: Task, each: Options, made: dict[Output, Path], scratch: Path) -> Options:
    return replace(
        each,
        source=fetch(task.source, scratch) if is_url(task.source) else task.source,
        called=str(task.source),
        out=next((place for output, place in made.items() if output.option == "out"), None),
        keypoints=tuple(place for output, place in made.items() if output.option == "keypoints"),
    )


def _hand_in(task: Task, stage: str, made: dict[Output, Path]) -> None:
    """See to it that everything waits in the stage; a run that ended well has made it all, unless no frame came."""
    for output, place in made.items():
        if not place.exists():
            raise FkpError(f"{task.source} gave no frame, so there is no {output.name}")
        if is_url(output.root):
            store(place, staged(output, stage))


def _failure(error: FkpError, task: Task, stage: str, scratch: Path) -> Outcome:
    """The failure, with the paths that the user knows."""
    told = str(error).replace(str(scratch / task.source.name), str(task.source))
    if isinstance(error, SinkError):
        told = told.partition("; ")[0]  # what follows speaks of a file that is not kept
        for root in {output.root for output in task.outputs}:
            told = told.replace(str(root / STAGING / stage), str(root))
    no_room = isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM
    return Outcome(failure=told, code=error.exit_code, no_room=no_room)


class _Listener(logging.Handler):
    """Hears the first warnings that are logged inside its `with` block."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def __enter__(self) -> list[str]:
        logging.getLogger().addHandler(self)
        return self.heard

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.heard) < REMARKS:
            self.heard.append(record.getMessage())
