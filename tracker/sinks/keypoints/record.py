"""The content of keypoint files, independent of their format: their origin, and the numbers of each frame.

In: `Tracked`, frame px.  Out: plain Python values, rounded to a useful precision, as one record per frame or as the
rows of one table; and complete lines on the disk or in a pipe.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from tracker.errors import PipeClosed, SinkError, reason_of
from tracker.spec import COLUMNS, KEYPOINTS
from tracker.support.address import STDOUT, flows
from tracker.support.atomic import PartialFile, open_partial
from tracker.types import Pose, Signals, Tracked

PX_DECIMALS = 3
SCORE_DECIMALS = 4
TIME_DECIMALS = 6
DEGREE_DECIMALS = 2
MM_DECIMALS = 1
SIGNAL_DECIMALS = 4

TABLE: tuple[str, ...] = (
    *("frame", "time", "face", "score"),
    *COLUMNS,
    *(f"{name}_sigma" for name in KEYPOINTS),
    *(f"box_{side}" for side in ("left", "top", "right", "bottom")),
    *(f"pose_{part}" for part in ("yaw", "pitch", "roll", "x", "y", "z")),
    *Signals._fields,
    "image",
)
"""The columns of CSV, Parquet and `tracker.table.read`; one row per face and frame."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where the keypoints of a file come from."""

    source: str
    """What the user gave: a path, a camera's number, `demo`."""
    width: int
    """Of the upright frames, px."""
    height: int
    weights_sha256: str
    backend: str
    detector: str
    fov_deg: float
    """The camera's field of view that the poses assume, along the longer side of the picture."""
    mirrored: bool = False
    """Whether the frames were mirrored before detection: then left is the person's right."""
    sample_aspect: float = 1.0
    """Width of a px as it is meant to be shown, in heights; keypoints are in px as stored."""
    started: str | None = None
    """Time of day at time 0, ISO 8601 with its zone; of a film when it was made, if it says so."""
    started_monotonic_s: float | None = None
    """For a camera or stream: the same on this machine's monotonic clock, which LSL also uses on Linux."""


def record_of(tracked: Tracked) -> dict[str, Any]:
    """One frame's result for JSON: frame, time (s), `faces_of` it; a picture's image, the Unix time of a live one."""
    frame = tracked.frame
    image = {"image": frame.name} if frame.name else {}
    live = {} if frame.captured is None else {"unix_time": round(frame.captured, TIME_DECIMALS)}
    time = round(frame.timestamp, TIME_DECIMALS)
    return {"frame": frame.index, "time": time, **live, **image, "faces": faces_of(tracked)}


def faces_of(tracked: Tracked) -> list[dict[str, Any]]:
    """One dict per face: id, score, box [left, top, right, bottom], points [[x, y] * 15], sigma [15], all frame px;
    pose {yaw, pitch, roll (degrees), x, y, z (mm)} or None; and signals, the fields of `Signals`, if there are any.
    """
    poses = tracked.poses or (None,) * len(tracked.faces)
    signals = tracked.signals or (None,) * len(tracked.faces)
    arrays = _rounded(tracked.keypoints), _rounded(tracked.sigma)
    return [
        {
            "id": face.id,
            "score": round(float(face.score), SCORE_DECIMALS),
            "box": _rounded(_sides(face.box)),
            "points": points,
            "sigma": sigma,
            "pose": None if pose is None else _pose(pose),
            **({} if told is None else {"signals": _signals(told)}),
        }
        for face, points, sigma, pose, told in zip(tracked.faces, *arrays, poses, signals, strict=True)
    ]


def rows_of(record: dict[str, Any]) -> list[list[Any]]:
    """A frame's record, as from `record_of` -> its rows of `TABLE`, one per face; unknown values are None."""
    return [
        [
            *(record["frame"], record["time"], face["id"], face["score"]),
            *(coordinate for point in face["points"] for coordinate in point),
            *face["sigma"],
            *face["box"],
            *((None,) * 6 if face["pose"] is None else face["pose"].values()),
            *((None,) * len(Signals._fields) if "signals" not in face else face["signals"].values()),
            record.get("image"),
        ]
        for face in record["faces"]
    ]


_DECIMALS = dict.fromkeys(("yaw", "pitch", "roll"), DEGREE_DECIMALS) | dict.fromkeys(("x", "y", "z"), MM_DECIMALS)
_sides = attrgetter("left", "top", "right", "bottom")  # as below: dataclasses' own functions copy each number deeply


def _pose(pose: Pose) -> dict[str, float]:
    return {name: round(getattr(pose, name), decimals) for name, decimals in _DECIMALS.items()}


def _signals(signals: Signals) -> dict[str, float]:
    return {name: round(value, SIGNAL_DECIMALS) for name, value in signals._asdict().items()}


def _rounded(px: ArrayLike) -> Any:
    """Nested lists; rounded in float64, because a rounded float32 still prints all its digits."""
    return np.round(np.asarray(px, np.float64), PX_DECIMALS).tolist()


def as_json(value: Any) -> str:
    """On one line, without spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class Output:
    """A file on its way to its name, or standard output; text in it is whole lines at any moment, even after a kill.

    Binary writers may take it for a file: `write` takes bytes too, all of them or none.
    """

    def __init__(self, file: BinaryIO, partial: PartialFile | None, name: str = "standard output") -> None:
        self._file = file
        self._partial = partial
        self._name = name
        self._whole = 0
        """Bytes of all complete pieces so far."""
        self.parts_are_readable = True
        """Whether what was written before a failure is worth keeping."""
        self.has_frames = False
        """Whether something of a frame was written; if not, no existing file is replaced."""

    @property
    def closed(self) -> bool:
        """True after it was finished or writing failed."""
        return self._file.closed

    def write(self, content: str | bytes) -> int:
        """Append one piece, text as UTF-8, in one write if the system takes it.

        Raises SinkError if the disk is full (earlier records stay), PipeClosed if nobody reads any longer.
        """
        piece = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
        rest = memoryview(piece)
        try:
            while rest:  # a pipe takes what it has room for
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError as error:
            self._file.close()
            raise PipeClosed(f"the program that read {self._name} has gone") from error
        except OSError as error:
            raise self._given_up(error) from error
        self._whole += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Does nothing: every piece is already written."""

    def close(self) -> None:
        """Move the file into place, unless writing failed; a second call does nothing.

        An existing file stays if a run ended before its first frame.  Raises SinkError when the file cannot be moved.
        """
        if self.closed:
            return
        self._file.close()
        if self._partial is None:
            return
        if self.has_frames or not os.path.exists(self._partial.target):
            self._partial.deliver(has_frames=self.has_frames)
        else:
            self._partial.discard()

    def _given_up(self, error: OSError) -> SinkError:
        """Close the file after the last complete piece; returns the error to raise."""
        if self._partial is None:
            self._file.close()
            return SinkError(f"cannot write {self._name}: {reason_of(error)}")
        with suppress(OSError):
            self._file.truncate(self._whole)
        self._file.close()
        kept = f"everything written before is in {self._partial.path}"
        if not self.parts_are_readable:
            self._partial.discard()
            kept = "nothing is kept, because an unfinished file of this kind cannot be read"
        return SinkError(f"cannot write {self._partial.target}: {reason_of(error)}; {kept}")


def open_output(path: Path, *, overwrite: bool) -> Output:
    """Begin a file, standard output for STDOUT, or a pipe.  Raises SinkError as `open_partial` does."""
    if path == STDOUT:
        if sys.stdout is None:  # >&-
            raise SinkError("cannot write standard output: it is closed; name a file instead of -")
        return Output(open(sys.stdout.fileno(), "wb", buffering=0, closefd=False), None)
    if flows(path):
        return Output(path.open("wb", buffering=0), None, str(path))
    partial = open_partial(path, overwrite=overwrite)
    return Output(partial.path.open("wb", buffering=0), partial)
