"""Keypoints as Open Sound Control, for programs that make music, pictures and puppets.  Needs the extra `osc`.

For each frame; positions are fractions of the picture's width (x) and height (y), with 0, 0 in the upper left corner:

    /fkp/frame INDEX TIME WIDTH HEIGHT   int, float s, int px, int px
    /fkp/faces ID ...                    ints: the faces in the frame; empty if there are none
    /fkp/ID/KEYPOINT X Y                 for each of the 15 names of `spec.KEYPOINTS`
    /fkp/ID/box LEFT TOP RIGHT BOTTOM
    /fkp/ID/score SCORE                  0 to 1
    /fkp/ID/pose YAW PITCH ROLL X Y Z    degrees and mm, see `tracker.core.head_pose`; left out if no head fits
    /fkp/ID/SIGNAL VALUE SIGMA           for each of the three names of `spec.SIGNALS`; left out if the network has none

The face with the lowest id, which has been there longest, is sent again with `first` instead of its id, so that a
puppet can follow one face.  The first two messages are one bundle and each face is another, so a datagram stays below
1500 bytes and networks do not split it.  Bundles carry the time tag "immediately".
"""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.datagrams import open_datagrams
from tracker.spec import KEYPOINTS, SIGNALS
from tracker.support.address import Address
from tracker.types import Face, Pose, Signals, Tracked

Message = tuple[str, list[int | float]]
"""Address and arguments."""


def open_osc(address: Address) -> Sink:
    """Messages to the program that listens at `address`.  Raises SinkError when no network leads there."""
    return open_datagrams(address, lambda tracked: map(_encoded, bundles(tracked)))


def bundles(tracked: Tracked) -> Iterator[list[Message]]:
    """The messages of one frame, bundle by bundle."""
    frame = tracked.frame
    height, width = frame.image.shape[:2]
    ids = [face.id for face in tracked.faces]
    yield [("/fkp/frame", [frame.index, frame.timestamp, width, height]), ("/fkp/faces", [*ids])]
    poses = tracked.poses or (None,) * len(ids)
    signals = tracked.signals or (None,) * len(ids)
    for face, points, pose, told in zip(tracked.faces, tracked.keypoints, poses, signals, strict=True):
        messages = _face(face, points, pose, told, np.array([width, height], np.float32))
        yield [(f"/fkp/{face.id}/{name}", arguments) for name, arguments in messages.items()]
        if face.id == min(ids):
            yield [(f"/fkp/first/{name}", arguments) for name, arguments in messages.items()]


def _face(
    face: Face, points: NDArray[np.float32], pose: Pose | None, signals: Signals | None, size: NDArray[np.float32]
) -> dict[str, list[int | float]]:
    """The messages of one face; `points` (15, 2) in frame px, `size` (2,) is the frame's width and height."""
    corners = np.array(astuple(face.box), np.float32).reshape(2, 2)
    return {
        **dict(zip(KEYPOINTS, (points / size).tolist(), strict=True)),
        "box": (corners / size).ravel().tolist(),
        "score": [float(face.score)],
        **({} if pose is None else {"pose": list(astuple(pose))}),
        **{
            name: [getattr(signals, name), getattr(signals, f"{name}_sigma")] for name in SIGNALS if signals is not None
        },
    }


def _encoded(messages: list[Message]) -> bytes:
    bundle = OscBundleBuilder(IMMEDIATELY)
    for address, arguments in messages:
        message = OscMessageBuilder(address)
        for argument in arguments:
            message.add_arg(argument, "i" if isinstance(argument, int) else "f")
        bundle.add_content(message.build())
    return bundle.build().dgram
