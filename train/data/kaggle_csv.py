"""Reads Kaggle's image csv: a header, then per face some numbers and one `Image` column of 9216 gray levels.

In: the csv as a stream of bytes.  Out: images (N, 96, 96) uint8 and the wanted columns (N, K) float64, NaN where a
field is empty.  The file is read line by line, so a wrong byte is reported with its line and column.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.spec import SIZE

PIXELS = SIZE * SIZE
MAX_LINE_BYTES = 1 << 18
"""A genuine line has about 35,000 bytes; a file without line ends must not be read as one line."""

_MISSING = {b"", b"NA", b"NaN", b"nan"}
_SPACE = 32


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What a csv said, row by row; row i stands in line i + 2."""

    images: NDArray[np.uint8]
    """(N, 96, 96) gray."""
    values: NDArray[np.float64]
    """(N, K), one column per wanted name, NaN where the field is empty."""
    sha256: str
    """Of the csv's bytes, whatever archive they came in."""


def read_table(stream: IO[bytes], place: str, columns: Sequence[str]) -> Table:
    """Read the csv; `place` names it in messages, `columns` are the wanted ones beside Image.

    Other columns are ignored, the order is free.  Raises DataError with line and column for what is not as expected.
    """
    lines = _Lines(stream, place)
    header = lines.header(columns)
    wanted = [header.index(name) for name in columns]
    image_at = header.index("Image")
    images: list[NDArray[np.uint8]] = []
    values: list[list[float]] = []
    for line in lines:
        fields = line.split(b",")
        if len(fields) != len(header):
            raise lines.error(f"{len(fields)} columns, expected {len(header)} as in the header")
        images.append(_pixels(fields[image_at].strip(b'"'), lines))
        values.append([_number(fields[i], name, lines) for i, name in zip(wanted, columns, strict=True)])
    if not images:
        raise DataError(f"{place} has a header but no faces; is the download complete?")
    return Table(
        np.array(images).reshape(-1, SIZE, SIZE), np.array(values).reshape(-1, len(columns)), lines.sha256.hexdigest()
    )


class _Lines:
    """Iterates over the lines of a csv without their ends, counting and hashing them."""

    def __init__(self, stream: IO[bytes], place: str) -> None:
        self._stream = stream
        self._place = place
        self.number = 0
        self.sha256 = hashlib.sha256()

    def header(self, needed: Sequence[str]) -> list[str]:
        """The first line's column names, after checking that all the needed ones and Image are there."""
        line = next(iter(self), None)
        if line is None:
            raise DataError(f"{self._place} is empty; expected Kaggle's csv")
        names = [
            name.strip(b'" ').decode("utf-8", "replace") for name in line.removeprefix(b"\xef\xbb\xbf").split(b",")
        ]
        missing = [name for name in (*needed, "Image") if name not in names]
        if missing:
            listing = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            seen = ",".join(names)
            raise self.error(f"no column {listing}; the header is {seen[:80]!r}{'...' * (len(seen) > 80)}")
        return names

    def __iter__(self) -> Iterator[bytes]:
        blank = False
        while line := self._stream.readline(MAX_LINE_BYTES):
            if blank:
                raise self.error("empty, before the end of the file; download it again")
            self.number += 1
            self.sha256.update(line)
            if len(line) == MAX_LINE_BYTES:
                raise self.error(f"longer than {MAX_LINE_BYTES:,} bytes; this is not Kaggle's csv")
            line = line.rstrip(b"\r\n")
            blank = not line
            if not blank:
                yield line

    def error(self, what: str) -> DataError:
        return DataError(f"{self._place}, line {self.number}: {what}")


def _number(field: bytes, column: str, lines: _Lines) -> float:
    field = field.strip(b'" ')
    if field in _MISSING:
        return np.nan
    try:
        value = float(field)
    except ValueError:
        raise lines.error(f"column {column} is {_quoted(field)}, expected a number or nothing") from None
    if not np.isfinite(value):
        raise lines.error(f"column {column} is {_quoted(field)}, expected a finite number or nothing")
    return value


def _pixels(text: bytes, lines: _Lines) -> NDArray[np.uint8]:
    """9216 numbers of one to three digits between single spaces -> (9216,) uint8; about 0.1 ms.

    Each number is put together from the digits before its end, all numbers at once.
    """
    codes = np.frombuffer(text, np.uint8)
    digits = codes - ord("0")  # a space becomes 240
    ends = np.append(np.flatnonzero(codes == _SPACE), len(codes))
    lengths = np.diff(ends, prepend=-1) - 1
    regular = len(ends) == PIXELS and lengths.min() >= 1 and lengths.max() <= 3
    if not regular or np.count_nonzero(digits <= 9) + PIXELS - 1 != len(codes):
        return _checked_pixels(text, lines)
    values = digits[ends - 1].astype(np.int16)
    values += np.where(lengths > 1, digits[ends - 2], 0) * np.int16(10)
    values += np.where(lengths > 2, digits[ends - 3], 0) * np.int16(100)
    return values.astype(np.uint8) if values.max() <= 255 else _checked_pixels(text, lines)


def _checked_pixels(text: bytes, lines: _Lines) -> NDArray[np.uint8]:
    """The slow way: takes any white space, and says which pixel is wrong."""
    numbers = text.split()
    if len(numbers) != PIXELS:
        raise lines.error(f"column Image has {len(numbers)} pixels, expected {PIXELS}")
    for i, number in enumerate(numbers, 1):
        if not number.isdigit() or len(number) > 3 or int(number) > 255:
            raise lines.error(f"column Image, pixel {i} is {_quoted(number)}, expected a whole number from 0 to 255")
    return np.array([int(number) for number in numbers], np.uint8)


def _quoted(field: bytes) -> str:
    text = field.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else text[:37] + "...")
