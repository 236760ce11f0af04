"""The live window, in a real one: pictures, keys, and no harm where there is no display."""

import os
import shutil
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker.sinks import window
from tracker.sources.contract import SourceInfo

BLUE, GREEN = (200, 60, 20), (30, 180, 40)

VIEWER = """
import sys
import time
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

from tracker.errors import SinkError
from tracker.sinks.contract import Quit
from tracker.sinks.window import open_window
from tracker.sources.contract import SourceInfo
from tracker.types import Frame, Tracked

kind = sys.argv[1]
color = [int(level) for level in sys.argv[2].split(",")]
zero = time.perf_counter() if kind == "camera" else None
info = SourceInfo(kind, "0", 320, 240, Fraction(30), None, clock_zero=zero)
image = np.full((240, 320, 3), color, np.uint8)
nobody = (), np.zeros((0, 15, 2), np.float32), np.zeros((0, 15), np.float32)
try:
    window = open_window("viewer under test", info)
except SinkError as error:
    print("refused:", error)
    sys.exit(error.exit_code)
try:
    for index in count():
        print("shown" if index else "first", flush=True)
        window.write(Tracked(Frame(image, index, index / 30), *nobody))
except Quit:
    window.close()
    window.close()
    print("quit", flush=True)
"""


class Screen:
    """An X server without a screen, whose picture can be read and to whose windows keys can be sent."""

    def __init__(self, folder):
        read, write = os.pipe()
        self._command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-fbdir", str(folder)]
        self._server = subprocess.Popen(self._command, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as answer:
            self.display = f":{answer.readline().strip()}"
        self._framebuffer = folder / "Xvfb_screen0"

    def close(self):
        self._server.terminate()
        self._server.wait()

    def picture(self):
        """(600, 800, 3) uint8 BGR, from the server's XWD file."""
        content = self._framebuffer.read_bytes()
        header = struct.unpack(">25I", content[:100])
        size, height, bytes_per_line, colors = header[0], header[5], header[12], header[19]
        pixels = np.frombuffer(content, np.uint8, height * bytes_per_line, size + 12 * colors)
        return pixels.reshape(height, bytes_per_line // 4, 4)[..., :3]

    def press(self, key):
        command = ["xdotool", "search", "--sync", "--name", "viewer under test", "key", "--clearmodifiers", key]
        environment = os.environ | {"DISPLAY": self.display}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    if not cv2.currentUIFramework():
        pytest.skip("needs an OpenCV with windows: the extra window")
    missing = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} to show a real window")
    screen = Screen(tmp_path_factory.mktemp("framebuffer"))
    yield screen
    screen.close()


class Viewer:
    """A program that shows plain pictures until it is told to quit, and says so line by line."""

    def __init__(self, folder, display, kind="camera", color=BLUE):
        environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[1])} | display
        command = [sys.executable, "-c", VIEWER, kind, ",".join(map(str, color))]
        self._output = folder / "viewer.txt"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)

    def said(self):
        return self._output.read_text()

    def frames(self):
        return self.said().count("shown\n")

    def is_still(self):
        before = self.frames()
        time.sleep(0.4)
        return self.frames() == before

    def wait(self):
        return self._process.wait(timeout=20)

    def close(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture
def view(screen, tmp_path):
    """Starts a viewer, with `tmp_path` as its folder, and waits for its window."""
    viewers = []

    def start(kind="camera", color=BLUE):
        viewer = Viewer(tmp_path, {"DISPLAY": screen.display}, kind, color)
        viewers.append(viewer)
        assert eventually(lambda: "first\n" in viewer.said())
        return viewer

    yield start
    for viewer in viewers:
        viewer.close()


def eventually(condition, patience_s=20.0):
    """Wait until `condition()` holds; the answer of its last try."""
    give_up = time.monotonic() + patience_s
    while not (answer := condition()) and time.monotonic() < give_up:
        time.sleep(0.02)
    return answer


def test_the_picture_is_on_the_screen_with_frame_rate_and_latency(screen, view):
    def shown():
        return (np.abs(screen.picture().astype(int) - BLUE).max(-1) < 6).sum() > 0.9 * 320 * 240

    def opened_and_shown():
        viewer = view(color=BLUE)
        if eventually(shown, patience_s=4):
            return True
        viewer.close()
        return False

    # Qt on a busy machine may miss that its window was uncovered when, unlike on a desktop, no window manager is there.
    assert any(opened_and_shown() for _ in range(6))
    assert eventually(lambda: (screen.picture()[:40, :80].min(-1) > 220).any())  # white letters  # noqa: PLW0108


@pytest.mark.slow
@pytest.mark.parametrize("key", ["q", "Escape"])
def test_q_and_escape_quit(screen, view, key):
    viewer = view()
    screen.press(key)
    assert viewer.wait() == 0
    assert viewer.said().endswith("quit\n")


def test_s_saves_snapshots_and_never_over_one_another(screen, view, tmp_path):
    view(color=GREEN)
    for number in (1, 2, 3):
        screen.press("s")
        assert eventually(lambda: len(list(tmp_path.glob("fkp-*.png"))) == number)  # noqa: B023
    for file in tmp_path.glob("fkp-*.png"):
        assert (cv2.imread(str(file)) == GREEN).all()  # as tracked, without the numbers on top


def test_space_pauses_and_other_keys_still_work(screen, view, tmp_path):
    viewer = view()
    assert eventually(viewer.frames)
    screen.press("space")
    assert eventually(viewer.is_still)
    before = viewer.frames()
    screen.press("s")
    assert eventually(lambda: list(tmp_path.glob("fkp-*.png")))
    assert viewer.frames() == before
    screen.press("space")
    assert eventually(lambda: viewer.frames() > before)
    screen.press("space")
    screen.press("q")
    assert viewer.wait() == 0


@pytest.mark.slow
def test_a_picture_stays_until_space_asks_for_the_next(screen, view):
    viewer = view("images")
    for number in range(3):
        assert viewer.is_still()
        assert viewer.frames() == number
        screen.press("space")
        assert eventually(lambda: viewer.frames() == number + 1)  # noqa: B023


@pytest.mark.slow
@pytest.mark.skipif(not cv2.currentUIFramework(), reason="needs an OpenCV with windows: the extra window")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a display")
@pytest.mark.parametrize(
    ("display", "reason"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ":4242"}, "the display :4242 does not answer"),
        ({"WAYLAND_DISPLAY": "wayland-4242"}, "there is no display"),
    ],
)
def test_without_a_display_there_is_one_message_and_no_abort(tmp_path, display, reason):
    viewer = Viewer(tmp_path, display)
    assert viewer.wait() == 6
    advice = "use --serve to watch in a browser, --out FILE to write a film, or --no-show"
    expected = f"refused: cannot open a window: {reason}; {advice}\n"
    assert viewer.said() == expected


@pytest.mark.slow
def test_a_window_opens_whatever_qt_is_told_to_use(screen, tmp_path):
    viewer = Viewer(tmp_path, {"DISPLAY": screen.display, "QT_QPA_PLATFORM": "wayland"})
    assert eventually(viewer.frames)
    viewer.close()


def test_a_name_that_is_not_utf_8_is_no_title(monkeypatch):
    """OpenCV ends the process on such a title."""
    titles = []
    for name in ("namedWindow", "resizeWindow", "imshow"):
        monkeypatch.setattr(cv2, name, lambda title, *_: titles.append(title))
    monkeypatch.setattr("tracker.sinks.window.why_no_window", lambda: None)
    window.open_window("fkp-track: caf\udce9\x1b.mp4", SourceInfo("film", "x", 64, 48, Fraction(25), 1))
    assert set(titles) == {r"fkp-track: caf\xe9\x1b.mp4"}


@pytest.mark.parametrize(
    ("platform", "minimised", "goes_on"), [("darwin", True, True), ("darwin", False, False), ("linux", True, False)]
)
def test_minimising_on_macos_is_not_closing(platform, minimised, goes_on, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 0.0)
    monkeypatch.setattr(window, "_is_minimised", lambda: minimised)
    assert window._is_open("demo") == goes_on
