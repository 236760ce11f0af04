"""Finds one csv of a download and reads it: bare, in a zip, in a zip within a zip, or somewhere in a folder.

Nothing is unpacked to disk, so no name inside an archive is ever used as a path.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tracker.errors import DataError, reason_of

MAX_CSV_BYTES = 1 << 30
"""Kaggle's training.csv has 238,064,810 bytes; a member that declares four times as much is not ours."""

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError)
"""What zipfile raises for archives that are not whole, and for names that are not what they claim."""

LOCKED = (RuntimeError, NotImplementedError)
"""What it raises for passwords and unknown compression."""

MAX_ZIP_BYTES = 1 << 29
"""Largest zip within a zip, held in memory: Kaggle's training.zip has some 60 MB."""


def find(path: Path, name: str) -> Path:
    """The file at or below `path` to read csv `name` from: the csv itself or a zip that promises to hold it.

    A file is taken as it is.  In a folder the bare csv comes first, then its own zip (`training.zip` for
    `training.csv`), then any zip that lists it; the shallowest wins.  Raises DataError.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path} does not exist; expected {name}, a zip that holds it, or a folder with either")
    for wanted in (name, f"{Path(name).stem}.zip"):
        found = [p for p in _shallowest_first(path, wanted) if p.is_file()]
        if found:
            return found[0]
    for archive in _shallowest_first(path, "*.zip"):
        if _lists(archive, name):
            return archive
    raise DataError(f"{path} contains neither {name} nor a zip with it; expected the Kaggle download or a part of it")


def read_csv(path: Path, name: str) -> bytes:
    """The content of csv `name` in `path`, a csv or a zip as `find` gives it; whatever goes wrong is a DataError."""
    try:
        if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _content(archive, str(path), name)
        refuse_large(path.stat().st_size, MAX_CSV_BYTES, str(path))
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error
    except DAMAGE as error:
        raise DataError(f"{path} is damaged or incomplete ({error}); download it again") from error
    except LOCKED as error:
        raise DataError(f"{path} cannot be unpacked ({error}); unpack it yourself and give the folder") from error


def lines(content: bytes, place: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The place and the fields of each line of a csv that has these columns; what else is missing in a line is "".

    Raises DataError.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is not a csv in UTF-8 ({error})") from error
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            named = columns if len(columns) < 8 else (*columns[:3], "...", *columns[-2:])
            raise DataError(f"{place}: no column {', '.join(missing[:4])}; expected {','.join(named)}")
        for entry in reader:
            if any(entry[name] is None for name in columns):
                seen = sum(value is not None for value in entry.values())
                raise DataError(
                    f"{place}, line {reader.line_num}: {seen} columns, expected {len(entry)} as in the header"
                )
            yield f"{place}, line {reader.line_num}", {name: value or "" for name, value in entry.items()}
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.reader.line_num}: {error}; expected a csv") from error


def whole(entry: dict[str, str], column: str, where: str) -> int:
    """A field of a line.  Raises DataError."""
    text = entry[column]
    if not text.isdecimal() or len(text) > 18:  # more do not fit 64 bits
        raise DataError(f"{where}: {column} is {text[:40]!r}, expected a whole number")
    return int(text)


def _shallowest_first(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern), key=lambda p: (len(p.parts), p))


def _lists(path: Path, name: str) -> bool:
    """Whether a zip names the csv, or a zip named after it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _member(archive, name) is not None or _member(archive, f"{Path(name).stem}.zip") is not None
    except (OSError, *DAMAGE, *LOCKED):
        return False


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    return next((m for m in archive.infolist() if PurePosixPath(m.filename).name == name), None)


def _content(archive: zipfile.ZipFile, place: str, name: str) -> bytes:
    """Csv `name` out of an open zip, or out of a zip in it that is named after it."""
    if member := _member(archive, name):
        return unpacked(archive, member, MAX_CSV_BYTES, place)
    if member := _member(archive, f"{Path(name).stem}.zip"):
        with zipfile.ZipFile(io.BytesIO(unpacked(archive, member, MAX_ZIP_BYTES, place))) as nested:
            return _content(nested, f"{place}: {member.filename}", name)
    names = archive.namelist()
    listing = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise DataError(f"{place} holds no {name}, only {listing or 'nothing'}; is it the Kaggle download?")


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, place: str) -> bytes:
    """The content of a member that declares at most `limit` bytes.

    It is refused if it has more bytes than it declares, and before they fill the memory.  zipfile can do that only for
    its usual compression, and only if it is told the number of bytes.
    """
    refuse_large(member.file_size, limit, f"{place}: {member.filename}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"{member.filename} is not compressed by deflate")
    with archive.open(member) as file:
        return file.read(member.file_size)


def refuse_large(size: int, limit: int, place: str) -> None:
    """Raises DataError if there are more than `limit` bytes."""
    if size > limit:
        raise DataError(f"{place} has {size:,} bytes, expected at most {limit:,}; is it the right file?")
