"""Kaggle's faces as arrays, checked and ready for training.

In: the download in any form.  Out: `Faces`, with labels in Kaggle's own coordinates (crop px, y down; 0 and 96 are the
crop's edges in schemes A and B) and with what the csv does not say: label scheme, duplicates, known bad rows.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DataError, reason_of
from tracker.spec import COLUMNS, KEYPOINTS, SIZE
from train.data import archive, duplicates, schemes
from train.data.kaggle_csv import Table, read_table
from train.data.sanity import refuse_nonsense
from train.data.schemes import SCHEMES
from train.data.split import hold_out

KNOWN_PROBLEMS: dict[int, str] = {
    1747: "mislabelled",
    1861: "full profile",
    1877: "mislabelled",
    1907: "mislabelled",
    2194: "several faces",
    2199: "mislabelled",
    2430: "cartoon",
    3697: "cartoon",
    4263: "several faces",
    6492: "collage",
    6493: "collage",
}
"""Rows of Kaggle's training.csv, counted from 0, that no model should learn from or be judged by."""

LOWEST, HIGHEST = -SIZE / 2, SIZE * 1.5
"""Labels outside are not crop px.  Kaggle's own lie between 0.6 and 96."""

_INDEX_COLUMNS = ("row", "kaggle_row", "duplicate_group", "scheme", "known_problem")


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Labelled faces, N of them."""

    images: NDArray[np.uint8]
    """(N, 96, 96) gray."""
    points: NDArray[np.float32]
    """(N, 15, 2) crop px exactly as in the csv, NaN where unlabelled (then both x and y)."""
    scheme: NDArray[np.uint8]
    """(N,) index into SCHEMES."""
    row: NDArray[np.int64]
    """(N,) row of Kaggle's training.csv counted from 0 if known, else of the file read."""
    group: NDArray[np.int64]
    """(N,) equal for images that show the same picture; a split keeps a group together."""
    held: NDArray[np.bool_]
    """(N,) the hold-out, nearly a tenth: training never sees these rows, nor near copies of them."""
    problem: NDArray[np.bool_]
    """(N,) known to be bad: mislabelled, several faces, no face."""
    sha256: str
    """Of the csv that was read, whatever archive it came in."""
    name: str
    """File name of what was read."""

    @property
    def fingerprint(self) -> str:
        """sha256 over the file's own sha256 and all that was read from it or that an index says of it."""
        content = hashlib.sha256(self.sha256.encode())
        for array in (self.points, self.scheme, self.row, self.group, self.held, self.problem):
            content.update(array.tobytes())
        return content.hexdigest()

    @property
    def count_by_scheme(self) -> dict[str, int]:
        return {name: int((self.scheme == i).sum()) for i, name in enumerate(SCHEMES)}

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) whether anything of the face is labelled."""
        return np.asarray(np.isfinite(self.points).any((1, 2)))

    def only(self, chosen: NDArray[np.bool_]) -> "Faces":
        """The rows where `chosen` (N,) is true."""
        values = (getattr(self, each.name) for each in fields(self))
        kept: Any = (each[chosen] if isinstance(each, np.ndarray) else each for each in values)
        return Faces(*kept)


def read_training(path: Path, *, index: Path | None = None) -> Faces:
    """Read training.csv from a csv, a zip (also within the outer zip) or a folder holding any of these.

    `index` is a csv with columns row, kaggle_row, duplicate_group, scheme, known_problem, one line per row of the
    data, and has the last word on all of them.  Without it schemes follow from the row number in Kaggle's whole file
    and from the labels in any other, duplicates from the images.  Raises DataError with line and column of what is
    wrong.
    """
    source = archive.find(path, "training.csv")
    place = _place(source, "training.csv")
    table = read_table(archive.read_csv(source, "training.csv"), place, COLUMNS)
    images, points = table.images, _points(table, place)
    refuse_nonsense(points, place)
    row, group, scheme, problem = _without_index(images, points) if index is None else _with_index(index, points)
    # Near copies only leave the hold-out: it must also judge networks that were trained before copies were looked for.
    drawn = hold_out(group, scheme)
    held = drawn & ~np.isin(group, group[duplicates.have_near_copy(images, points, drawn)])
    return Faces(images, points, scheme, row, group, held, problem, table.sha256, source.name)


def read_test(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read test.csv, in any form as training.csv: images (N, 96, 96) uint8 and their ids (N,) int64.

    Raises DataError.
    """
    source = archive.find(path, "test.csv")
    table = read_table(archive.read_csv(source, "test.csv"), _place(source, "test.csv"), ("ImageId",))
    ids = table.values[:, 0]
    for i, image_id in enumerate(ids):
        if not image_id.is_integer() or abs(image_id) >= 2**53:  # beyond, floats are not exact
            raise DataError(f"{source}, line {i + 2}: ImageId is {image_id:g}, expected a whole number")
    if len(np.unique(ids)) != len(ids):
        raise DataError(f"{source}: an ImageId occurs twice among {len(ids)} rows; download it again")
    return table.images, ids.astype(np.int64)


def _place(source: Path, name: str) -> str:
    """How messages name a csv: by its path, and by its name in the zip."""
    return f"{source}: {name}" if source.suffix.lower() == ".zip" else str(source)


def _points(table: Table, place: str) -> NDArray[np.float32]:
    """(N, 15, 2) crop px, after checking that they can be."""
    wrong = np.argwhere((table.values < LOWEST) | (table.values > HIGHEST))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{place}, line {row + 2}: column {COLUMNS[column]} is {table.values[row, column]:g}, expected a pixel "
            f"position in the {SIZE}x{SIZE} image ({LOWEST:g} to {HIGHEST:g} is accepted)"
        )
    points = table.values.astype(np.float32).reshape(-1, len(KEYPOINTS), 2)
    points[np.isnan(points).any(2)] = np.nan
    return points


_Extras = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_]]
"""row, group, scheme, problem: (N,) each, as in Faces."""


def _without_index(images: NDArray[np.uint8], points: NDArray[np.float32]) -> _Extras:
    row = np.arange(len(images), dtype=np.int64)
    group = duplicates.groups(images)
    if schemes.is_genuine(points):
        return row, group, schemes.of_genuine_rows(row), np.isin(row, list(KNOWN_PROBLEMS))
    return row, group, schemes.inferred(points), np.zeros(len(row), np.bool_)


def _with_index(path: Path, points: NDArray[np.float32]) -> _Extras:
    """What the index says, its lines in the order of the data's rows."""
    try:
        found = list(archive.lines(path.read_bytes(), str(path), _INDEX_COLUMNS))
    except OSError as error:
        raise DataError(f"cannot read the index {path}: {reason_of(error)}") from error
    rows = [archive.whole(entry, "row", where) for where, entry in found]
    if sorted(rows) != list(range(len(points))):
        raise DataError(
            f"{path} has {len(rows)} rows, expected rows 0 to {len(points) - 1} once each; is this the index of that "
            "file?"
        )
    found = [found[i] for i in np.argsort(rows)]
    row, group = (
        np.array([archive.whole(entry, column, where) for where, entry in found], np.int64)
        for column in ("kaggle_row", "duplicate_group")
    )
    scheme = np.array([_scheme(entry["scheme"], where) for where, entry in found], np.uint8)
    problem = np.array([bool(entry["known_problem"]) for _, entry in found]) | np.isin(row, list(KNOWN_PROBLEMS))
    contradicted = np.flatnonzero((scheme == schemes.C) & ~schemes.has_c_points_only(points))
    if len(contradicted):
        raise DataError(
            f"{path}: row {contradicted[0]} is of scheme C, which has 4 points, but the data labels more; "
            "is this the index of that file?"
        )
    return row, group, scheme, problem


def _scheme(name: str, where: str) -> int:
    if name not in SCHEMES:
        raise DataError(f"{where}: scheme is {name[:40]!r}, expected {', '.join(SCHEMES)}")
    return SCHEMES.index(name)
