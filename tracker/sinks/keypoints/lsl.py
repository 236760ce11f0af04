"""Keypoints as a stream of the Lab Streaming Layer, beside EEG, sound and stimuli.  Needs the extra `lsl`.

One sample per frame, of the face with the lowest id, which has been there longest; NaN in a frame without a face.  The
channels are those of `CHANNELS`, each with its unit: px as stored, degrees, mm; signals have none.  A sample's time is
when the picture arrived, on LSL's clock; of a film, whose pictures have no such time, when the sample is sent.
"""

import math
import time
from dataclasses import astuple

import pylsl

from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import Header
from tracker.sources.contract import SourceInfo
from tracker.spec import COLUMNS, KEYPOINTS
from tracker.types import Signals, Tracked

CHANNELS: dict[str, str] = {
    "face": "id",
    "score": "0..1",
    **dict.fromkeys(COLUMNS, "px"),
    **{f"{name}_sigma": "px" for name in KEYPOINTS},
    **{f"pose_{angle}": "degrees" for angle in ("yaw", "pitch", "roll")},
    **{f"pose_{axis}": "mm" for axis in "xyz"},
    **dict.fromkeys(Signals._fields, "ratio"),
}
"""Name -> unit, in the order of a sample."""

KIND = "MoCap"
"""What LSL calls streams of positions."""


def open_lsl(name: str, info: SourceInfo, header: Header) -> Sink:
    """Announce the stream `name` on this network; listeners get every sample from then on."""
    rate = pylsl.IRREGULAR_RATE if info.rate is None else float(info.rate)
    stream = pylsl.StreamInfo(name, KIND, len(CHANNELS), rate, pylsl.cf_float32, f"fkp {info.name}")
    about = stream.desc()
    channels = about.append_child("channels")
    for label, unit in CHANNELS.items():
        channel = channels.append_child("channel")
        channel.append_child_value("label", label).append_child_value("unit", unit)
    for key, value in (("width", header.width), ("height", header.height), ("weights_sha256", header.weights_sha256)):
        about.append_child_value(key, str(value))
    outlet = pylsl.StreamOutlet(stream)

    def write(tracked: Tracked) -> None:
        now = pylsl.local_clock()
        late_s = 0.0 if info.clock_zero is None else time.perf_counter() - info.clock_zero - tracked.frame.timestamp
        outlet.push_sample(sample_of(tracked), now - late_s)

    def close() -> None:
        nonlocal outlet
        outlet = None  # which ends the stream

    return Writer(write, close)


def sample_of(tracked: Tracked) -> list[float]:
    """The values of `CHANNELS`; NaN if there is no face, no pose or no signal."""
    if not tracked.faces:
        return [math.nan] * len(CHANNELS)
    first = min(range(len(tracked.faces)), key=lambda row: tracked.faces[row].id)
    face, pose = tracked.faces[first], tracked.poses[first] if tracked.poses else None
    return [
        float(face.id),
        float(face.score),
        *tracked.keypoints[first].ravel().tolist(),
        *tracked.sigma[first].tolist(),
        *([math.nan] * 6 if pose is None else astuple(pose)),
        *(tracked.signals[first] if tracked.signals else [math.nan] * len(Signals._fields)),
    ]
