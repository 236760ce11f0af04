"""Keypoints as CSV: one row per face and frame, for spreadsheets and pandas.

    frame, time, face, score, Kaggle's 30 columns (frame px), `<keypoint>_sigma` (px) of the 15,
    box_left, box_top, box_right, box_bottom (px),
    pose_yaw, pose_pitch, pose_roll (degrees), pose_x, pose_y, pose_z (mm)

Frames without a face have no row.  For pictures a last column `image` names the file.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from tracker.sinks import Sink
from tracker.sinks.records import TABLE, Header, Lines, open_lines, record_of, rows_of
from tracker.types import Tracked


class Csv:
    """A CSV file being written; its first line waits for the first frame, which tells pictures from a film."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun = False

    def write(self, tracked: Tracked) -> None:
        """Append the frame's rows.  Raises SinkError when they cannot be written."""
        if not self._begun:
            self._begin(pictures=bool(tracked.frame.name))
        for row in rows_of(record_of(tracked)):
            self._lines.write(_line(row[: self._width]))

    def close(self) -> None:
        """Move the file into place; without a frame it holds the column names alone."""
        if not self._begun:
            self._begin(pictures=False)
        self._lines.close()

    def _begin(self, *, pictures: bool) -> None:
        self._begun = True
        self._width = len(TABLE) if pictures else TABLE.index("image")
        self._lines.write(_line(TABLE[: self._width]))


def open_csv(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a CSV file; of `header` it says nothing, because every reader expects the columns in the first line.

    Raises SinkError when `path` exists without `overwrite`, or cannot be written.
    """
    return Csv(open_lines(path, overwrite=overwrite))


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
