"""The way of a frame over the GPU: staged, uploaded, cut, answered and downloaded as the processor would have it.

Without a GPU a stand-in driver (tests/standin) does on the processor what it is told, and torch stands where the engine
would (tests/gpu/path.py): our own part is tested, every call of the driver included.  tests/gpu/prove.py does the same
on a real GPU.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROVE = Path(__file__).with_name("gpu") / "prove.py"
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


NOT_ON_A_BARE_GPU_MACHINE = (
    *("av", "onnxruntime", "typer", "rich", "safetensors", "pandas", "skimage", "onnxscript", "pyarrow", "ray"),
    *("mediapipe", "cuda", "tensorrt", "tensorrt_rtx", "starlette", "rerun"),
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine that has torch, NumPy, onnx, OpenCV and pytest."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch, in the extra `test-all`")
    folder = tmp_path_factory.mktemp("bare")
    for module in NOT_ON_A_BARE_GPU_MACHINE:
        (folder / f"{module}.py").write_text(f"raise ImportError('{module} is not here')")
    return os.environ | {"PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "-p no:cacheprovider"}


@pytest.fixture(scope="module")
def outcome(
    stand_in_driver: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, bare: dict[str, str]
) -> dict[str, Any]:
    """What the checks measured, in a process that takes the stand-in for its driver."""
    report = tmp_path_factory.mktemp("path") / "path.json"
    command = [sys.executable, Path(__file__).with_name("gpu") / "path.py", report]
    environment = bare | {"LD_LIBRARY_PATH": str(stand_in_driver())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert report.exists(), done.stderr
    return json.loads(report.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_the_path_of_a_frame(outcome: dict[str, Any], check: str) -> None:
    assert check not in outcome["failed"], outcome["failed"][check]
    assert check in outcome


@pytest.mark.slow
def test_every_check_is_listed_here(outcome: dict[str, Any]) -> None:
    assert set(outcome["seconds"]) == set(CHECKS)


@pytest.mark.slow
def test_a_lost_gpu_is_told_with_what_to_do(outcome: dict[str, Any]) -> None:
    said = outcome["a_lost_gpu_is_closed_and_the_processor_goes_on"]
    assert said["auto"].endswith("; continuing with the processor")
    assert "unspecified launch failure (CUDA error 719)" in said["by name"]
    assert said["by name"].endswith("--backend auto would continue on the processor")


@pytest.fixture(scope="module")
def prove() -> ModuleType:
    """tests/gpu/prove.py"""
    spec = importlib.util.spec_from_file_location("prove", PROVE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(**changes: Any) -> dict[str, Any]:
    """What a proof on a GPU says where all is well."""
    well = {
        "gpu": "Card",
        "not run on a GPU": None,
        "system": "",
        "packages": {},
        "path": {"nothing_stays_behind": [0], "failed": {}},
        "runtimes": {"tensorrt fp32": {"refused": "no"}, "cpu fp32": {"backend": "x"}, "cuda fp32": {"backend": "y"}},
        "training": {"bfloat16": True},
    }
    return well | changes


def test_with_a_gpu_the_proof_fails_unless_a_runtime_ran_on_it(prove: ModuleType) -> None:
    assert prove.failures(said()) == {}
    assert prove.ran_on_gpu(said()) == ["cuda fp32", "torch in place of the engine"]
    refused = {"tensorrt fp32": {"refused": "no"}, "cpu fp32": {"backend": "x"}}
    assert prove.failures(said(runtimes=refused)) == {}
    nothing = said(runtimes=refused, path={"failed": {}})
    assert prove.failures(nothing) == {"runtimes": "there is a GPU, but no runtime ran on it"}
    assert "| FAILED: runtimes | there is a GPU" in prove.table(nothing)


def test_without_a_gpu_the_proof_says_first_that_nothing_ran_on_one(prove: ModuleType) -> None:
    told = prove.table(said(gpu=None, **{"not run on a GPU": "no NVIDIA driver here"}))
    assert told.startswith("**NOT RUN ON A GPU** (no NVIDIA driver here)")
    assert "| ran on a GPU | nothing |" in told


def test_a_failed_check_fails_the_proof_and_is_in_its_table(prove: ModuleType) -> None:
    failed = said(path={"failed": {"room": "Traceback ...\nAssertionError: 3"}})
    assert list(prove.failures(failed)) == ["room"]
    assert "| FAILED: room | AssertionError: 3 |" in prove.table(failed)


@pytest.mark.slow
def test_the_training_of_the_proof_needs_no_more_than_a_bare_machine(bare: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra test-all")
    command = [sys.executable, PROVE, "--part", "training", "--out", tmp_path / "training.json"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "training.json").read_text())
    assert told["loss"][1] < told["loss"][0]


@pytest.mark.slow
def test_the_tests_for_gpus_are_collected_on_a_bare_machine(bare: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "gpu", PROVE.parent]
    done = subprocess.run(command, env=bare, cwd=PROVE.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "test_prove.py::test_everything_that_a_gpu_can_show" in done.stdout
