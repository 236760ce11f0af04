"""Whether two names mean one file.  macOS, Windows and exFAT ignore case; macOS also how accents are composed."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


def folded(path: Path) -> str:
    """The same for all names that some file system takes for one."""
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()


class Sources:
    """Files that no output may replace."""

    def __init__(self, paths: Iterable[Path]) -> None:
        found = list(paths)
        self._places = {path.resolve() for path in found}
        self._names = {folded(path) for path in found}
        self._files = {fact for fact in map(_file, found) if fact is not None}

    def are_replaced_by(self, output: Path) -> bool:
        """Whether a file written to `output` would take the place of one of them."""
        if output.resolve() in self._places:
            return True
        if not os.path.exists(output):
            return False  # then no other spelling of its name exists either
        return folded(output) in self._names or _file(output) in self._files


def _file(path: Path) -> tuple[int, int] | None:
    """What identifies a file on this machine; None where it cannot be looked at."""
    try:
        fact = path.stat()
    except OSError:
        return None
    return fact.st_dev, fact.st_ino
