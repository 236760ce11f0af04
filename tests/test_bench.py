"""`fkp-bench`: the report holds what it promises.  How fast this machine is, is nobody's assertion."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.bench import print_table
from tracker.weights import load

FKP_BENCH = (sys.executable, "-m", "tracker.bench")


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """One short run on the demo's synthetic camera."""
    command = [*FKP_BENCH, "--frames", "30", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_says_how_fast_how_heavy_on_what_and_with_what(report: dict[str, Any]) -> None:
    assert set(report) == {
        *("frame_to_keypoints_ms", "stages_ms", "film_fps", "startup_s", "peak_mb", "machine", "settings")
    }
    assert report["settings"]["weights_sha256"] == load().sha256
    assert report["settings"]["threads"] == 1
    assert report["settings"]["faces_per_frame"] == 1


def test_every_stage_has_its_percentiles_in_order(report: dict[str, Any]) -> None:
    stages = report["stages_ms"]
    assert list(stages) == ["decode", "detect", "identify", "crop", "infer", "smooth", "draw", "encode"]
    for percentiles in (report["frame_to_keypoints_ms"], *stages.values()):
        assert 0 < percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"]


def test_the_stages_between_frame_and_keypoints_do_not_exceed_their_sum(report: dict[str, Any]) -> None:
    """Nothing is counted twice: each stage's own time fits into the whole, which has little beyond them."""
    own = sum(report["stages_ms"][name]["p50"] for name in ("detect", "identify", "crop", "infer", "smooth"))
    assert own <= report["frame_to_keypoints_ms"]["p99"]


def test_film_rate_startup_and_memory_come_from_a_real_process(report: dict[str, Any]) -> None:
    assert report["film_fps"] > 0
    assert 0 < report["startup_s"] < 60
    assert report["peak_mb"] is None or report["peak_mb"] > 10


def test_the_table_shows_every_stage(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_table(report)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("frame to keypoints", *report["stages_ms"], "frames/s", "MB"))


def test_a_film_too_short_to_time_is_refused(
    portrait: np.ndarray, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    film = make_film(tmp_path / "short.mp4", [portrait] * 5)
    done = subprocess.run([*FKP_BENCH, str(film)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    (message,) = done.stderr.splitlines()
    assert message.startswith("fkp-bench: ")
    assert "5 frames" in message
