"""Keypoints as CSV: one row per face and frame, for spreadsheets and pandas.

    frame, time, face, score, Kaggle's 30 columns (frame px), `<keypoint>_sigma` (px) of the 15,
    box_left, box_top, box_right, box_bottom (px),
    pose_yaw, pose_pitch, pose_roll (degrees), pose_x, pose_y, pose_z (mm),
    eye_open_left, eye_open_right, mouth_open, `<signal>_sigma` of the three

Frames without a face have no row.  For pictures a last column `image` names the file.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.record import TABLE, Header, Output, open_output, record_of, rows_of
from tracker.types import Tracked


class Csv:
    """A CSV file being written; its header waits for the first frame, because pictures have one column more."""

    def __init__(
        self, output: Output, columns: Sequence[str], rows: Callable[[Tracked], Iterable[Sequence[Any]]]
    ) -> None:
        """`rows` gives a frame's rows of `columns`, the last of which is for pictures only."""
        self._output = output
        self._columns = columns
        self._rows = rows
        self._width: int | None = None

    def write(self, tracked: Tracked) -> None:
        """Append the frame's rows.  Raises SinkError when they cannot be written."""
        self._output.has_frames = True
        width = self._begun(pictures=bool(tracked.frame.name))
        for row in self._rows(tracked):
            self._output.write(_line(row[:width]))

    def close(self) -> None:
        """Move the file into place; without a frame it contains only the column names."""
        if not self._output.closed:
            self._begun(pictures=False)
            self._output.close()

    def _begun(self, *, pictures: bool) -> int:
        """The number of columns; writes their names first if that is still to be done."""
        if self._width is None:
            self._width = len(self._columns) - (not pictures)
            self._output.write(_line(self._columns[: self._width]))
        return self._width


def open_csv(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a CSV file without `header`: readers want the columns first.  Raises SinkError as `open_output` does."""
    return Csv(open_output(path, overwrite=overwrite), TABLE, lambda tracked: rows_of(record_of(tracked)))


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
