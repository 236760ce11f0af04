"""A live window: the annotated picture with frame rate and latency, and a few keys.

In: `Tracked` with an annotated image.  Keys: `q` or Esc quits, `s` saves a snapshot, space pauses and continues;
closing the window quits too.  Films run at their own speed; a picture stays until space asks for the next.

The display is checked before the window opens, because Qt without a display ends the whole process.
"""

import ctypes
import logging
import os
import sys
import time
from datetime import datetime
from functools import cache
from pathlib import Path

import cv2

from tracker.drawing.draw import overlay_text
from tracker.errors import SinkError
from tracker.sinks.contract import Quit, Sink
from tracker.sinks.playback import Pace
from tracker.sources.contract import SourceInfo
from tracker.support.atomic import free_name, write_whole
from tracker.support.printable import printable
from tracker.support.timing import RecentRate
from tracker.types import Image, Tracked

log = logging.getLogger(__name__)

QUIT_KEYS = frozenset({ord("q"), ord("Q"), 27})
SNAPSHOT_KEYS = frozenset({ord("s"), ord("S")})
PAUSE_KEY = ord(" ")
LARGEST = (1600, 900)
"""The largest size, px, at which the window opens; it can be dragged larger."""

GET_WINDOWS = "pip install --force-reinstall --no-deps opencv-python"
"""Puts its files over those of opencv-python-headless, which has the same module."""

_ADVICE = "use --serve to watch in a browser, --out FILE to write a film, or --no-show"


class Window:
    """An open window.  Must be used from the main thread."""

    def __init__(self, title: str, info: SourceInfo, *, pace: bool) -> None:
        self._title = title
        self._clock_zero = info.clock_zero
        self._pace = Pace() if pace and info.can_run_ahead else None
        self._hold = pace and info.kind == "images"
        self._rate = RecentRate()

    def write(self, tracked: Tracked) -> None:
        """Show one frame, and handle the keys pressed since the last.  Raises Quit when the viewer wants to stop."""
        now = time.perf_counter()
        image = tracked.frame.image
        cv2.imshow(self._title, overlay_text(image, self._status(now, tracked.frame.timestamp)))
        wait_s = 0.0 if self._pace is None else self._pace.wait_s(now, tracked.frame.timestamp)
        if self._obey(cv2.waitKey(max(1, int(wait_s * 1e3))), image) or self._hold:
            self._pause(image)

    def close(self) -> None:
        if _is_open(self._title):
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # Qt closes it while it handles events

    def _status(self, now: float, timestamp: float) -> list[str]:
        if self._hold:
            return ["space: next"]
        fps = self._rate(now)
        lines = [] if fps is None else [f"{fps:.1f} fps"]
        if self._clock_zero is not None:
            lines.append(f"{(now - self._clock_zero - timestamp) * 1e3:.0f} ms")
        return lines

    def _obey(self, key: int, image: Image) -> bool:
        """Do what `key` (from `cv2.waitKey`, -1 for none) asks for; True for pause."""
        key &= 0xFF if key >= 0 else -1  # some window systems add modifier bits
        if key in QUIT_KEYS or not _is_open(self._title):
            raise Quit
        if key in SNAPSHOT_KEYS:
            _snapshot(image)
        return key == PAUSE_KEY

    def _pause(self, image: Image) -> None:
        """Wait for another space."""
        began = time.perf_counter()
        while not self._obey(cv2.waitKey(30), image):
            pass
        self._rate = RecentRate()
        if self._pace is not None:
            self._pace.skip(time.perf_counter() - began)


def open_window(title: str, info: SourceInfo, *, pace: bool = True) -> Sink:
    """Open a window for a source's frames.

    With `pace`, films and the demo run no faster than their timestamps and pictures wait for a key; without it nothing
    waits, for runs that mainly write other outputs.  The latency since capture is shown if there is a `clock_zero`.
    Raises SinkError when there is no display or OpenCV was built without windows.
    """
    reason = why_no_window()
    if reason is not None:
        raise SinkError(f"cannot open a window: {reason}; {_ADVICE}")
    title = printable(title)  # OpenCV crashes on names that are not UTF-8
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        raise SinkError(f"cannot open a window: {error.err}; {_ADVICE}") from error
    shrink = min(1.0, LARGEST[0] / info.width, LARGEST[1] / info.height)
    cv2.resizeWindow(title, round(info.width * shrink), round(info.height * shrink))
    return Window(title, info, pace=pace)


def why_no_window() -> str | None:
    """Why no window can open here, or None if one can.  Nothing is shown."""
    toolkit = cv2.currentUIFramework()
    if not toolkit:
        return f"this OpenCV has no windows; for one: {GET_WINDOWS}"
    if sys.platform != "linux" or not toolkit.startswith("QT"):
        return None  # these raise an ordinary cv2.error
    if not _x_server_answers():
        display = os.environ.get("DISPLAY")
        return f"the display {display} does not answer" if display else "there is no display"
    os.environ["QT_QPA_PLATFORM"] = "xcb"  # what was just tried; OpenCV's wheels have no other, whatever the user set
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # about fonts that are not needed
    return None


@cache
def _x_server_answers() -> bool:
    """Whether an X server accepts our connection, through the library that Qt will use.

    The connection is made once and never closed: a server without other clients, as under xvfb-run, resets itself when
    its last client leaves, and could then refuse Qt.
    """
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    return bool(xcb.xcb_connection_has_error(xcb.xcb_connect(None, None)) == 0)


def _is_open(title: str) -> bool:
    try:
        visible = bool(cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) > 0)
    except cv2.error:  # no window was ever opened, or the last one is gone
        return False
    return visible or (sys.platform == "darwin" and _is_minimised())


def _is_minimised() -> bool:
    """Whether a window of this program is in macOS's Dock: OpenCV calls it invisible, as if it had been closed."""
    objc = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
    objc.objc_getClass.restype = objc.sel_registerName.restype = ctypes.c_void_p

    def send(receiver: int, message: bytes, *args: int) -> int:
        kinds = (ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_size_t] * len(args))
        ask = ctypes.CFUNCTYPE(ctypes.c_void_p, *kinds)(("objc_msgSend", objc))
        return ask(receiver, objc.sel_registerName(message), *args) or 0

    windows = send(send(objc.objc_getClass(b"NSApplication"), b"sharedApplication"), b"windows")
    each = (send(windows, b"objectAtIndex:", index) for index in range(send(windows, b"count")))
    return any(send(window, b"isMiniaturized") & 0xFF for window in each)


def _snapshot(image: Image) -> None:
    """Save the picture as shown, without the overlay, in the current folder; never replaces a file."""
    target = free_name(Path(f"fkp-{datetime.now():%Y%m%d-%H%M%S}.png"))
    _, content = cv2.imencode(".png", image)
    try:
        write_whole(target, bytes(content), overwrite=False)
    except SinkError as error:
        log.warning("no snapshot: %s", error)
    else:
        log.warning("snapshot saved as %s", target.resolve())
