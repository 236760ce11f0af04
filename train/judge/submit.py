"""Writes Kaggle's submission file.

In: predicted points (M, 15, 2) in Kaggle's crop px, and IdLookupTable.csv, which asks for single coordinates of single
images.  Out: a csv `RowId,Location` with one line per row of the table, in its order.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.spec import COLUMNS, SIZE
from tracker.support.atomic import write_whole
from train.data import archive
from train.data.schemes import BEYOND_C, A, B, C

ROWS = 27_124
"""Lines of Kaggle's IdLookupTable.csv."""

FIRST_B_ID = 397
"""Test images are in the order of the training rows.  Up to 396 they show the laboratory of scheme A, from 397 to 591
web portraits as in scheme B; only the pictures themselves separate A from B."""

_NAME = "IdLookupTable.csv"
_COLUMNS = ("RowId", "ImageId", "FeatureName")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """What Kaggle asks for, row by row of IdLookupTable.csv."""

    source: Path
    row_id: NDArray[np.int64]
    """(R,)"""
    image_id: NDArray[np.int64]
    """(R,)"""
    column: NDArray[np.int64]
    """(R,) index into spec.COLUMNS."""


def read_lookup(path: Path) -> Lookup:
    """Read IdLookupTable.csv: bare, in the download's zip or in a folder.  Raises DataError."""
    source = archive.find(path, _NAME)
    found = archive.lines(archive.read_csv(source, _NAME), str(source), _COLUMNS)
    table = np.array([_asked(entry, where) for where, entry in found], np.int64).reshape(-1, 3)
    if not len(table):
        raise DataError(f"{source} has a header but asks for nothing; download it again")
    if len(np.unique(table[:, 0])) != len(table):
        raise DataError(f"{source}: a RowId occurs twice among {len(table)} rows; download it again")
    if len(table) != ROWS:
        log.warning(
            "%s asks for %d values, Kaggle's asks for %d: Kaggle will refuse the answer", source, len(table), ROWS
        )
    return Lookup(source, *table.T)


def asked_scheme(table: Lookup) -> dict[int, int]:
    """Image id -> the label scheme, an index into SCHEMES, by which Kaggle will judge it, for every image in the table.

    An image with questions about only the four points of scheme C is a C image; the others are A or B by
    FIRST_B_ID.
    """
    fifteen = set(table.image_id[np.isin(table.column // 2, BEYOND_C)].tolist())  # a keypoint has two columns
    return {i: (A if i < FIRST_B_ID else B) if i in fifteen else C for i in np.unique(table.image_id).tolist()}


def write_submission(
    points: NDArray[np.floating], image_ids: NDArray[np.integer], table: Lookup, out: Path, *, overwrite: bool = False
) -> None:
    """Write what the table asks for from points (M, 15, 2), Kaggle's crop px, of images `image_ids` (M,).

    Values are clipped to 0..96.  The file appears complete or not at all.  Raises DataError when the table asks for
    images that were not predicted, SinkError when `out` exists or cannot be written.
    """
    locations = _locations(points, image_ids, table)
    lines = [f"{row},{location:.4f}\n" for row, location in zip(table.row_id, locations, strict=True)]
    write_whole(out, ("RowId,Location\n" + "".join(lines)).encode(), overwrite=overwrite)


def _asked(entry: dict[str, str], where: str) -> tuple[int, int, int]:
    """(RowId, ImageId, index of the column) of one line."""
    feature = entry["FeatureName"]
    if feature not in COLUMNS:
        raise DataError(f"{where}: FeatureName is {feature[:40]!r}, expected one like {COLUMNS[0]}")
    return archive.whole(entry, "RowId", where), archive.whole(entry, "ImageId", where), COLUMNS.index(feature)


def _locations(points: NDArray[np.floating], image_ids: NDArray[np.integer], table: Lookup) -> NDArray[np.floating]:
    """(R,) the asked values, clipped to the image."""
    order = np.argsort(image_ids)
    at = np.searchsorted(image_ids, table.image_id, sorter=order).clip(max=len(image_ids) - 1)
    missing = np.unique(table.image_id[image_ids[order][at] != table.image_id])
    if len(missing):
        raise DataError(
            f"{table.source} asks for {len(missing)} images that were not given, the first with id {missing[0]}; "
            "give the test.csv that belongs to it"
        )
    values = points.reshape(len(points), len(COLUMNS))[order][at, table.column]
    if np.isnan(values).any():
        raise ValueError("a predicted coordinate that Kaggle asks for is NaN")
    return np.asarray(values.clip(0, SIZE))
