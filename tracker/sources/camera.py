"""A live camera through OpenCV: always the newest frame, and reopened after a drop-out.

Out: Frames, BGR uint8, as the camera sends them, timestamps in seconds since the first picture arrived.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.errors import SourceError
from tracker.sources.contract import Source
from tracker.sources.fit import fitted
from tracker.sources.live import Shot, arrived, live
from tracker.types import Image

log = logging.getLogger(__name__)

RETRY_S = 1.0
READS = 3
"""This many failures in a row mean that the camera is gone; a single one may be a damaged picture."""

OpenCapture = Callable[[int], Any]
"""A camera's number -> a cv2.VideoCapture, or what has its isOpened, read, get and release."""


class Wish(NamedTuple):
    """How a camera should send its pictures; None leaves it to the camera."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    api: str | None = None
    """One of `APIS`, with which OpenCV opens the camera; None for the fastest here, or another if that one fails."""

    def __str__(self) -> str:
        return _mode(self.width, self.height, self.fps)


AS_IT_LIKES = Wish()
PERMISSION_S = 20.0
"""How long a person may take to answer macOS."""

APIS = {name: getattr(cv2, f"CAP_{name.upper()}") for name in ("v4l2", "dshow", "msmf", "avfoundation", "gstreamer")}
"""By the name a user types."""


def open_camera(
    index: int = 0, wish: Wish = AS_IT_LIKES, *, open_capture: OpenCapture | None = None, retry_s: float = RETRY_S
) -> Source:
    """Open camera `index` and wait for its first picture; a warning says if it differs from the request.

    `open_capture(index)` returns something like cv2.VideoCapture; it is called again every `retry_s` seconds while the
    camera is gone.  Raises SourceError when the camera does not exist or sends nothing, or OpenCV lacks the API.
    """
    _refuse_missing_api(wish.api)
    device = _Device(index, partial(_open_device, wish=wish) if open_capture is None else open_capture, retry_s)
    capture = _permitted(device, device.open_capture(index))
    image = _read(capture)
    if image is None:
        mute = f"opens but sends no picture; close other programs that use it, or choose another --camera than {index}"
        reason = mute if capture.isOpened() else _absent(index)
        capture.release()
        raise SourceError(f"camera {index} {reason}, or try without a camera: fkp-track --demo")
    first = arrived(image)
    height, width = image.shape[:2]
    _warn_of_another_mode(index, wish, width, height, capture.get(cv2.CAP_PROP_FPS))
    return live(str(index), first, device.shots(capture, first), device.stop)


def _permitted(device: "_Device", capture: Any) -> Any:
    """On macOS the first program that asks for a camera gets none until the user has answered a dialog."""
    until = time.monotonic() + PERMISSION_S
    if sys.platform == "darwin" and not capture.isOpened():
        log.warning("no camera yet; if macOS asks whether this program may use it, allow it")
        while not capture.isOpened() and time.monotonic() < until:
            time.sleep(1)
            capture = device.open_capture(device.index)
    return capture


@dataclass(slots=True)
class _Device:
    """Opens one camera, and reopens it until `stop`."""

    index: int
    open_capture: OpenCapture
    retry_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    told: tuple[int, ...] = ()
    """Shape of the pictures whose change was told last."""

    def shots(self, capture: Any, first: Shot) -> Generator[Shot, None, None]:
        """`first`, then all that follow.  The camera is reopened and released in here, never under a running read."""
        try:
            yield first
            while not self.stop.is_set():
                image = _read(capture)
                if image is None:
                    log.warning("camera %d stopped sending; trying to reopen it every %g s", self.index, self.retry_s)
                while image is None:
                    capture.release()
                    if self.stop.wait(self.retry_s):
                        return
                    capture = self.open_capture(self.index)
                    image = _read(capture)
                    if image is not None:
                        log.warning("camera %d is back", self.index)
                yield arrived(self._sized(image, first.image))
        finally:
            capture.release()

    def _sized(self, image: Image, first: Image) -> Image:
        """`image` in the size of the first one, so that px mean the same all along."""
        if image.shape == first.shape:
            return image
        (height, width), (new_height, new_width) = first.shape[:2], image.shape[:2]
        if self.told != image.shape:
            told = "camera %d changes to %dx%d; pictures are fitted into %dx%d"
            log.warning(told, self.index, new_width, new_height, width, height)
            self.told = image.shape
        return fitted(image, width, height)


def _read(capture: Any) -> Image | None:
    """The next picture (H, W, 3), or None after several failures in a row."""
    for _ in range(READS):
        try:
            arrived, image = capture.read()
        except cv2.error:
            continue
        if arrived and image is not None and image.size:
            return as_bgr(image)
    return None


def as_bgr(image: NDArray[Any]) -> Image:
    """Whatever a camera gives as (H, W, 3) uint8: gray, with transparency, YUYV, 16 bits.

    Raises SourceError for numbers that are none of these.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype == np.uint8 and image.ndim in (2, 3) and channels in _TO_BGR:
        code = _TO_BGR[channels]
        return image if code is None else cv2.cvtColor(image, code)
    seen = "x".join(map(str, image.shape))
    raise SourceError(f"the camera sends pictures of {seen} {image.dtype}, which are not known; try --backend-api")


_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 2: cv2.COLOR_YUV2BGR_YUY2, 3: None, 4: cv2.COLOR_BGRA2BGR}
"""By the number of channels."""


def preferred_api() -> int:
    """The fastest API here: on Windows, MSMF takes many seconds."""
    name = {"linux": "v4l2", "win32": "dshow", "darwin": "avfoundation"}.get(sys.platform)
    return cv2.CAP_ANY if name is None else APIS[name]


def _open_device(index: int, wish: Wish) -> Any:
    """The real camera with the requested settings."""
    capture = cv2.VideoCapture()
    if index < 0:  # which crashes OpenCV
        return capture
    with _silent_opencv(), contextlib.suppress(cv2.error):  # which a number beyond 32 bits is
        capture.open(index, preferred_api() if wish.api is None else APIS[wish.api])
        if not capture.isOpened() and wish.api is None:  # some cameras are known to one API only
            capture.open(index, cv2.CAP_ANY)
        for prop, value in _settings(wish):
            if value is not None:
                capture.set(prop, value)  # what a camera does not support it ignores
    return capture


def _settings(wish: Wish) -> list[tuple[int, float | None]]:
    """What to set, in order.  DirectShow forgets the format when the rate is set, so there the rate comes first."""
    settings: list[tuple[int, float | None]] = [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),  # uncompressed pictures do not fit USB 2 at 30 fps
        (cv2.CAP_PROP_FRAME_WIDTH, wish.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, wish.height),
        (cv2.CAP_PROP_FPS, wish.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    directshow = wish.api == "dshow" or (wish.api is None and sys.platform == "win32")
    return sorted(settings, key=lambda each: each[0] != cv2.CAP_PROP_FPS) if directshow else settings


def _refuse_missing_api(name: str | None) -> None:
    known = {number: each for each, number in APIS.items()}
    here = [known[number] for number in cv2.videoio_registry.getCameraBackends() if number in known]
    if name is not None and name not in here:
        raise SourceError(f"this OpenCV cannot open cameras with {name}; it has {' and '.join(here)}")


def _warn_of_another_mode(index: int, wish: Wish, width: int, height: int, fps: float) -> None:
    """Warn if a camera sends something else than requested; `fps` is its claim, 0 if it makes none."""
    as_wished = wish.width in (None, width) and wish.height in (None, height)
    if not as_wished or (wish.fps is not None and fps > 0 and abs(fps - wish.fps) > 0.5):
        told = "camera %d gives %s instead of the requested %s; --list-cameras shows what it supports"
        log.warning(told, index, _mode(width, height, fps or None), wish)


def _mode(width: int | None, height: int | None, fps: float | None) -> str:
    size = "" if width is None and height is None else f"{width or 'any'}x{height or 'any'}"
    return " at ".join(part for part in (size, "" if fps is None else f"{fps:g} frames/s") if part)


@contextlib.contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV reports a missing camera on stderr; ours is the one message."""
    opencv = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # where versions 5 and 4 keep it
    level = opencv.getLogLevel()
    opencv.setLogLevel(0)  # silent
    try:
        yield
    finally:
        opencv.setLogLevel(level)


def _absent(index: int) -> str:
    """Why the camera does not open, and which cameras exist."""
    if not sys.platform.startswith("linux"):
        return "does not open; allow this program to use cameras, try --camera 0, 1 or 2"
    if Path(f"/dev/video{index}").exists():
        return f"does not open; close other programs that use it, check that you may read /dev/video{index}"
    devices = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    found = f"try --camera {' or '.join(devices)}" if devices else "this machine has no /dev/video*; connect one"
    return f"does not exist; {found}"
