"""Files that get their name only when they are complete.

While a file is written, `talk.mp4` is called `talk.partial-<process id>.mp4`, in the same folder.  One move gives it
its name.  Inside `all_or_none` that happens at the end of the block, for all files or, if the run failed, for none.  A
run that fails or is killed leaves its partial files behind, with everything written so far: a film plays, records end
with a complete line.  The writer holds a lock on its partial file, so no other run deletes it.  The next run into the
same file deletes partial files without a lock, unless they are a recording that cannot be repeated.
"""

import io
import itertools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from tracker.errors import PipeClosed, SinkError, reason_of
from tracker.support.lock import try_lock
from tracker.support.same_file import real

log = logging.getLogger(__name__)

LONGEST_NAME = 255
"""Bytes that nearly every file system allows in a name."""
PARTIAL_BYTES = 28
"""Bytes that a partial file's name may have more than its target's."""

PARTIAL_STEM = re.compile(r"(?P<stem>.+)\.partial-\d+(-\d+)?")
"""The name of a file while it is written, before its suffix."""

BUSY_S = 2.0
"""How long a move is retried: on Windows, virus scanners open files just after they were closed."""

_begun: ContextVar["list[PartialFile] | None"] = ContextVar("_begun", default=None)
"""The files of the innermost `all_or_none`."""


class PartialFile:
    """A file that does not have its name yet, locked by this process."""

    def __init__(self, path: Path, target: Path, held: int, *, overwrite: bool) -> None:
        """`held` is the descriptor of the open and locked file."""
        self.path = path
        """The path to write to; the file exists and is empty."""
        self.target = target
        self.waits = False
        """Whether it is complete and gets its name at the end of `all_or_none`."""
        self.has_frames = True
        """Whether it is worth keeping if the run fails."""
        self._held: int | None = held
        self._overwrite = overwrite

    def deliver(self, *, has_frames: bool = True) -> None:
        """Mark the file as complete: it gets its name now, or at the end of `all_or_none`.  Raises SinkError."""
        if _begun.get() is None:
            self.move_into_place()
        else:
            self.waits, self.has_frames = True, has_frames

    def move_into_place(self) -> Path:
        """Give the file its name now, and return it.

        If another file has that name by now and must not be replaced, ours gets a free name, with a warning.
        Raises SinkError when it cannot be moved; it then stays at `path`.
        """
        target = self.target if self._overwrite else free_name(self.target)
        if sys.platform == "win32":
            self.release()  # Windows moves no file that is open
        try:
            move_patiently(self.path, target)
        except OSError as error:
            told = f"cannot move the finished {self.path} to {target}: {reason_of(error)}; rename it yourself"
            if not self.path.exists():
                told = f"cannot finish {target}: {self.path} is gone; it or its folder was deleted or renamed"
            raise SinkError(told) from error
        finally:
            self.release()
        if target != self.target:
            log.warning("%s appeared during the run and was not replaced; the new file is %s", self.target, target)
        return target

    def discard(self) -> None:
        """Delete the file, for when nothing was written to it."""
        if sys.platform == "win32":
            self.release()
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Release the lock; the file stays at `path`.  A second call does nothing."""
        self.waits = False
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __del__(self) -> None:
        self.release()


@contextmanager
def all_or_none() -> Iterator[None]:
    """Files that are opened and delivered in this block get their names at its end; if it fails, none of them does.

    A failure is any Exception except PipeClosed: a run that was stopped, or whose reader has gone, still delivers.
    Raises SinkError if a file cannot be moved; the others are moved.
    """
    files: list[PartialFile] = []
    token = _begun.set(files)
    failed = False
    try:
        yield
    except Exception as error:
        failed = not isinstance(error, PipeClosed)
        raise
    finally:
        _begun.reset(token)
        with ExitStack() as stack:
            for file in files:
                stack.callback(_keep if failed else _settle, file)


def _settle(file: PartialFile) -> None:
    if file.waits:
        file.move_into_place()
    else:
        file.release()


def _keep(file: PartialFile) -> None:
    """Leave the file under its partial name, and log where it is unless that was logged already."""
    if file.waits and not file.has_frames:
        file.discard()
    elif file.waits:
        log.warning("the run failed, so there is no new %s; everything written before is in %s", file.target, file.path)
    file.release()


def open_partial(target: Path, *, overwrite: bool) -> PartialFile:
    """Make sure that `target` can be written, and create the file that will become it.

    Raises SinkError when `target` exists without `overwrite`, is a folder, or its folder is missing or read-only.
    """
    if os.path.islink(target):
        target = real(target)  # what the link stands for is replaced, not the link
        if os.path.islink(target):
            raise SinkError(f"{target} is a link that leads to itself; choose another name")
    refuse_existing(target, overwrite=overwrite)
    if len(os.fsencode(target.name)) > LONGEST_NAME:
        raise SinkError(f"cannot write {target}: its name has more than {LONGEST_NAME} bytes; choose a shorter one")
    try:
        path, held = _claim(target.with_name(f"{_short_stem(target)}.partial-{os.getpid()}{target.suffix}"))
    except FileNotFoundError as error:
        raise SinkError(f"cannot write {target}: there is no folder {target.parent}; create it first") from error
    except OSError as error:
        raise SinkError(f"cannot write {target}: {reason_of(error)}; choose a place you may write to") from error
    file = PartialFile(path, target, held, overwrite=overwrite)
    files = _begun.get()
    if files is not None:
        files.append(file)
    return file


def _short_stem(target: Path) -> str:
    """The stem of the name, cut so that what a partial file adds to it fits into a name."""
    room = LONGEST_NAME - PARTIAL_BYTES - len(os.fsencode(target.suffix))
    return os.fsencode(target.stem)[:room].decode(sys.getfilesystemencoding(), "ignore")


def _claim(path: Path) -> tuple[Path, int]:
    """Create, open and lock `path`, or the first free `path-2`, `path-3`, ...  Raises OSError."""
    for name in _numbered(path):
        with suppress(FileExistsError):
            held = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            if try_lock(held) is not False and name.exists():
                return name, held
            os.close(held)  # a run that clears leftovers was faster than our lock
    raise AssertionError("the numbers never end")


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raises SinkError when `target` is a folder or a device, or exists without `overwrite`."""
    # of places that may not be looked into pathlib's own raise
    if os.path.isdir(target):
        raise SinkError(f"{target} is a folder, expected the name of a file; add one")
    exists = os.path.exists(target)
    if exists and not os.path.isfile(target):
        raise SinkError(f"{target} is not a regular file (a device, for example); choose another name")
    if exists and not overwrite:
        raise SinkError(f"{target} exists already; add --overwrite to replace it, or choose another name")


def clear_leftovers(targets: Collection[Path], *, keep: bool) -> None:
    """Delete partial files of these targets that no run has locked; with `keep`, only log where they are.

    Without locks in the file system nobody can know whether a run still writes them, so they stay.
    """
    wanted = {(target.parent, _short_stem(target), target.suffix) for target in targets}
    for folder in {target.parent for target in targets}:
        with suppress(OSError):  # a folder that cannot be read
            for path in folder.iterdir():
                name = PARTIAL_STEM.fullmatch(path.stem)
                if name and (folder, name["stem"], path.suffix) in wanted and path.is_file():
                    _clear(path, keep=keep)


def _clear(path: Path, *, keep: bool) -> None:
    try:
        with io.FileIO(path, "r+") as file:
            free = try_lock(file.fileno())
            if free and not keep and sys.platform != "win32":
                path.unlink()  # while we hold the lock, so that nobody else takes it for theirs
        if free and not keep and sys.platform == "win32":
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s is left over from a killed run and cannot be deleted: %s", path, reason_of(error))
        return
    if free is None:
        log.warning("%s may be left over from a killed run; delete it if no program is writing it", path)
    elif free and keep:
        log.warning("%s is the recording of a killed run; rename or delete it", path)
    elif free:
        log.info("deleted %s, left over from a killed run", path)


def write_whole(target: Path, content: bytes | Callable[[Path], object], *, overwrite: bool) -> Path:
    """Write a file in one step, so that no incomplete file is ever visible; returns its path.

    `content` may be a function that writes to the path it gets.  Raises SinkError as `open_partial` does, and when
    the disk is full.
    """
    token = _begun.set(None)
    try:
        partial = open_partial(target, overwrite=overwrite)
    finally:
        _begun.reset(token)
    try:
        if callable(content):
            content(partial.path)
        else:
            partial.path.write_bytes(content)
    except BaseException as error:
        with suppress(OSError):
            partial.discard()
        if isinstance(error, OSError):
            raise SinkError(f"cannot write {target}: {reason_of(error)}") from error
        raise
    return partial.move_into_place()


def move_patiently(source: Path, target: Path) -> None:
    """`source.replace(target)`; retried while another program has the file open.  Raises OSError."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def free_name(path: Path) -> Path:
    """`path`, or if it exists the first free one of `name-2`, `name-3`, ..."""
    return next(name for name in _numbered(path) if not os.path.exists(name))


def _numbered(path: Path) -> Iterator[Path]:
    return itertools.chain([path], (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2)))
