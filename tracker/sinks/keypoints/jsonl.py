"""Keypoints as JSON Lines: a header line, then one line per frame, also for frames without a face.

    {"fkp": 1, "source": .., "width": .., "height": .., "keypoints": [15 names], "space": "frame px", ..}
    {"frame": 0, "time": 0.0, "faces": [{"id": 0, "score": .., "box": [..4], "points": [[x, y]..15], "sigma": [..15],
                                         "pose": {"yaw": .., "pitch": .., "roll": .., "x": .., "y": .., "z": ..},
                                         "signals": {"eye_open_left": .., "eye_open_right": .., "mouth_open": ..,
                                                     "eye_open_left_sigma": .., ..}}]}

Frames of a folder of pictures also say which one: `"image": "name.jpg"`.  ASCII throughout.
"""

import dataclasses
from pathlib import Path

from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import Header, as_json, open_output, record_of
from tracker.spec import KEYPOINTS
from tracker.types import Tracked

VERSION = 1
"""Of this format; increases when readers must change."""


def open_jsonl(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a JSON Lines file with its header.  Raises SinkError as `open_output` does."""
    output = open_output(path, overwrite=overwrite)
    origin = dataclasses.asdict(header)
    size = {name: origin.pop(name) for name in ("source", "width", "height")}
    output.write(as_json({"fkp": VERSION, **size, "keypoints": KEYPOINTS, "space": "frame px", **origin}) + "\n")

    def write(tracked: Tracked) -> None:
        output.has_frames = True
        output.write(as_json(record_of(tracked)) + "\n")

    return Writer(write, output.close)
