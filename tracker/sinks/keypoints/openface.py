"""Keypoints as OpenFace writes them (Baltrusaitis et al. 2018), for scripts that read its CSV.

    frame (from 1), face_id, timestamp (s), confidence, success, pose_Tx, pose_Ty, pose_Tz (mm),
    pose_Rx, pose_Ry, pose_Rz (radians: pitch, yaw, roll), x_17 .., y_17 .. (frame px)

It contains the 13 of OpenFace's 68 landmarks that we have, under their iBUG numbers; eye centres have no number, and
signals no column.  As in OpenFace, a frame without a face has a row with `success` 0 and zeros.  For pictures a last
column `image` names the file.
"""

from collections.abc import Iterator
from math import radians
from pathlib import Path
from typing import Any

from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.csv import open_rows
from tracker.sinks.keypoints.record import MM_DECIMALS, PX_DECIMALS, SCORE_DECIMALS, TIME_DECIMALS, Header
from tracker.spec import INDEX
from tracker.types import Pose, Tracked

IBUG: dict[int, str] = {
    17: "right_eyebrow_outer_end",
    21: "right_eyebrow_inner_end",
    22: "left_eyebrow_inner_end",
    26: "left_eyebrow_outer_end",
    30: "nose_tip",
    36: "right_eye_outer_corner",
    39: "right_eye_inner_corner",
    42: "left_eye_inner_corner",
    45: "left_eye_outer_corner",
    48: "mouth_right_corner",
    51: "mouth_center_top_lip",
    54: "mouth_left_corner",
    57: "mouth_center_bottom_lip",
}
"""iBUG's number of a landmark -> our keypoint there."""

POSE = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
COLUMNS = (
    *("frame", "face_id", "timestamp", "confidence", "success", *POSE),
    *(f"{axis}_{number}" for axis in "xy" for number in IBUG),
    "image",
)
RADIAN_DECIMALS = 4

_ROWS = [INDEX[name] for name in IBUG.values()]


def open_openface(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a CSV file in OpenFace's layout, which has no place for `header`.  Raises SinkError as `open_csv` does."""
    return open_rows(path, COLUMNS, rows_of, overwrite=overwrite)


def rows_of(tracked: Tracked) -> Iterator[list[Any]]:
    """A frame's rows of `COLUMNS`: one per face, or one that says that there is none."""
    frame = tracked.frame
    first, time = frame.index + 1, round(frame.timestamp, TIME_DECIMALS)
    poses = tracked.poses or (None,) * len(tracked.faces)
    for face, points, pose in zip(tracked.faces, tracked.keypoints, poses, strict=True):
        coordinates = (round(float(value), PX_DECIMALS) for value in points[_ROWS].T.ravel())
        yield [first, face.id, time, round(face.score, SCORE_DECIMALS), 1, *_pose(pose), *coordinates, frame.name]
    if not tracked.faces:
        yield [first, 0, time, *[0] * (len(COLUMNS) - 4), frame.name]


def _pose(pose: Pose | None) -> list[float | None]:
    if pose is None:
        return [None] * len(POSE)
    place = [round(mm, MM_DECIMALS) for mm in (pose.x, pose.y, pose.z)]
    return [*place, *(round(radians(angle), RADIAN_DECIMALS) for angle in (pose.pitch, pose.yaw, pose.roll))]
