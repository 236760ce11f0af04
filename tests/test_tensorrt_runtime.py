"""The way of a frame over the GPU: staged, uploaded, cut, answered and downloaded as the processor would have it.

Without a GPU a stand-in driver (tests/standin) does on the processor what it is told, and torch stands where the engine
would (tests/gpu/path.py): our own part is tested, every call of the driver included.  tests/gpu/prove.py does the same
on a real GPU.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKS = (
    "crops_are_the_processors",
    "any_number_of_faces_in_any_frame",
    "every_batch_is_one_graph",
    "room_grows_and_shrinks",
    "two_trackers_and_other_threads",
    "nothing_stays_behind",
    "frame_to_keypoints_us",
    "a_lost_gpu_is_closed_and_the_processor_goes_on",
)


@pytest.fixture(scope="module")
def outcome(stand_in_driver: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the checks measured, in a process that takes the stand-in for its driver."""
    report = tmp_path_factory.mktemp("path") / "path.json"
    command = [sys.executable, Path(__file__).with_name("gpu") / "path.py", report]
    environment = os.environ | {"LD_LIBRARY_PATH": str(stand_in_driver())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert report.exists(), done.stderr
    return json.loads(report.read_text())


@pytest.mark.parametrize("check", CHECKS)
def test_the_path_of_a_frame(outcome: dict[str, Any], check: str) -> None:
    assert check not in outcome["failed"], outcome["failed"][check]
    assert check in outcome


def test_every_check_is_listed_here(outcome: dict[str, Any]) -> None:
    assert set(outcome["seconds"]) == set(CHECKS)


def test_a_lost_gpu_is_told_with_what_to_do(outcome: dict[str, Any]) -> None:
    said = outcome["a_lost_gpu_is_closed_and_the_processor_goes_on"]
    assert said["auto"].endswith("; going on with the processor")
    assert "unspecified launch failure (CUDA error 719)" in said["by name"]
    assert said["by name"].endswith("--backend auto would go on with the processor")
