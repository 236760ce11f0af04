"""The annotated picture as a camera that video calls and streaming programs can choose.  Extra `virtual-camera`.

In: `Tracked` with an annotated image.  The system must have a virtual camera device: v4l2loopback on Linux, OBS
Studio's on Windows and macOS, or Unity Capture on Windows; the first free one is used.
"""

import logging
import sys

import cv2
import pyvirtualcam

from tracker.errors import SinkError
from tracker.sinks.contract import Sink, Writer
from tracker.sources.contract import SourceInfo
from tracker.types import Tracked

log = logging.getLogger(__name__)

USUAL_RATE = 30.0
HINTS = {"linux": "sudo apt-get install v4l2loopback-dkms && sudo modprobe v4l2loopback exclusive_caps=1"}
OTHER_HINT = "install OBS Studio and start its virtual camera once"


def open_virtual_camera(info: SourceInfo) -> Sink:
    """Switch on the first virtual camera of this machine.

    Raises SinkError when there is none that is free, or the source is a folder of pictures.
    """
    if info.kind == "images":
        raise SinkError("a virtual camera needs moving pictures; give a film, a camera or --demo")
    rate = USUAL_RATE if info.rate is None else float(info.rate)
    width, height = (length - length % 2 for length in (info.width, info.height))  # the devices halve their colours
    try:
        camera = pyvirtualcam.Camera(max(2, width), max(2, height), rate, fmt=pyvirtualcam.PixelFormat.BGR)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise SinkError(f"no virtual camera can be used: {reason}; {HINTS.get(sys.platform, OTHER_HINT)}") from error
    log.info("live in the virtual camera %s", camera.device)

    def write(tracked: Tracked) -> None:
        image, size = tracked.frame.image, (camera.width, camera.height)
        try:
            camera.send(image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        except RuntimeError as error:
            raise SinkError(f"the virtual camera {camera.device} accepts no more pictures: {error}") from error

    return Writer(write, camera.close)
