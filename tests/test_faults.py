"""What goes wrong around a run that is under way or on its edges; FAULTS.md lists every fault with its test."""

import contextlib
import json
import logging
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import programs
import pytest
from films import write_film, write_part
from programs import FKP_TRACK, TRACK, headless, run_code

from tracker import Tracker
from tracker.app.progress import Tally
from tracker.app.run import run
from tracker.batch.plan import find
from tracker.errors import SinkError, SourceError
from tracker.options import Options
from tracker.sinks.contract import Writer
from tracker.sources.contract import Kind
from tracker.sources.film import open_film
from tracker.support.atomic import open_partial
from tracker.support.process import Stopped
from tracker.support.same_file import Sources
from tracker.types import Image, Tracked

RATE, FRAMES = 25, 25
"""Of `film`."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


fkp_track = partial(programs.fkp_track, timeout=None)


def track(source: Path, folder: Path, detect_size: int | Literal["auto"] = "auto") -> list[dict[str, object]]:
    """Track into out.mp4 and out.jsonl, in this process; the records, without the header."""
    outputs = {"out": folder / "out.mp4", "keypoints": (folder / "out.jsonl",)}
    run(Options(source=source, **outputs, backend="cpu", detect_size=detect_size), Tally(), bar=False)
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()[1:]]


def frames_of(path: Path) -> list[Image]:
    with open_film(path) as source:
        return [frame.image for frame in source]


# Films


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_film_of_one_frame_is_tracked(suffix: str, portrait: Image, tmp_path: Path) -> None:
    (record,) = track(write_film(tmp_path / f"in{suffix}", [portrait]), tmp_path)
    assert len(record["faces"]) == 1  # type: ignore[arg-type]
    assert len(frames_of(tmp_path / "out.mp4")) == 1


@pytest.mark.parametrize("last", [0, 3])
def test_a_frame_whose_writing_a_signal_ends_is_counted(last: int, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(tracked: Tracked) -> None:
        written.append(tracked.frame.index)
        if tracked.frame.index == last:
            raise Stopped(signal.SIGINT)

    monkeypatch.setattr("tracker.app.run.open_sinks", lambda *_: nullcontext([Writer(write)]))
    tally = Tally()
    with pytest.raises(Stopped):
        run(Options(source=film, backend="cpu"), tally, bar=False)
    assert tally.frames == len(written) == last + 1


@pytest.mark.parametrize("size", ["auto", 640])
def test_outputs_say_at_which_size_the_detector_sees_pictures(
    size: int | Literal["auto"], portrait: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cv2.imwrite(str(tmp_path / "in.png"), portrait)
    outputs = {"out": tmp_path / "out.png", "keypoints": (tmp_path / "out.jsonl",)}
    run(Options(source=tmp_path / "in.png", **outputs, backend="cpu", detect_size=size), Tally(), bar=False)
    header, _ = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert header["detector"] == f"yunet-2023mar {size}"
    assert f"detector {header['detector']}, " in caplog.text
    with Tracker(detect_size=size, backend="cpu") as tracker:
        assert tracker.detector == header["detector"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_film_of_no_frames_is_one_message(suffix: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / f"in{suffix}"), "w") as container:
        picture = container.add_stream("mpeg4", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(SourceError, match=r"no frame could|not one frame could|no video|ends before its first frame"):
        track(tmp_path / f"in{suffix}", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"in{suffix}"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1, 1), (95, 95), (4097, 3), (3, 4097), (7680, 4320)])
def test_films_of_any_size_are_tracked(width: int, height: int, portrait: Image, tmp_path: Path) -> None:
    side = min(width, height)
    image = np.full((height, width, 3), 90, np.uint8)
    image[:side, :side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    seen = 2 * side > width and side > 90
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        picture = container.add_stream("rawvideo", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = width, height, "bgr24"
        container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(picture.encode(None))
    records = track(tmp_path / "in.avi", tmp_path, detect_size=320)  # 8K in parts takes seconds
    assert [len(record["faces"]) for record in records] == [int(seen)]  # type: ignore[arg-type]
    even = (height + height % 2, width + width % 2, 3)
    assert [frame.shape for frame in frames_of(tmp_path / "out.mp4")] == [even]


def test_a_film_that_grows_while_it_is_read_is_read_to_what_is_its_end_then(portrait: Image, tmp_path: Path) -> None:
    small = cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA)
    whole = write_film(tmp_path / "whole.ts", [small] * 300, rate=RATE, options={"g": "10"}).read_bytes()
    growing = tmp_path / "growing.ts"
    growing.write_bytes(whole[: len(whole) // 2])
    with open_film(growing) as source, growing.open("ab") as writer:
        times = []
        for frame in source:
            times.append(frame.timestamp)
            if frame.index == 20:
                writer.write(whole[len(whole) // 2 :])
                writer.flush()
    assert len(times) > 140
    assert np.all(np.diff(times) > 0)


# Faces and clocks


def test_fifty_faces_in_a_frame_are_found_and_keep_their_ids(portrait: Image) -> None:
    crowd = np.tile(cv2.resize(portrait[20:260, 100:340], (160, 160), interpolation=cv2.INTER_AREA), (5, 10, 1))
    with Tracker(backend="cpu") as tracker:
        results = [tracker.update(np.roll(crowd, step, axis=1), step / 30) for step in range(6)]
    assert [len(result.faces) for result in results[-3:]] == [50] * 3
    assert len({face.id for result in results for face in result.faces}) == 50
    assert len(np.unique(results[-1].keypoints[:, 10].round(), axis=0)) == 50


def test_a_clock_that_goes_backwards_costs_smoothing_alone(portrait: Image) -> None:
    with Tracker(backend="cpu") as tracker:
        results = [tracker.update(portrait, time) for time in (100.0, 100.03, 7.0, 7.0, -5.0, 0.0, 1e9, 3.0)]
    assert [len(result.faces) for result in results] == [1] * 8
    assert np.ptp([result.keypoints for result in results], axis=0).max() < 1


@pytest.mark.slow
def test_sound_that_becomes_another_is_said_without_being_asked(tmp_path: Path) -> None:
    write_part(tmp_path / "in.mkv", sound="pcm_s16le", seconds=0.5)
    done = fkp_track("in.mkv", "--out", "out.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fkp-track: the sound becomes AAC, because pcm_s16le does not go into .mp4 files" in done.stderr.splitlines()


# Outputs


def test_an_output_folder_that_vanishes_is_one_message(film: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    tally = Vanishing(tmp_path / "made")
    options = Options(source=film, keypoints=(tmp_path / "made" / "out.jsonl",), out=tmp_path / "made" / "out.mp4")
    with pytest.raises(SinkError, match=r"cannot finish .*out\.(mp4|jsonl): .* is gone"):
        run(options, tally, bar=False)
    assert tally.frames == FRAMES


class Vanishing(Tally):
    """Deletes a folder at the tenth frame."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def count(self, tracked: Tracked, kind: Kind) -> None:
        super().count(tracked, kind)
        if self.frames == 10:
            shutil.rmtree(self._folder)


STOPPED_IN = """
import os, signal
from {package} import {owner}
original = {owner}.{name}

def stopped(*args):
    os.kill(os.getpid(), signal.{number})
    return original(*args)

{owner}.{name} = stopped
"""


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize(
    ("package", "owner", "name", "made"),
    [
        ("tracker.sinks", "film", "_add_picture", ["out.jsonl"]),  # no frame, no film
        ("tracker.sinks.film", "Video", "_flush", ["out.jsonl", "out.mp4"]),
    ],
    ids=["opened", "closed"],
)
def test_a_stop_while_outputs_are_opened_or_closed_leaves_nothing_half_done(
    package: str, owner: str, name: str, made: list[str], number: str, code: int, film: Path, tmp_path: Path
) -> None:
    script = STOPPED_IN.format(package=package, owner=owner, name=name, number=number) + TRACK
    args = (film, "--out", "out.mp4", "--keypoints", "out.jsonl", "--backend", "cpu")
    done = run_code(script, "fkp-track", *args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == made


@pytest.mark.parametrize("failure", [SinkError("the disk is full"), ZeroDivisionError()])
def test_an_output_that_fails_leaves_all_others_under_their_partial_names(
    failure: Exception, film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("out.jsonl", "out.csv", "out.coco.json")
    options = Options(source=film, keypoints=tuple(tmp_path / name for name in names), out=tmp_path / "out.mp4")
    with pytest.raises(type(failure)):
        run(options, Failing(failure, frames=10), bar=False)
    left = {re.sub(r"-\d+", "-PID", path.name): path for path in tmp_path.iterdir()}
    assert set(left) == {f"{stem}.partial-PID{end}" for stem, end in map(parted, (*names, "out.mp4"))}
    assert len(frames_of(left["out.partial-PID.mp4"])) == 10
    assert len(left["out.partial-PID.jsonl"].read_text().splitlines()) == 11
    assert len(json.loads(left["out.coco.partial-PID.json"].read_text())["images"]) == 10
    assert [path.name for path in left.values() if str(path) not in caplog.text] == []


def parted(name: str) -> tuple[str, str]:
    return name.rpartition(".")[0], "." + name.rpartition(".")[2]


class Failing(Tally):
    """Fails after some frames, as an output does that comes last."""

    def __init__(self, failure: Exception, frames: int) -> None:
        super().__init__()
        self._failure = failure
        self._limit = frames

    def count(self, tracked: Tracked, kind: Kind) -> None:
        super().count(tracked, kind)
        if self.frames == self._limit:
            raise self._failure


CLOSED_TERMINAL = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN if {ignored} else signal.SIG_DFL)  # nohup, which may also run these tests
from tracker.app.progress import Tally
original = Tally.count

def count(self, *args):
    original(self, *args)
    if self.frames == 10:
        signal.raise_signal(signal.SIGHUP)

Tally.count = count
"""


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("ignored", "code", "frames"), [(False, 129, 10), (True, 0, FRAMES)])
def test_a_closed_terminal_finishes_the_outputs_unless_nohup_said_otherwise(
    ignored: bool, code: int, frames: int, film: Path, tmp_path: Path
) -> None:
    args = (film, "--out", "out.mp4", "--keypoints", "out.jsonl", "--backend", "cpu", "--smooth", "live")
    done = run_code(CLOSED_TERMINAL.format(ignored=ignored) + TRACK, "fkp-track", *args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert len(frames_of(tmp_path / "out.mp4")) == frames
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1 + frames


IMPATIENT = """
import ctypes, signal, sys, threading, time
from tracker.support import process
process.PATIENCE_S = {patience_s}

def app():
    for after_s in (0.3, 0.5, 1.5):
        threading.Timer(after_s, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with process.undisturbed():
        if {in_library}:
            ctypes.CDLL(None).sigsuspend  # exists
            ctypes.CDLL(None).usleep.restype = None
            while ctypes.CDLL(None).usleep({wait_s}_000_000): pass
        else:
            threading.Event().wait({wait_s})
        print("waited")

process.run_program(app, "fkp-track")
"""


@posix
def test_a_second_ctrl_c_after_a_while_ends_at_once() -> None:
    cases = [(patience_s, in_library) for patience_s in (0.5, 100) for in_library in (False, True)]
    scripts = [
        IMPATIENT.format(patience_s=patience_s, wait_s=3 if patience_s > 1 else 30, in_library=in_library)
        for patience_s, in_library in cases
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", script], **pipes) for script in scripts]
    for (patience_s, _), process in zip(cases, running, strict=True):
        said, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert ("ended at once" in told) == (patience_s < 1)
        assert ("waited" in said) == (patience_s > 1)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="sees in /proc whether a process is ready for signals"
)
@pytest.mark.parametrize("moments", [3, pytest.param(60, marks=pytest.mark.long)])
def test_a_run_may_be_stopped_at_any_moment(moments: int, film: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    command = [*FKP_TRACK, str(film), "--out", "out.mp4", "--keypoints", "out.jsonl", "--keypoints", "out.csv"]
    began = time.monotonic()
    assert fkp_track(*command[3:], cwd=tmp_path).returncode == 0
    longest_s = time.monotonic() - began
    for moment in range(moments):
        number = draw.choice([signal.SIGINT, signal.SIGTERM])
        here = tmp_path / str(moment)
        here.mkdir()
        with subprocess.Popen(command, cwd=here, env=headless(), stderr=subprocess.PIPE, text=True) as process:
            while not catches(process.pid, signal.SIGTERM):
                time.sleep(0.01)
            time.sleep(draw.uniform(0, longest_s))
            process.send_signal(number)
            _, told = process.communicate()
        assert process.returncode in (0, 128 + number, -number), told  # the last: after Python has put its things away
        assert "Traceback" not in told
        left = {path.name for path in here.iterdir()}
        assert left <= {"out.mp4", "out.jsonl", "out.csv"}
        assert all(frames_of(here / name) for name in left & {"out.mp4"})
        for name in left & {"out.jsonl"}:
            assert [json.loads(line) for line in (here / name).read_text().splitlines()]


STOPPED_WHILE_STARTING = """
import signal
from tracker.support.process import Stopped, run_program

def app():
    try:
        signal.raise_signal(signal.SIGTERM)
    except Stopped as stop:
        raise ImportError("initialization failed") from stop

run_program(app, "fkp-track")
"""


STOPPED_BEFORE_THE_PROGRAM = """
import signal
from tracker.support import process

process._watch_for_impatience = lambda name: signal.raise_signal(signal.SIGTERM)
process.run_program(print, "fkp-track")
"""


def test_a_stop_before_the_program_begins_is_a_stop() -> None:
    done = run_code(STOPPED_BEFORE_THE_PROGRAM, "fkp-track")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_a_stop_that_a_starting_module_calls_a_failure_is_a_stop() -> None:
    """Compiled modules wrap what is raised while they are imported: ONNX Runtime's does."""
    done = run_code(STOPPED_WHILE_STARTING, "fkp-track")
    assert (done.returncode, done.stderr) == (143, "")


SWALLOWED = """
import signal
from tracker.errors import SourceError
from tracker.support.process import Stopped, run_program

def app():
    try:
        signal.raise_signal(signal.SIGTERM)
    except Stopped:
        pass
    raise SourceError("cannot be read") from InterruptedError(4, "Interrupted system call")

run_program(app, "fkp-track")
"""


def test_a_stop_that_a_library_swallows_is_a_stop() -> None:
    """PyAV does while it waits for the writer of a pipe."""
    done = run_code(SWALLOWED, "fkp-track")
    assert (done.returncode, done.stderr) == (143, "")


REFUSALS = {
    "a full disk": "raise OSError(28, 'No space left on device', 'x')",
    "a dying disk": "raise OSError(5, 'Input/output error')",
    "no memory for a picture": "bytearray(1 << 62)",
    "no memory for a library": "raise ImportError('x.so: failed to map segment from shared object', name='x')",
    "no current folder": "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.getcwd()",
}


@posix
@pytest.mark.parametrize("fault", REFUSALS)
def test_what_the_system_refuses_is_one_message(fault: str, tmp_path: Path) -> None:
    code = f"from tracker.support.process import run_program as run; run(lambda: exec({REFUSALS[fault]!r}), 'fkp')"
    done = run_code(code, "fkp", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"fkp: .+\n", done.stderr)


@posix
def test_links_that_lead_to_themselves_are_failures_of_their_own(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        Path(name).symlink_to({"a.mp4": "b.mp4", "b.mp4": "a.mp4"}[name])
    shutil.copy(film, "c.mp4")
    assert sorted(name for _, name in find([tmp_path], outputs=())) == ["a.mp4", "b.mp4", "c.mp4"]
    assert not Sources([Path("a.mp4")]).are_replaced_by(Path("c.mp4"))
    with pytest.raises(SourceError, match="Too many levels of symbolic links"):
        open_film(Path("a.mp4"))
    with pytest.raises(SinkError, match="leads to itself"):
        open_partial(Path("a.mp4"), overwrite=True)


@posix
def test_whoever_may_use_little_memory_is_told_before_libraries_crash() -> None:
    command = ["sh", "-c", 'ulimit -v 450000; exec "$@"', "-", *FKP_TRACK, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "may use only 460 MB of memory (ulimit -v), and may need 1,500" in done.stderr


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(caught, 16) >> (number - 1) & 1)


# Where a run speaks


@pytest.mark.slow
@posix
def test_a_run_without_stderr_does_its_work(film: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec 2>&-; exec "$@"', "-", *FKP_TRACK, str(film), "--keypoints", "out.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, check=False)
    assert done.returncode == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines[1:]] == list(range(FRAMES))


@pytest.mark.slow
@posix
def test_keypoints_to_a_stdout_that_is_closed_are_one_message(film: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec >&-; exec "$@"', "-", *FKP_TRACK, str(film), "--keypoints", "-"]
    done = subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == (
        "fkp-track: cannot write standard output: it is closed; name a file instead of -"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("columns", "settings"),
    [(0, {"TERM": "dumb"}), (1, {"TERM": "xterm", "NO_COLOR": "1"}), (80, {"TERM": "none"})],
)
def test_a_terminal_without_width_or_colour_is_good_enough(
    columns: int, settings: dict[str, str], film: Path, tmp_path: Path
) -> None:
    code, told = in_terminal(columns, settings, [str(film), "--keypoints", "out.jsonl"], tmp_path)
    assert code == 0, told
    assert "Traceback" not in told
    assert f"{FRAMES} frames, 1 face" in told
    assert ("\x1b[3" in told) == (settings["TERM"] == "none")  # a colour


def in_terminal(columns: int, settings: dict[str, str], args: list[str], cwd: Path) -> tuple[int, str]:
    """Run fkp-track in a terminal of its own; its exit code and what is on the screen."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    others = {name: value for name, value in headless().items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [*FKP_TRACK, *args]
    with subprocess.Popen(
        command, cwd=cwd, env=others | settings, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        told = b"".join(chunks(ours))
    os.close(ours)
    return process.returncode, told.decode()


def chunks(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # what Linux says when the last process has left the terminal
        while chunk := os.read(terminal, 65536):
            yield chunk


# The list


def test_every_test_that_the_list_of_faults_names_exists() -> None:
    here = Path(__file__).parent
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", (here / "FAULTS.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    assert [name for file, name in named if f"def {name}(" not in (here / file).read_text(encoding="utf-8")] == []
