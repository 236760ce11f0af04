"""Reads Kaggle's image csv: a header, then per face some numbers and one `Image` column of 9216 gray levels.

In: the csv's bytes.  Out: images (N, 96, 96) uint8 and the wanted columns (N, K) float64, NaN where a field is empty.
pandas reads the fields; what is not as expected is reported with its line and column.
"""

import csv
import hashlib
import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.spec import SIZE

PIXELS = SIZE * SIZE
MAX_LINE_BYTES = 1 << 18
"""A genuine line has about 35,000 bytes; a file without line ends must not be read as one line."""

_TOO_LONG = f"longer than {MAX_LINE_BYTES:,} bytes; this is not Kaggle's csv"
_CHUNK = 512
"""Rows that pandas holds as text at a time, 18 MB; the whole file would take 240."""

_MISSING = ("", "NA", "NaN", "nan")
_LEVELS = {b"%d" % level for level in range(256)}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The content of a csv, row by row; row i stands in line i + 2."""

    images: NDArray[np.uint8]
    """(N, 96, 96) gray."""
    values: NDArray[np.float64]
    """(N, K), one column per wanted name, NaN where the field is empty."""
    sha256: str
    """Of the csv's bytes, whatever archive they came in."""


def read_table(content: bytes, place: str, columns: Sequence[str]) -> Table:
    """Read the csv; `place` names it in messages, `columns` are the wanted ones beside Image.

    Other columns are ignored, the order is free.  Raises DataError with line and column for what is not as expected.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    content = content.rstrip(b"\r\n")
    lines = io.BytesIO(content)
    header = _header(lines.readline(MAX_LINE_BYTES), place, columns)
    faults = enumerate(_fault(line, len(header)) for line in lines)
    end, fault = next(((row, fault) for row, fault in faults if fault), (None, ""))
    images, values = [], []
    for chunk in _chunks(content, len(header), end):
        values += [np.column_stack([_numbers(chunk[header.index(name)], name, place) for name in columns])]
        images += [_pixels(text, f"{place}, line {row + 2}") for row, text in chunk[header.index("Image")].items()]
    if end is not None:
        raise DataError(f"{place}, line {end + 2}: {fault}")
    if not images:
        raise DataError(f"{place} has a header but no faces; is the download complete?")
    return Table(np.reshape(images, (-1, SIZE, SIZE)), np.concatenate(values), sha256)


def _chunks(content: bytes, width: int, end: int | None) -> Iterable[Any]:
    """The rows before `end` as pandas' frames of strings.  Commas separate fields, whatever quotes say."""
    return pd.read_csv(
        io.BytesIO(content),
        names=range(width),
        skiprows=1,
        nrows=end,
        chunksize=_CHUNK,
        dtype=str,
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        lineterminator="\n",
        encoding_errors="replace",
    )


def _header(line: bytes, place: str, needed: Sequence[str]) -> list[str]:
    if not line:
        raise DataError(f"{place} is empty; expected Kaggle's csv")
    if len(line) == MAX_LINE_BYTES:
        raise DataError(f"{place}, line 1: {_TOO_LONG}")
    try:
        names = [name.strip('" \r\n') for name in line.decode("utf-8-sig").split(",")]
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no text in UTF-8 ({error}); unpack it, or save it as UTF-8") from error
    missing = [name for name in (*needed, "Image") if name not in names]
    if missing:
        listing = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        seen = ",".join(names)
        raise DataError(f"{place}, line 1: no column {listing}; the header is {seen[:80]!r}{'...' * (len(seen) > 80)}")
    twice = [name for name in (*needed, "Image") if names.count(name) > 1]
    if twice:
        raise DataError(f"{place}, line 1: column {twice[0]} occurs {names.count(twice[0])} times; keep the right one")
    return names


def _fault(line: bytes, width: int) -> str:
    """What is wrong with a line as a whole; nothing of it is read then."""
    if len(line) >= MAX_LINE_BYTES:
        return _TOO_LONG
    if not line.strip():
        return "empty, before the end of the file; download it again"
    seen = line.count(b",") + 1
    return f"{seen} columns, expected {width} as in the header" if seen != width else ""


def _numbers(fields: Any, name: str, place: str) -> NDArray[np.float64]:
    """A column of pandas, N strings -> (N,)."""
    fields = fields.str.strip('" \r')
    numbers = pd.to_numeric(fields, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers) & ~fields.isin(_MISSING).to_numpy())
    if len(wrong):
        row, kind = wrong[0], "a finite number" if np.isinf(numbers[wrong[0]]) else "a number"
        seen = _quoted(fields.iloc[row])
        raise DataError(f"{place}, line {fields.index[row] + 2}: column {name} is {seen}, expected {kind} or nothing")
    return numbers


def _pixels(text: str, where: str) -> NDArray[np.uint8]:
    """9216 numbers between white space -> (9216,) uint8; about 0.2 ms."""
    text = text.strip('"\r')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy before 2.4 only warns of what is no number
            levels = np.fromstring(text, np.int64, sep=" ")
        if len(levels) == PIXELS and 0 <= levels.min() and levels.max() <= 255:
            return levels.astype(np.uint8)
    except (ValueError, DeprecationWarning):
        pass
    numbers = text.encode().split()  # bytes know the same white space as NumPy, strings know more
    if len(numbers) != PIXELS:
        raise DataError(f"{where}: column Image has {len(numbers)} pixels, expected {PIXELS}")
    i, wrong = next((i, number) for i, number in enumerate(numbers, 1) if number not in _LEVELS)
    raise DataError(
        f"{where}: column Image, pixel {i} is {_quoted(wrong.decode())}, expected a whole number from 0 to 255"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
