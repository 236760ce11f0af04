"""The record of a batch, in its output folder: which output came from which film with which settings, and what failed.

One JSON object per line, appended.  The last `done` or `replacing` line about an output is valid.  `done` is written
before the outputs get their names; if that replaces files, `replacing` is written before and `done` after.  So an
output with its final name and `done` is complete and ours, whenever the batch was killed.
"""

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from tracker.batch.storage import is_url
from tracker.errors import SinkError
from tracker.support.lock import try_lock

log = logging.getLogger(__name__)

NAME = "fkp-batch.ndjson"
"""Not .jsonl: people collect keypoint files by that ending."""

State = Literal["missing", "done", "stale", "interrupted", "foreign"]


class Ledger:
    """The record of one output folder, locked by one batch at a time; use it in a `with` block."""

    def __init__(self, path: Path, append: Callable[[bytes], None], file: FileIO | None, content: bytes) -> None:
        """`append` adds a line to the record, whose `content` is known; `file` is the open and locked one, if any."""
        self.path = path
        self._append = append
        self._file = file
        self._entries = _entries(path, content)

    def state(self, output: str, origin: dict[str, Any]) -> State:
        """The state of the output `output`.

        `missing`; `done`: made from the film that `origin` describes (size, date, settings); `stale`: made from an
        earlier version of the film or with other settings; `interrupted`: from before a replacement that may not have
        happened; `foreign`: not made by a batch.
        """
        if not (self.path.parent / output).exists():
            return "missing"
        entry = self._entries.get(output)
        if entry is None:
            return "foreign"
        if entry["status"] == "replacing":
            return "interrupted"
        return "done" if all(entry.get(key) == value for key, value in origin.items()) else "stale"

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line.  Raises SinkError when the disk is full."""
        try:
            self._append(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise _no_room(self.path, error) from error
        _take(self._entries, entry)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def open_ledger(folder: Path) -> Ledger:
    """Read the record in `folder`, which is created if necessary, and keep other batches out of it until it is closed.

    If `folder` is a URL, or on a file system without locks, nothing keeps others out.

    Raises SinkError when the folder cannot be made or written, or another batch is at work there.
    """
    path = folder / NAME
    if is_url(folder):
        content = path.read_bytes() if path.exists() else b""
        return Ledger(path, _rewriting(path, content), None, content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror}; choose a place you may write to") from error
    locked = try_lock(file.fileno())
    if locked is None:
        log.warning("%s cannot be locked here; make sure that no other batch writes to it", path)
    if locked is False:
        file.close()
        raise SinkError(f"another batch is writing to {folder}; wait for it, or choose another folder")
    file.seek(0)
    content = file.read()
    append = partial(_append, file)
    if content and not content.endswith(b"\n"):
        try:
            append(b"\n")  # a kill cut the last line: end it here
        except OSError as error:
            file.close()
            raise _no_room(path, error) from error
    return Ledger(path, append, file, content)


def _no_room(path: Path, error: OSError) -> SinkError:
    return SinkError(f"cannot write {path}: {error.strerror}; make room, then run the same command again")


def _append(file: FileIO, line: bytes) -> None:
    """Write the line completely, or not at all if there is no room."""
    start = file.seek(0, os.SEEK_END)
    rest = memoryview(line)
    try:
        while rest:  # a nearly full disk accepts a part and refuses the rest
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise


def _rewriting(path: Path, content: bytes) -> Callable[[bytes], None]:
    """For a record at a URL: few storages can append, so each line writes the whole record again."""

    def append(line: bytes) -> None:
        nonlocal content
        content += line
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return append


def _entries(path: Path, content: bytes) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    damaged = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            _take(entries, json.loads(line))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            damaged.append(number)
    if damaged:
        log.warning("%s: skipped %d damaged lines, the first is line %d", path, len(damaged), damaged[0])
    return entries


def _take(entries: dict[str, dict[str, Any]], entry: dict[str, Any]) -> None:
    if entry.get("status") in ("done", "replacing"):
        entries.update(dict.fromkeys(entry["outputs"], entry))
