"""Whether two names mean one file.  macOS, Windows and exFAT ignore case; macOS also the composition of accents."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def real(path: Path) -> Path:
    """`path` without links.  A link that leads to itself stays as it is: Python before 3.13 raises RuntimeError."""
    try:
        return path.resolve()
    except RuntimeError:
        return path.absolute()


def folded(path: Path) -> str:
    """A key that is equal for all names that some file system treats as one."""
    return unicodedata.normalize("NFC", str(real(path))).casefold()


class Sources:
    """Files that no output may replace."""

    def __init__(self, paths: Iterable[Path]) -> None:
        found = list(paths)
        self._places = {real(path) for path in found}
        self._names = {folded(path) for path in found}
        self._files = {fact for fact in map(_file, found) if fact is not None}

    def are_replaced_by(self, output: Path) -> bool:
        """Whether a file written to `output` would replace one of them."""
        if real(output) in self._places:
            return True
        if not os.path.exists(output):
            return False  # then no other spelling of its name exists either
        return folded(output) in self._names or _file(output) in self._files


def _file(path: Path) -> tuple[int, int] | None:
    """The identity of a file on this machine; None if it cannot be read."""
    try:
        fact = path.stat()
    except OSError:
        return None
    return fact.st_dev, fact.st_ino
