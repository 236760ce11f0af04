"""Pictures, keypoints and head poses for the Rerun viewer (rerun.io), live or as an .rrd file.  Extra `rerun`.

In: `Tracked` with the frame's own picture.  Out, on the timelines `frame` (index) and `time` (s):

    camera/image              the picture, JPEG
    camera/faces/ID/points    the 15 points by name, each with its sigma as radius, px
    camera/faces/ID/box       px
    scores/ID                 0 to 1
    poses/ID/yaw, ..          pitch and roll too, degrees

Rerun counts px from the picture's corner, we from the middle of the first pixel: Rerun's numbers are 0.5 px larger.

A file gets every frame and is moved into place when it is complete.  A viewer gets the frames that it can keep up with:
Rerun's own `log` waits for a viewer that hangs, so it runs in a separate thread, and the tracker never waits.
"""

import ctypes
import dataclasses
import logging
import socket
from pathlib import Path

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from tracker.drawing.draw import PALETTE
from tracker.drawing.skeleton import PAIRS
from tracker.errors import SinkError, reason_of
from tracker.sinks.contract import Sink
from tracker.spec import INDEX, KEYPOINTS, SIGNALS
from tracker.support.address import Address
from tracker.support.atomic import PartialFile, open_partial
from tracker.support.printable import printable
from tracker.support.threads import Behind
from tracker.types import Face, Pose, Tracked

log = logging.getLogger(__name__)

JPEG_QUALITY = 85
DEPTH = 4
"""Frames that may wait for the file or the viewer."""
ANSWER_S = 3.0
"""How long a viewer may take to answer when we connect."""
PATIENCE_S = 5.0
"""How long a viewer may take for the last frames at the end."""
FINISH_S = 60.0
"""How long a file may take for the last frames; on a full disk Rerun can wait without end."""
CORNER_PX = np.float32(0.5)


class Recording:
    """Logs each frame to a stream that the caller opens and closes."""

    def __init__(self, stream: rr.RecordingStream) -> None:
        self._stream = stream
        self._there: set[int] = set()

    def log(self, tracked: Tracked) -> None:
        frame = tracked.frame
        self._stream.set_time("frame", sequence=frame.index)
        self._stream.set_time("time", duration=frame.timestamp)
        _, jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self._stream.log("camera/image", rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg"))
        for left in self._there - {face.id for face in tracked.faces}:
            for place in ("camera/faces", "scores", "poses", "signals"):
                self._stream.log(f"{place}/{left}", rr.Clear(recursive=True))
        self._there = {face.id for face in tracked.faces}
        poses = tracked.poses or (None,) * len(tracked.faces)
        for each in zip(tracked.faces, tracked.keypoints, tracked.sigma, poses, strict=True):
            self._log_face(*each)
        for face, signals in zip(tracked.faces, tracked.signals, strict=False):
            for name in SIGNALS:
                self._stream.log(f"signals/{face.id}/{name}", rr.Scalars(getattr(signals, name)))

    def _log_face(self, face: Face, points: NDArray[np.float32], sigma: NDArray[np.float32], pose: Pose | None) -> None:
        """Log one face: points (15, 2) and sigma (15,) in frame px."""
        color = PALETTE[face.id % len(PALETTE)][::-1]
        left, top, right, bottom = dataclasses.astuple(face.box)
        self._stream.log(
            f"camera/faces/{face.id}/points",
            rr.Points2D(
                points + CORNER_PX,
                radii=sigma,
                colors=[color],
                class_ids=0,
                keypoint_ids=range(len(points)),
                show_labels=False,  # fifteen names hide a face; pointing at one shows it
            ),
        )
        corner, size = [left + CORNER_PX, top + CORNER_PX], [right - left, bottom - top]
        box = rr.Boxes2D(mins=corner, sizes=size, colors=[color], labels=[str(face.id)])
        self._stream.log(f"camera/faces/{face.id}/box", box)
        self._stream.log(f"scores/{face.id}", rr.Scalars(face.score))
        if pose is not None:
            for name, degrees in (("yaw", pose.yaw), ("pitch", pose.pitch), ("roll", pose.roll)):
                self._stream.log(f"poses/{face.id}/{name}", rr.Scalars(degrees))


class RerunFile:
    """An .rrd file being written."""

    def __init__(self, stream: rr.RecordingStream, file: PartialFile) -> None:
        self._stream = stream
        self._file = file
        self._behind = Behind(Recording(stream).log, depth=DEPTH)
        self._begun = False
        self._closed = False

    def write(self, tracked: Tracked) -> None:
        """Hand over one frame; waits while the file is behind.  Raises SinkError if an earlier one was not taken."""
        if self._behind.failure is not None:
            self.close()  # raises it
        self._begun = True
        self._behind.put(tracked)

    def close(self) -> None:
        """Finish the file and move it into place; without a frame there is none.  A second call does nothing.

        Raises SinkError if it cannot be finished or moved.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if (failure := self._behind.close(FINISH_S)) is not None:
                raise failure
            self._stream.flush(timeout_sec=FINISH_S)
        except RuntimeError as error:
            _abandon(self._stream)
            raise SinkError(
                f"cannot write {self._file.target}: {error}; everything written before is in {self._file.path}"
            ) from error
        self._stream.disconnect()
        if self._begun:
            self._file.deliver()
        else:
            self._file.discard()


class RerunViewer:
    """A connection to a viewer."""

    def __init__(self, stream: rr.RecordingStream, address: Address) -> None:
        self._stream = stream
        self._address = address
        self._recording = Recording(stream)
        self._behind = Behind(self._send, depth=DEPTH, drop=True)
        self._left = False

    def write(self, tracked: Tracked) -> None:
        """Send one frame if the viewer is ready for it; never waits, and continues without a viewer that has gone."""
        if self._behind.failure is None:
            self._behind.put(tracked)
        else:
            self._leave(self._behind.failure)

    def close(self) -> None:
        """Send the remaining frames while the viewer takes them, and disconnect; a second call does nothing."""
        if (failure := self._behind.close(PATIENCE_S)) is not None:
            self._leave(failure)
        elif not self._left:
            self._left = True
            self._stream.disconnect()

    def _send(self, tracked: Tracked) -> None:
        self._recording.log(tracked)
        self._stream.flush(timeout_sec=PATIENCE_S)  # else Rerun buffers without limit for a viewer that hangs

    def _leave(self, failure: Exception) -> None:
        """Log once that the viewer has gone.  Raises failures that are not the viewer's."""
        if not isinstance(failure, RuntimeError):
            raise failure
        if not self._left:
            self._left = True
            log.warning("the Rerun viewer at %s has gone; the run continues without it: %s", self._address, failure)
            _abandon(self._stream)


def _abandon(stream: rr.RecordingStream) -> None:
    """Keep Rerun from waiting forever for a viewer that hangs, at exit or when the stream is freed."""
    rr.unregister_shutdown()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream.inner))


def open_rerun(where: Path | Address, name: str, *, overwrite: bool) -> Sink:
    """An .rrd file, or the viewer that listens at an address; `name` is the source's.

    Raises SinkError when the file exists without `overwrite` or cannot be written, or when no viewer answers.
    """
    if isinstance(where, Path):
        file = open_partial(where, overwrite=overwrite)
        stream = rr.RecordingStream("fkp")
        try:
            stream.save(file.path, default_blueprint=_layout())
        except UnicodeEncodeError as error:
            file.discard()
            raise SinkError(f"Rerun cannot write {where}: its name is not UTF-8; choose another one") from error
        _introduce(stream, name)
        return RerunFile(stream, file)
    try:
        socket.create_connection(where, timeout=ANSWER_S).close()
    except OSError as error:
        raise SinkError(f"no Rerun viewer answers at {where}: {reason_of(error)}; start one there: rerun") from error
    stream = rr.RecordingStream("fkp")
    stream.connect_grpc(f"rerun+http://{where}/proxy", default_blueprint=_layout())
    _introduce(stream, name)
    return RerunViewer(stream, where)


def _layout() -> rrb.Blueprint:
    """The picture beside the poses over time."""
    picture = rrb.Spatial2DView(origin="camera", name="camera")
    poses = rrb.TimeSeriesView(origin="poses", name="head poses, degrees")
    signals = rrb.TimeSeriesView(origin="signals", name="how far eyes and mouths are open")
    return rrb.Blueprint(rrb.Horizontal(picture, rrb.Vertical(poses, signals), column_shares=[3, 2]))


def _introduce(stream: rr.RecordingStream, name: str) -> None:
    """Log once what the recording shows, and which points are connected."""
    labels = [rr.AnnotationInfo(id=INDEX[keypoint], label=keypoint) for keypoint in KEYPOINTS]
    face = rr.ClassDescription(info=(0, "face"), keypoint_annotations=labels, keypoint_connections=PAIRS)
    stream.send_recording_name(printable(name))
    stream.log("camera", rr.AnnotationContext(face), static=True)
