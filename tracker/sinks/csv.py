"""Keypoints as CSV: one row per face and frame, for spreadsheets and pandas.

    frame, time, face, score, Kaggle's 30 columns (frame px), `<keypoint>_sigma` (px) of the 15

Frames without a face have no row.  For pictures a last column `image` names the file.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from tracker.sinks import Sink
from tracker.sinks.records import TIME_DECIMALS, Header, Lines, faces_of, open_lines
from tracker.spec import COLUMNS, KEYPOINTS
from tracker.types import Tracked

HEAD: tuple[str, ...] = ("frame", "time", "face", "score", *COLUMNS, *(f"{name}_sigma" for name in KEYPOINTS))


class Csv:
    """A CSV file being written; its first line waits for the first frame, which tells pictures from a film."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun = False

    def write(self, tracked: Tracked) -> None:
        """Append the frame's rows.  Raises SinkError when they cannot be written."""
        frame = tracked.frame
        image = [frame.name] if frame.name else []
        if not self._begun:
            self._begin(["image"] if image else [])
        for face in faces_of(tracked):
            coordinates = (value for point in face["points"] for value in point)
            row = (frame.index, round(frame.timestamp, TIME_DECIMALS), face["id"], face["score"])
            self._lines.write(_line([*row, *coordinates, *face["sigma"], *image]))

    def close(self) -> None:
        """Move the file into place; without a frame it holds the column names alone."""
        if not self._begun:
            self._begin([])
        self._lines.close()

    def _begin(self, more: list[str]) -> None:
        self._begun = True
        self._lines.write(_line([*HEAD, *more]))


def open_csv(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a CSV file; of `header` it says nothing, because every reader expects the columns in the first line.

    Raises SinkError when `path` exists without `overwrite`, or cannot be written.
    """
    return Csv(open_lines(path, overwrite=overwrite))


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
