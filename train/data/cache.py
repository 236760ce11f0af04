"""Keeps decoded arrays in the user's cache directory, so that a big csv is parsed once.

One npz per source file, without pickles, remembered with the source's size and time; whatever is stale, damaged or
unreadable is rebuilt without a word.
"""

import hashlib
import logging
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.support.cachedir import cache_dir

Arrays = dict[str, NDArray[np.generic]]

FORMAT = 1
"""Version of the cached content; increases when its meaning changes."""

_log = logging.getLogger(__name__)


def cached(source: Path, build: Callable[[], Arrays]) -> Arrays:
    """`build()`, or what it gave last time if `source` has not changed since."""
    path = cache_dir() / f"{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:24]}.npz"
    stamp = _stamp(source)
    arrays = _load(path, stamp)
    if arrays is None:
        arrays = build()
        _store(path, arrays, stamp)
    return arrays


def _stamp(source: Path) -> NDArray[np.int64]:
    status = source.stat()
    return np.array([FORMAT, status.st_size, status.st_mtime_ns], np.int64)


def _load(path: Path, stamp: NDArray[np.int64]) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        _log.debug("no cache in %s: %s", path, error)
        return None
    return arrays if np.array_equal(arrays.pop("stamp", np.empty(0)), stamp) else None


def _store(path: Path, arrays: Arrays, stamp: NDArray[np.int64]) -> None:
    """Write to a temporary name and move, so that no reader ever meets half a file."""
    content: dict[str, Any] = {**arrays, "stamp": stamp}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            try:
                np.savez(file, **content)
                file.close()
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        _log.info("decoded data is not kept in %s: %s", path.parent, error)
