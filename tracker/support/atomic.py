"""Files that bear their name only once they are whole.

While it is written, `talk.mp4` is called `talk.partial-<process id>.mp4`, in the same folder; closing moves it into
place in one step.  A run that is killed leaves the partial file behind, with everything written so far: a film plays,
records end with a whole line.  No other run takes its name; the next one into the same file clears it away, unless it
is a recording that cannot be made again.
"""

import itertools
import logging
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tracker.errors import SinkError

log = logging.getLogger(__name__)

PARTIAL_STEM = re.compile(r"(?P<stem>.+)\.partial-(?P<pid>\d+)(-\d+)?")
"""What a file is called, before its suffix, while process `pid` writes it."""


class PartialFile(NamedTuple):
    """A file on its way to its name."""

    path: Path
    """Where to write; exists and is empty when it is handed out."""
    target: Path
    overwrite: bool

    def move_into_place(self) -> Path:
        """Give the finished file its name, and return it.

        When something has taken that name meanwhile and may not be replaced, ours gets a free one and a warning says
        so.  Raises SinkError when it cannot be moved; it then stays at `path`.
        """
        target = self.target if self.overwrite else free_name(self.target)
        try:
            self.path.replace(target)
        except OSError as error:
            if not self.path.exists():
                raise SinkError(
                    f"cannot finish {target}: {self.path} is gone; it or its folder was deleted or renamed meanwhile"
                ) from error
            raise SinkError(
                f"cannot move the finished {self.path} to {target}: {_reason(error)}; it is whole, rename it yourself"
            ) from error
        if target != self.target:
            log.warning("%s appeared while it was being written and stays as it is; ours is %s", self.target, target)
        return target

    def discard(self) -> None:
        """Delete the file, for when nothing was written to it."""
        self.path.unlink(missing_ok=True)


def open_partial(target: Path, *, overwrite: bool) -> PartialFile:
    """Make sure that `target` can be written, and create the file that will become it.

    Raises SinkError when `target` exists without `overwrite`, is a folder, or its folder is missing or read-only.
    """
    if os.path.islink(target):
        target = target.resolve()  # what it stands for is replaced, not the link
    refuse_existing(target, overwrite=overwrite)
    path = free_name(target.with_name(f"{target.stem}.partial-{os.getpid()}{target.suffix}"))
    try:
        path.open("xb").close()
    except FileNotFoundError as error:
        raise SinkError(f"cannot write {target}: there is no folder {target.parent}; create it first") from error
    except OSError as error:
        raise SinkError(f"cannot write {target}: {_reason(error)}; choose a place you may write to") from error
    return PartialFile(path, target, overwrite)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raises SinkError when `target` is a folder or a device, or exists without `overwrite`."""
    # of places that may not be looked into pathlib's own raise
    if os.path.isdir(target):
        raise SinkError(f"{target} is a folder, expected the name of a file; add one")
    exists = os.path.exists(target)
    if exists and not os.path.isfile(target):
        raise SinkError(f"{target} is no file but a device or the like; choose another name")
    if exists and not overwrite:
        raise SinkError(f"{target} exists already; add --overwrite to replace it, or choose another name")


def clear_leftovers(targets: Collection[Path], *, keep: bool) -> None:
    """Delete what runs that were killed have left of these files; with `keep` only say where it is.

    It is left over when no process of this machine has the number in its name.
    """
    wanted = {(target.parent, target.stem, target.suffix) for target in targets}
    for folder in {target.parent for target in targets}:
        for path in _entries(folder):
            name = PARTIAL_STEM.fullmatch(path.stem)
            if name and (folder, name["stem"], path.suffix) in wanted and not _runs(int(name["pid"])):
                _clear(path, keep=keep)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, as far as one may know."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _clear(path: Path, *, keep: bool) -> None:
    if keep:
        log.warning("%s is what a run recorded before it was killed; rename or delete it", path)
        return
    try:
        path.unlink()
    except OSError as error:
        log.warning("%s is left of a run that was killed, and cannot be deleted: %s", path, _reason(error))
    else:
        log.info("deleted %s, left of a run that was killed", path)


def _runs(pid: int) -> bool:
    if sys.platform == "win32":
        return False  # the question would end it; and Windows deletes nothing that a process has open
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def write_whole(target: Path, content: bytes, *, overwrite: bool) -> Path:
    """Write a small file in one step, so that nobody ever sees half of it; returns its name.

    Raises SinkError as `open_partial` does, and when the disk is full.
    """
    partial = open_partial(target, overwrite=overwrite)
    try:
        partial.path.write_bytes(content)
    except OSError as error:
        partial.discard()
        raise SinkError(f"cannot write {target}: {_reason(error)}") from error
    return partial.move_into_place()


def free_name(path: Path) -> Path:
    """`path`, or where that exists the first of `name-2`, `name-3`, ... that does not."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not os.path.exists(name))


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
