"""`fkp-bench`: the report holds what it promises.  How fast this machine is, is nobody's assertion."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import write_film
from programs import BENCH, run_code

from tracker.api import Tracker
from tracker.backends.weights import DEFAULT_DIR, load
from tracker.bench import speed
from tracker.bench.mediapipe_baseline import Peer, followed_by_peer, open_peer
from tracker.bench.speed import Meter, Settings, in_turn, print_table
from tracker.errors import BackendUnavailable, SourceError, WeightsError
from tracker.options import Options
from tracker.types import Frame

pytestmark = pytest.mark.slow

try:
    import mediapipe
except ImportError:
    mediapipe = None

ONE_PROCESS = f"from tracker.bench import speed; speed.PROCESSES = 1; {BENCH}"
"""A single run of `fkp-track` beside the stages instead of three."""


def run_bench(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_code(ONE_PROCESS, "fkp-bench", *words)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """One short run on the demo's synthetic camera."""
    done = run_bench("--frames", "30", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_says_how_fast_how_heavy_on_what_and_with_what(report: dict[str, Any]) -> None:
    assert set(report) == {
        *("frame_to_keypoints_ms", "stages_ms", "cpu_s_per_frame", "film_fps", "startup_s", "peak_mb"),
        *("machine", "settings"),
    }
    assert report["settings"]["weights_sha256"] == load().sha256
    assert report["settings"]["threads"] == 1
    assert report["settings"]["faces_per_frame"] == 1


def test_every_stage_has_its_percentiles_in_order(report: dict[str, Any]) -> None:
    stages = report["stages_ms"]
    assert list(stages) == ["decode", "schedule", "detect", "identify", "crop", "infer", "smooth", "draw", "encode"]
    for percentiles in (report["frame_to_keypoints_ms"], *stages.values()):
        assert 0 <= percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"]


def test_the_stages_between_frame_and_keypoints_do_not_exceed_their_sum(report: dict[str, Any]) -> None:
    """Nothing is counted twice: each stage's own time fits into the whole, which has little beyond them."""
    own = sum(report["stages_ms"][name]["p50"] for name in ("detect", "identify", "crop", "infer", "smooth"))
    assert own <= report["frame_to_keypoints_ms"]["p99"]


def test_film_rate_startup_and_memory_come_from_a_real_process(report: dict[str, Any]) -> None:
    assert report["film_fps"] > 0
    assert 0 < report["startup_s"] < 60
    assert report["peak_mb"] is None or report["peak_mb"] > 10


def test_processor_time_is_told_to_keypoints_and_to_film(report: dict[str, Any]) -> None:
    seconds = report["cpu_s_per_frame"]
    assert 0 < seconds["keypoints"] < 1
    assert seconds["film"] is None or seconds["keypoints"] < seconds["film"] < 1


def test_a_peer_gets_the_same_frames_in_turn_before_and_after_ours() -> None:
    frames = [Frame(np.empty((1, 1, 3), np.uint8), index, index / 30) for index in range(4)]
    order: list[tuple[str, int]] = []
    peer = Peer("another", lambda _image, time: order.append(("theirs", round(30 * time))), lambda: None)
    ours, theirs = Meter(), Meter()
    for frame in in_turn(frames, ours, peer, theirs):
        order.append(("ours", frame.index))
        ours.stop()
    pairs = [("theirs", 0), ("ours", 0), ("ours", 1), ("theirs", 1)]
    assert order == [*pairs, *((who, index + 2) for who, index in pairs)]
    assert len(theirs.wall_s) == len(ours.wall_s) == len(theirs.cpu_s) == len(frames)
    assert all(0 < wall_s < 1 for wall_s in theirs.wall_s)


@pytest.mark.skipif(mediapipe is not None, reason="mediapipe is installed")
@pytest.mark.parametrize("measured", [(), ("--steadiness",), ("--peer-model", "face_landmarker.task")])
def test_a_peer_that_is_not_installed_is_told_with_how_to_get_it(measured: tuple[str, ...]) -> None:
    done = run_bench("--frames", "11", "--peer", "mediapipe", *measured)
    assert done.returncode == 5
    assert "the peer mediapipe cannot be used" in done.stderr
    assert 'pip install "fkp[mediapipe]"' in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--peer-model", "face_landmarker.task"), "--peer-model: is for --peer; add --peer mediapipe"),
        (("--gpu", "talk.mp4"), "--gpu: measures networks only; leave out SOURCE and --steadiness"),
        (("--gpu", "--steadiness"), "--gpu: measures networks only; leave out SOURCE and --steadiness"),
        (("--detect-every", "0"), "'--detect-every': 0 is neither auto nor a number of at least 1"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(words: tuple[str, ...], told: str) -> None:
    done = run_bench(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())


@pytest.mark.skipif(mediapipe is None or hasattr(mediapipe, "solutions"), reason="needs mediapipe without models")
def test_a_peer_without_a_model_asks_for_one() -> None:
    with pytest.raises(
        BackendUnavailable, match=r"includes no landmark model; give --peer-model face_landmarker\.task"
    ):
        open_peer(None)


@pytest.mark.skipif(mediapipe is None, reason="needs the extra `mediapipe`")
def test_what_is_no_model_of_the_peers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(b"no model")
    for path in (tmp_path / "face_landmarker.task", tmp_path / "missing.task"):
        with pytest.raises(WeightsError, match=rf"cannot load .*{path.name}.*give MediaPipe's face_landmarker\.task"):
            open_peer(path)


@pytest.mark.skipif(not hasattr(mediapipe, "solutions"), reason="needs mediapipe 0.10.21 or older")
def test_the_peers_points_lie_where_ours_do(portrait: np.ndarray) -> None:
    """Conventions differ by up to a sixth of the distance between the eyes (the brows)."""
    (theirs,) = followed_by_peer([Frame(portrait, 0, 0.0)], None)
    with Tracker() as tracker:
        ours = tracker.image(portrait)
    apart = np.hypot(*(theirs.keypoints - ours.keypoints)[0].T)
    assert apart.max() < 42 / 6
    (empty,) = followed_by_peer([Frame(np.zeros_like(portrait), 0, 0.0)], None)
    assert empty.faces == ()


def test_what_is_measured_is_what_was_asked_for() -> None:
    tracked = ["--detector", "yunet", "--detect-every", "2", "--weights", str(DEFAULT_DIR)]
    runtime = ["--backend", "cpu", "--precision", "fp16", "--device", "0", "--no-cache"]  # of a GPU, so nothing changes
    done = run_bench("--frames", "12", "--threads", "2", *tracked, *runtime, "--json")
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    assert {"frames": 12, "threads": 2, "detect_every": 2}.items() <= settings.items()
    assert run_bench("--weights", "nowhere.onnx").returncode == WeightsError.exit_code


def test_the_table_shows_every_stage(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_table(report)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("frame to keypoints", *report["stages_ms"], "frames/s", "MB"))


def test_frames_too_large_to_keep_enough_of_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "FRAMES_BYTES", 10 * 640 * 480 * 3)
    demo = Settings(source=None, frames=100, options=Options())
    with pytest.raises(SourceError, match=r"640x480, and 10 such frames .* smaller film"):
        speed.read(demo)


def test_a_film_too_short_to_time_is_refused(portrait: np.ndarray, tmp_path: Path) -> None:
    film = write_film(tmp_path / "short.mp4", [portrait] * 5)
    done = run_bench(film)
    assert done.returncode == 3
    (message,) = done.stderr.splitlines()
    assert message.startswith("fkp-bench: ")
    assert "5 frames" in message
