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

from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import TABLE, Header, open_output, record_of, rows_of
from tracker.types import Tracked


def open_csv(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a CSV file without `header`: readers want the columns first.  Raises SinkError as `open_output` does."""
    return open_rows(path, TABLE, lambda tracked: rows_of(record_of(tracked)), overwrite=overwrite)


def open_rows(
    path: Path, columns: Sequence[str], rows: Callable[[Tracked], Iterable[Sequence[Any]]], *, overwrite: bool
) -> Sink:
    """A CSV file of the `rows` of each frame; the last of `columns` is for pictures only.

    So their names wait for the first frame; a file without a frame contains only them.
    """
    output = open_output(path, overwrite=overwrite)
    width: int | None = None

    def begun(*, pictures: bool) -> int:
        """The number of columns; writes their names first if that is still to be done."""
        nonlocal width
        if width is None:
            width = len(columns) - (not pictures)
            output.write(_line(columns[:width]))
        return width

    def write(tracked: Tracked) -> None:
        output.has_frames = True
        shown = begun(pictures=bool(tracked.frame.name))
        for row in rows(tracked):
            output.write(_line(row[:shown]))

    def close() -> None:
        if not output.closed:
            begun(pictures=False)
            output.close()

    return Writer(write, close)


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
