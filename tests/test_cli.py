"""`fkp-track` from outside, as a person or a script meets it: processes, files, exit codes, messages."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import av
import cv2
import numpy as np
import pytest
from films import write_film
from programs import FKP_TRACK, TRACK, fkp_track, headless, run_code, wait_until

from tracker import __version__
from tracker.app.progress import FIRST_KEYPOINTS
from tracker.backends.settings import Settings
from tracker.backends.weights import DEFAULT_DIR, load
from tracker.commands.track import WRITTEN_FILMS
from tracker.core.privacy import UPSCALING
from tracker.detectors import registry as detectors
from tracker.options import ApiName, Privacy
from tracker.sinks.film import FORMATS
from tracker.sources.camera import APIS
from tracker.spec import INDEX, KEYPOINTS, MIRROR

SECONDS, RATE = 1, 25
LONG_FRAMES = 1500
EYES_PX = {"left_eye_center": (123, 52), "right_eye_center": (101, 50)}
"""In the first frame of `film`."""


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def length_s(path: Path, kind: str) -> float:
    """How long the first stream of this kind plays: the end of its last packet."""
    with av.open(str(path)) as container:
        (stream,) = getattr(container.streams, kind)
        ends = [(p.pts + p.duration) * p.time_base for p in container.demux(stream) if p.pts is not None]
        return float(max(ends))


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_film_becomes_a_film_with_its_sound_and_a_line_of_keypoints_per_frame(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "--out", "out.mp4", "--keypoints", "out.jsonl", "--keypoints", "out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "backend onnxruntime" in done.stderr
    assert re.search("25 frames, 1 face, .*out.jsonl", done.stderr.splitlines()[-1])
    assert frame_count(tmp_path / "out.mp4") == SECONDS * RATE
    assert length_s(tmp_path / "out.mp4", "video") == pytest.approx(length_s(film, "video"), abs=1 / RATE)
    assert length_s(tmp_path / "out.mp4", "audio") == pytest.approx(length_s(film, "audio"), abs=1 / RATE)
    header, *frames = records(tmp_path / "out.jsonl")
    assert header["keypoints"] == list(KEYPOINTS)
    assert (header["width"], header["height"], header["weights_sha256"]) == (256, 256, load().sha256)
    assert [frame["frame"] for frame in frames] == list(range(SECONDS * RATE))
    assert [[face["id"] for face in frame["faces"]] for frame in frames] == [[0]] * (SECONDS * RATE)
    points = np.array(frames[0]["faces"][0]["points"])
    for name, truth in EYES_PX.items():
        assert points[INDEX[name]] == pytest.approx(truth, abs=4), name
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + sum(len(frame["faces"]) for frame in frames)


@pytest.mark.slow
def test_a_film_becomes_the_same_file_whether_smoothing_without_lag_is_asked_for_or_not(
    film: Path, tmp_path: Path
) -> None:
    lines = {}
    for name, args in {"default": [], "offline": ["--smooth", "offline"], "off": ["--no-smooth"]}.items():
        assert fkp_track(film, "--keypoints", f"{name}.jsonl", *args, cwd=tmp_path).returncode == 0
        lines[name] = records(tmp_path / f"{name}.jsonl")
    assert lines["default"] == lines["offline"] != lines["off"]
    assert [line.get("time") for line in lines["default"]] == [line.get("time") for line in lines["off"]]


@pytest.mark.slow
def test_points_that_lead_are_where_the_face_will_be(portrait: np.ndarray, tmp_path: Path) -> None:
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    write_film(tmp_path / "pan.mp4", (np.roll(small, 2 * index, axis=1) for index in range(20)), rate=RATE)
    last = {}
    for lead in ("0", "80"):  # ms, two frames
        args = ["--smooth", "live", "--lead", lead, "--keypoints", f"{lead}.jsonl"]
        assert fkp_track("pan.mp4", *args, cwd=tmp_path).returncode == 0
        last[lead] = np.array(records(tmp_path / f"{lead}.jsonl")[-1]["faces"][0]["points"])
    assert np.median(last["80"] - last["0"], axis=0) == pytest.approx((4, 0), abs=0.8)


@pytest.mark.slow
def test_a_narrower_field_of_view_puts_the_same_head_further_away(portrait: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), portrait)
    away = {}
    for fov in ("65", "30"):
        assert fkp_track("face.png", "--fov", fov, "--keypoints", f"{fov}.jsonl", cwd=tmp_path).returncode == 0
        header, line = records(tmp_path / f"{fov}.jsonl")
        assert header["fov_deg"] == float(fov)
        away[fov] = line["faces"][0]["pose"]["z"]
    assert away["30"] == pytest.approx(away["65"] * np.tan(np.radians(32.5)) / np.tan(np.radians(15)), rel=0.1)


@pytest.mark.slow
def test_a_larger_picture_for_the_detector_shows_smaller_faces(portrait: np.ndarray, tmp_path: Path) -> None:
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[200:290, 300:390] = cv2.resize(portrait, (90, 90), interpolation=cv2.INTER_AREA)  # 7 px between the eyes
    cv2.imwrite(str(tmp_path / "far.png"), frame)
    for size, faces in (("320", 0), ("640", 1)):
        args = ["--detector", "yunet", "--detect-size", size, "--keypoints", f"{size}.jsonl"]
        assert fkp_track("far.png", *args, cwd=tmp_path).returncode == 0
        header, line = records(tmp_path / f"{size}.jsonl")
        assert (header["detector"].split()[-1], len(line["faces"])) == (size, faces)


STAND_IN = """
from tracker.backends import registry as backends
from tracker.commands import track
from tracker.errors import BackendUnavailable

def tell(weights, settings):
    raise BackendUnavailable(repr(settings), "")

backends.BACKENDS["cuda"] = backends.Row(tell, gpu=True)
track.main()
"""


def test_what_is_said_of_the_machine_reaches_the_runtime(portrait: np.ndarray, tmp_path: Path) -> None:
    """One for GPUs, which here can do no more than tell what it was asked for."""
    cv2.imwrite(str(tmp_path / "face.png"), portrait)
    asked = ["--backend", "cuda", "--precision", "fp16", "--no-cache", "--threads", "3", "--device", "1"]
    done = run_code(STAND_IN, "fkp-track", "face.png", "--no-show", *asked, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert repr(Settings(threads=3, precision="fp16", device=1, keep=False)) in done.stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert fkp_track("--version", cwd=tmp_path).stdout == f"fkp {__version__}\n"


@pytest.mark.slow
def test_a_folder_of_pictures_becomes_a_folder_of_pictures(portrait: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one.png", "two.png"):
        cv2.imwrite(str(tmp_path / "in" / name), portrait)
    (tmp_path / "in" / "zero.png").write_bytes(b"")
    done = fkp_track("in", "--out", "out", "--keypoints", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search("2 frames, 2 faces, .*, 1 corrupt skipped", done.stderr.splitlines()[-1])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.png"]
    _, *lines = records(tmp_path / "out.jsonl")
    assert [(line["image"], len(line["faces"])) for line in lines] == [("one.png", 1), ("two.png", 1)]


@pytest.mark.slow
def test_styles_uncertainty_and_axes_change_the_picture_alone(portrait: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), portrait)
    looks = [[], ["--style", "lines"], ["--show-sigma"], ["--show-pose"]]
    for number, look in enumerate(looks):
        outputs = ["--out", f"{number}.png", "--keypoints", f"{number}.jsonl"]
        assert fkp_track("face.png", *outputs, *look, cwd=tmp_path).returncode == 0
    assert len({cv2.imread(str(tmp_path / f"{number}.png")).tobytes() for number in range(len(looks))}) == len(looks)
    assert len({(tmp_path / f"{number}.jsonl").read_text() for number in range(len(looks))}) == 1


@pytest.mark.slow
def test_no_frame_of_a_blurred_film_shows_a_face_and_its_keypoints_are_the_same(film: Path, tmp_path: Path) -> None:
    for name, privacy in {"bare": (), "blurred": ("--blur",)}.items():
        outputs = ["--out", f"{name}.mp4", "--keypoints", f"{name}.jsonl", "--style", "none"]
        assert fkp_track(film, *outputs, *privacy, cwd=tmp_path).returncode == 0
    _, *bare = records(tmp_path / "bare.jsonl")
    _, *blurred = records(tmp_path / "blurred.jsonl")
    for one, other in zip(bare, blurred, strict=True):  # whose heads are covered is looked for in every frame
        (face,), (covered,) = one["faces"], other["faces"]
        assert covered["id"] == face["id"] == 0
        np.testing.assert_allclose(covered["points"], face["points"], atol=0.1)
    with contextlib.closing(detectors.open_detector("yunet")) as detector:
        found = {
            name: sum(bool(detector(image)) for image in images_of(tmp_path / f"{name}.mp4"))
            for name in ("bare", "blurred")
        }
    assert found == {"bare": SECONDS * RATE, "blurred": 0}


@pytest.mark.slow
def test_a_hidden_film_shows_keypoints_on_black(film: Path, tmp_path: Path) -> None:
    assert fkp_track(film, "--out", "out.mp4", "--hide-video", "--pixelate", cwd=tmp_path).returncode == 2
    assert fkp_track(film, "--out", "out.mp4", "--hide-video", cwd=tmp_path).returncode == 0
    for image in images_of(tmp_path / "out.mp4"):
        assert np.median(image) < 5
        assert image.max() > 100


@pytest.mark.slow
def test_a_mirrored_picture_is_mirrored_in_every_output(portrait: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), portrait)
    lines = {}
    for name, mirror in {"true": (), "mirrored": ("--mirror",)}.items():
        outputs = ["--out", f"{name}.png", "--keypoints", f"{name}.jsonl", "--hide-video", "--style", "dots"]
        assert fkp_track("face.png", *outputs, *mirror, cwd=tmp_path).returncode == 0
        lines[name] = records(tmp_path / f"{name}.jsonl")
    assert [lines[name][0]["mirrored"] for name in lines] == [False, True]
    true, mirrored = (np.array(lines[name][1]["faces"][0]["points"]) for name in lines)
    assert mirrored[list(MIRROR)] * (-1, 1) + (portrait.shape[1] - 1, 0) == pytest.approx(true, abs=2.5)
    dots = {name: np.argwhere(cv2.imread(str(tmp_path / f"{name}.png")).any(-1))[:, 1] for name in lines}
    assert dots["mirrored"].mean() == pytest.approx(portrait.shape[1] - 1 - dots["true"].mean(), abs=2)


def images_of(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


@pytest.mark.slow
def test_the_demo_without_a_display_writes_a_film_and_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "fkp-demo.mp4").write_bytes(b"dear to me")
    second = "import tracker.sources.demo as demo; demo.SECONDS = 1.0"
    done = run_code(f"{second}; {TRACK}", "fkp-track", "--demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fkp-demo-2.mp4" in done.stderr
    assert frame_count(tmp_path / "fkp-demo-2.mp4") == 30
    assert (tmp_path / "fkp-demo.mp4").read_bytes() == b"dear to me"


@pytest.mark.slow
def test_auto_says_in_one_line_why_other_runtimes_were_not_used(film: Path, tmp_path: Path) -> None:
    plain, verbose = (fkp_track(film, "--no-show", *more, cwd=tmp_path).stderr for more in ((), ("-v",)))
    if "backend onnxruntime-cpu" in verbose:
        (reasons,) = (line for line in verbose.splitlines() if "not used: " in line)
        assert "tensorrt" in reasons
        assert "cuda: " in reasons
        assert ("not used: " in plain) == ("no NVIDIA driver here" not in reasons)  # without one nobody wonders


def missing(_: Path) -> list[str]:
    return ["missing.mp4", "--no-show"]


def folder_without_pictures(here: Path) -> list[str]:
    (here / "empty").mkdir()
    return ["empty", "--no-show"]


def text_named_mp4(here: Path) -> list[str]:
    (here / "text.mp4").write_text("this is no film\n" * 100)
    return ["text.mp4", "--no-show"]


def half_a_film(here: Path) -> list[str]:
    whole = (here / "face.mp4").read_bytes()
    (here / "half.mp4").write_bytes(whole[: len(whole) // 2])
    return ["half.mp4", "--out", "out.mp4"]


def no_such_camera(_: Path) -> list[str]:
    return ["--camera", "97", "--no-show"]


def no_folder_for_the_film(_: Path) -> list[str]:
    return ["face.mp4", "--out", "nowhere/out.mp4"]


def a_file_as_folder(here: Path) -> list[str]:
    (here / "file").write_text("x")
    return ["face.mp4", "--keypoints", "file/out.jsonl"]


def no_window_without_a_display(_: Path) -> list[str]:
    return ["face.mp4", "--show"]


def weights_altered(here: Path) -> list[str]:
    for name in ("fkp.onnx", "fkp.json"):
        shutil.copy(DEFAULT_DIR / name, here / name)
    with (here / "fkp.onnx").open("ab") as file:
        file.write(b"\0")
    return ["face.mp4", "--no-show", "--weights", "."]


def weights_missing(_: Path) -> list[str]:
    return ["face.mp4", "--no-show", "--weights", "nowhere.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "code", "says"),
    [
        (missing, 3, "missing.mp4"),
        (folder_without_pictures, 3, "empty"),
        (text_named_mp4, 3, "text.mp4"),
        (half_a_film, 3, "half.mp4"),
        (no_such_camera, 3, "camera 97"),
        (weights_altered, 4, "sha256"),
        (weights_missing, 4, "nowhere.onnx"),
        (no_folder_for_the_film, 6, "nowhere"),
        (a_file_as_folder, 6, "out.jsonl"),
        (no_window_without_a_display, 6, "window"),
    ],
)
def test_a_failure_is_one_message_with_its_exit_code(
    prepare: Callable[[Path], list[str]], code: int, says: str, film: Path, tmp_path: Path
) -> None:
    shutil.copy(film, tmp_path / "face.mp4")
    args = prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = fkp_track(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (message,) = done.stderr.splitlines()
    assert message.startswith("fkp-track: ")
    assert says in message
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.mp4", "out.jsonl", "out.csv"])
def test_an_existing_output_is_untouched_unless_overwriting_is_asked_for(name: str, film: Path, tmp_path: Path) -> None:
    option = "--out" if name.endswith(".mp4") else "--keypoints"
    (tmp_path / name).write_bytes(b"dear to me")
    done = fkp_track(film, option, name, cwd=tmp_path)
    assert done.returncode == 6
    assert "--overwrite" in done.stderr
    assert (tmp_path / name).read_bytes() == b"dear to me"
    assert fkp_track(film, option, name, "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / name).stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("refused", [("--out", "out.mp4"), ("--keypoints", "nowhere/out.csv")])
def test_one_refused_output_leaves_nothing_of_the_others(refused: tuple[str, str], film: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"dear to me")
    done = fkp_track(film, "--keypoints", "out.jsonl", *refused, cwd=tmp_path)
    assert done.returncode == 6
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        ("--no-such-option",),
        ("face.mp4", "--demo"),
        ("face.mp4", "--camera", "0"),
        ("face.mp4", "--keypoints", "out.txt"),
        ("face.mp4", "--keypoints", "out.csv", "--keypoints", "./out.csv"),
        ("face.mp4", "--out", "face.mp4", "--overwrite"),
        ("face.mp4", "--keypoints", "face.mp4", "--format", "csv", "--overwrite"),
        ("face.mp4", "--detect-every", "0"),
        ("face.mp4", "--detect-every", "often"),
        ("face.mp4", "--smooth", "much"),
        ("face.mp4", "--backend", "abacus"),
        ("face.mp4", "--style", "nice"),
        ("face.mp4", "--width", "640"),
        ("--demo", "--backend-api", "v4l2"),
        ("--backend-api", "telepathy"),
        ("--fps", "0"),
        ("face.mp4", "--blur", "--pixelate"),
        ("face.mp4", "--blur", "--detect-every", "auto"),
        ("face.mp4", "--lead", "20", "--keypoints", "out.csv"),
        ("face.mp4", "--lead", "20", "--smooth", "off"),
    ],
)
def test_a_wrong_command_line_exits_with_2_before_anything_is_done(args: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "face.mp4").write_bytes(b"dear to me")
    done = fkp_track(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("face.mp4", b"dear to me")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--keypoints", "a.csv", "--keypoints", "a.csv"), "two outputs are a.csv; give each its own name"),
        (("--rerun", "A.rrd", "--keypoints", "a.rrd", "--format", "csv"), "a.rrd and A.rrd are the same to some file"),
    ],
)
def test_outputs_of_one_name_are_named(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = fkp_track("--demo", *words, cwd=tmp_path)
    assert (done.returncode, says in " ".join(done.stderr.split())) == (2, True), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_outputs_that_can_be_used(
    number: signal.Signals, code: int, long_film: Path, tmp_path: Path
) -> None:
    command = [*FKP_TRACK, str(long_film), "-v", "--out", "out.mp4", "--keypoints", "out.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, env=headless(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = ""
        while FIRST_KEYPOINTS not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
        process.send_signal(number)
        log += process.stderr.read()
        process.wait(timeout=30)
    assert process.returncode == code, log
    assert "Traceback" not in log
    assert 1 <= frame_count(tmp_path / "out.mp4") < LONG_FRAMES
    header, *lines = records(tmp_path / "out.jsonl")
    assert header["fkp"] == 1
    assert 1 <= len(lines) < LONG_FRAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.mp4"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_a_killed_run_leaves_can_be_used_until_the_same_command_replaces_it(
    long_film: Path, film: Path, tmp_path: Path
) -> None:
    shutil.copy(long_film, tmp_path / "in.mp4")
    command = [*FKP_TRACK, "in.mp4", "--out", "out.mp4", "--keypoints", "out.jsonl", "--smooth", "live"]
    with subprocess.Popen(command, cwd=tmp_path, env=headless(), stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: any(len(records(path)) > 5 * RATE for path in tmp_path.glob("out.partial-*.jsonl")))
        process.kill()
    assert frame_count(next(tmp_path.glob("out.partial-*.mp4"))) > RATE
    header, *lines = records(next(tmp_path.glob("out.partial-*.jsonl")))
    assert header["fkp"] == 1
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    shutil.copy(film, tmp_path / "in.mp4")
    assert subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, check=False).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.jsonl", "out.mp4"]


@pytest.mark.slow
def test_tracking_works_where_there_is_no_network_at_all(film: Path, tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare and the right to use it")
    command = [*alone, *FKP_TRACK, str(film), "--keypoints", "out.jsonl"]
    subprocess.run(command, cwd=tmp_path, env=headless(), check=True, timeout=60)
    assert len(records(tmp_path / "out.jsonl")) == 1 + SECONDS * RATE


def test_the_doctor_finds_everything_that_tracking_needs(tmp_path: Path) -> None:
    done = fkp_track("--doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for topic in (
        "weights",
        "backend cpu",
        "detector yunet",
        "encoders",
        "display",
        "libraries",
        "model card",
        "camera",
    ):
        assert topic in done.stdout
    assert "FAIL" not in done.stdout
    assert "libx264" in next(line for line in done.stdout.splitlines() if "encoders" in line)
    for line in done.stdout.splitlines():
        assert line.startswith("ok ") or ";" in line  # what it is, then what to do


def test_cameras_are_listed_on_stdout_or_their_absence_on_stderr(tmp_path: Path) -> None:
    pytest.importorskip("cv2_enumerate_cameras")
    done = fkp_track("--list-cameras", cwd=tmp_path)
    assert done.returncode == 0
    assert bool(done.stdout) != ("no camera found" in done.stderr)


@pytest.mark.slow
def test_wishes_reach_the_camera(tmp_path: Path) -> None:
    done = fkp_track("--camera", "97", *["--width", "640", "--height", "480", "--fps", "30", "--no-show"], cwd=tmp_path)
    assert (done.returncode, "camera 97" in done.stderr) == (3, True)
    lacking = "msmf" if sys.platform == "linux" else "v4l2"
    done = fkp_track("--backend-api", lacking, "--no-show", cwd=tmp_path)
    assert (done.returncode, lacking in done.stderr) == (3, True)


def test_the_choices_of_the_command_line_are_those_that_exist() -> None:
    assert get_args(ApiName) == tuple(APIS)
    assert set(WRITTEN_FILMS) == set(FORMATS)
    assert {way for way in get_args(Privacy) if way != "hide"} == set(UPSCALING)


# What people type and mean


def test_a_second_film_that_does_not_exist_was_meant_as_an_output(film: Path, tmp_path: Path) -> None:
    for name, option in (("out.mp4", "--out"), ("points.csv", "--keypoints")):
        done = fkp_track(film, name, cwd=tmp_path)
        assert done.returncode == 2
        assert f"{name} does not exist; to write it: {option} {name}" in " ".join(done.stderr.split())


def test_a_number_was_meant_as_a_camera(tmp_path: Path) -> None:
    done = fkp_track("0", cwd=tmp_path)
    assert done.returncode == 2
    assert "0 is no file; camera 0 is --camera 0" in done.stderr


def test_the_short_word_for_an_output_is_understood(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "-o", "x.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.mp4").exists()


def test_nothing_is_written_to_the_null_device(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "--keypoints", os.devnull, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_keypoints_flow_into_a_named_pipe(film: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        done = fkp_track(film, "--keypoints", "pipe", "--format", "csv", cwd=tmp_path)
        told, _ = reader.communicate()
    assert done.returncode == 0, done.stderr
    assert told.startswith("frame,time,face,score")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_that_one_film_makes_is_named(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "out becomes a folder for annotated films; a name that ends in .mp4 is one film" in done.stderr


@pytest.mark.parametrize("letter", ["a", "ü"])
def test_names_may_be_as_long_as_the_file_system_allows(film: Path, tmp_path: Path, letter: str) -> None:
    stem = letter * ((255 - len(".jsonl")) // len(letter.encode()))
    done = fkp_track(film, "--keypoints", f"{stem}.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.jsonl"]
    done = fkp_track(film, "--keypoints", f"{stem}xx.jsonl", cwd=tmp_path)
    assert done.returncode == 6
    assert "more than 255 bytes" in done.stderr


@pytest.mark.parametrize("module", ["rich.console", "numpy.random", "multiprocessing"])
def test_one_film_starts_without_what_only_batches_bars_and_the_demo_need(film: Path, tmp_path: Path, module: str):
    """Together they take 60 ms and 6 MB."""
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv[0] = 'fkp-track'; {TRACK}"
    command = [sys.executable, "-c", code, str(film), "--keypoints", "x.jsonl"]
    subprocess.run(command, cwd=tmp_path, env=headless(), check=True, timeout=100)
