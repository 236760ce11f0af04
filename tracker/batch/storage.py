"""Where a batch reads and writes: paths, or by URL any storage that fsspec knows (s3://, gs://, sftp://, file:// ...).

A URL becomes a path of universal_pathlib, which has the methods of `pathlib.Path`; the differences are covered here.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from tracker.errors import SinkError, SourceError
from tracker.support.atomic import move_patiently

BLOCK = 1 << 20
"""Bytes copied at a time."""


def place(text: str) -> Path:
    """The typed text as a path, or as an object that acts like one.

    Raises SourceError for a URL of a kind that cannot be used here.
    """
    if "://" not in text:
        return Path(text)
    try:
        from upath import UPath
    except ImportError as error:
        raise SourceError(f'{text} is a URL; to use URLs: pip install "fkp[ray]"') from error
    try:
        found: Path = UPath(text)
        found.fs  # type: ignore[attr-defined]  # noqa: B018, what the storage needs is imported now
    except ImportError as error:
        scheme = text.partition("://")[0].lower().replace("https", "http")
        raise SourceError(f'{text} cannot be used: {error}; pip install "fsspec[{scheme}]"') from error
    except ValueError as error:
        raise SourceError(f"{text} cannot be used: {error}") from error
    return found


def is_url(path: Path) -> bool:
    """Whether `path` came from a URL."""
    return not isinstance(path, Path)


def fetch(source: Path, folder: Path) -> Path:
    """A copy of `source`, a URL, in the local `folder`; of a folder the files directly in it.

    Raises SourceError when it cannot be read.
    """
    local = folder / source.name
    try:
        _copy(source, local)
    except OSError as error:
        raise SourceError(f"{source} cannot be fetched: {error}") from error
    return local


def store(made: Path, target: Path) -> None:
    """Copy what was made here, a file or a folder of files, to `target`, a URL.  Raises SinkError when that fails."""
    try:
        _copy(made, target)
    except OSError as error:
        raise SinkError(f"cannot write {target}: {error}") from error


def move(made: Path, target: Path) -> None:
    """Give a file or folder its name; files of a folder join those that are there.  Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if made.is_dir() and target.is_dir():
        for item in made.iterdir():
            move(item, target / item.name)
    elif is_url(made):
        made.fs.mv(made.path, target.path, recursive=made.is_dir())  # type: ignore[attr-defined]
    else:
        move_patiently(made, target)


def remove(folder: Path) -> None:
    """Delete a folder and its contents; what cannot be deleted stays."""
    if not is_url(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(OSError):
        folder.fs.rm(folder.path, recursive=True)  # type: ignore[attr-defined]


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or the files directly in a folder.  Raises OSError."""
    album = source.is_dir()
    for item in [item for item in source.iterdir() if item.is_file()] if album else [source]:
        place = target / item.name if album else target
        place.parent.mkdir(parents=True, exist_ok=True)
        with item.open("rb") as reading, place.open("wb") as writing:
            shutil.copyfileobj(reading, writing, BLOCK)
