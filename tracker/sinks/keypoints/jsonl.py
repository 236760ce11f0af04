"""Keypoints as JSON Lines: a header line, then one line per frame, also for frames without a face.

    {"fkp": 1, "source": .., "width": .., "height": .., "keypoints": [15 names], "space": "frame px", ..}
    {"frame": 0, "time": 0.0, "faces": [{"id": 0, "score": .., "box": [..4], "points": [[x, y]..15], "sigma": [..15],
                                         "pose": {"yaw": .., "pitch": .., "roll": .., "x": .., "y": .., "z": ..},
                                         "signals": {"eye_open_left": .., "eye_open_right": .., "mouth_open": ..,
                                                     "eye_open_left_sigma": .., ..}}]}

Frames of a folder of pictures also say which one: `"image": "name.jpg"`.  ASCII throughout.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import Header, open_output, record_of
from tracker.spec import KEYPOINTS
from tracker.types import Tracked

VERSION = 1
"""Of this format; increases when readers must change."""


def open_jsonl(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a JSON Lines file with its header.  Raises SinkError as `open_output` does."""
    output = open_output(path, overwrite=overwrite)
    origin = dataclasses.asdict(header)
    size = {name: origin.pop(name) for name in ("source", "width", "height")}
    output.write(_line({"fkp": VERSION, **size, "keypoints": KEYPOINTS, "space": "frame px", **origin}))

    def write(tracked: Tracked) -> None:
        output.has_frames = True
        output.write(_line(record_of(tracked)))

    return Writer(write, output.close)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
