"""Whether TensorRT may be touched: asked of a real library in a process of its own, and never the end of that process.

Other machines than this one are played by tests/standin/libcuda.cpp.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from programs import BENCH, TRACK, run_code

from tracker.sources.synthetic import astronaut

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiles a stand-in for libcuda.so.1")

ASK = """
from tracker.backends.tensorrt.guard import find_gpu
from tracker.errors import BackendUnavailable
try:
    print(find_gpu())
except BackendUnavailable as refusal:
    print(refusal)
"""


def found(libraries: Path) -> str:
    """Code that finds the driver there."""
    return f"import ctypes; ctypes.CDLL({str(libraries / 'libcuda.so.1')!r})\n"


def answer(libraries: Path | None = None) -> str:
    """What the guard says in a new process that finds its driver there."""
    done = run_code((found(libraries) if libraries else "") + ASK, "guard")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_driver() -> bool:
    return "no NVIDIA driver" not in answer()


@pytest.mark.slow
def test_a_gpu_in_order_is_described(stand_in_driver: Callable[..., Path]) -> None:
    assert answer(stand_in_driver()) == "Gpu(name='Card', capability=(8, 9), cuda=(13, 0))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"INIT": 100}, "cuInit fails: no CUDA-capable device is detected (CUDA error 100)); check nvidia-smi"),
        (
            {"VERSION": 11080},
            "the NVIDIA driver supports CUDA 11.8, fkp needs 12.0 or newer; install driver 525 or newer",
        ),
        ({"COUNT": 0}, "the NVIDIA driver shows no GPU, not number 0; check --device, nvidia-smi and CUDA_VISIBLE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_whatever_is_missing_is_named_with_what_to_do(
    stand_in_driver: Callable[..., Path], wrong: dict[str, int], said: str
) -> None:
    assert said in answer(stand_in_driver(**wrong))


def test_without_a_driver_there_is_one_message() -> None:
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    assert answer() == (
        "no NVIDIA driver here (libcuda.so.1: cannot open shared object file: No such file or directory); "
        "a GPU needs one; --backend cpu needs none"
    )


def test_a_library_that_is_no_driver_is_no_driver(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"")
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert "no NVIDIA driver here" in done.stdout


def fkp_track(before: str, libraries: Path | None, folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """The program on one picture, in a process that has run `before`."""
    cv2.imwrite(str(folder / "face.png"), astronaut().image)
    code = f"import sys\n{before}\n{found(libraries) if libraries else ''}{TRACK}"
    words = ("face.png", "--keypoints", "face.jsonl", *args)
    return run_code(code, "fkp-track", *words, cwd=folder, XDG_CACHE_HOME=str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_asked_for_by_name_without_a_driver_it_is_one_message_and_exit_5(tmp_path: Path, backend: str) -> None:
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    done = fkp_track("", None, tmp_path, "--backend", backend)
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        "fkp-track: no NVIDIA driver here (libcuda.so.1: cannot open shared object file: No such file or directory); "
        "a GPU needs one; --backend cpu needs none"
    ]
    assert not (tmp_path / "face.jsonl").exists()


WITHOUT = "sys.modules['tensorrt'] = sys.modules[{missing!r}] = None; sys.path.insert(0, {folder!r})"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tensorrt_rtx", "tensorrt: tensorrt is not installed; tensorrt-rtx: tensorrt-rtx is not installed; cuda: "),
        ("tensorrt_rtx_libs", "tensorrt-rtx: tensorrt-rtx is installed but does not load ("),
    ],
)
def test_auto_tracks_on_the_cpu_and_says_why_where_packages_are_not_whole(
    stand_in_driver: Callable[..., Path], tmp_path: Path, missing: str, said: str
) -> None:
    """With a driver, but with nothing of TensorRT or its Python part alone."""
    if missing == "tensorrt_rtx_libs":
        rtx = pytest.importorskip("tensorrt_rtx", reason="needs the extra `rtx`")
        for part in ("tensorrt_rtx", "tensorrt_rtx_bindings"):  # out of reach of the libraries beside them
            shutil.copytree(Path(rtx.__file__).parents[1] / part, tmp_path / part)
    before = WITHOUT.format(missing=missing, folder=str(tmp_path))
    done = fkp_track(before, stand_in_driver(), tmp_path, "--backend", "auto")
    assert done.returncode == 0, done.stderr
    reasons, winner, *_ = done.stderr.splitlines()
    assert said in reasons
    assert winner.startswith("fkp-track: backend onnxruntime-cpu")
    assert len((tmp_path / "face.jsonl").read_text().splitlines()) == 2


def package(folder: Path, name: str, content: str) -> str:
    """Code that makes `content` the installed package `name`."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(content)
    return f"import sys; sys.path.insert(0, {str(folder)!r})"


RTX = """
import enum
__version__ = "1.7"
ComputeCapability = enum.Enum("ComputeCapability", "NONE CURRENT SM75 SM80 SM86 SM89 SM120 SM121")
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [(7, 5), (10, 0)])  # one that is too old though it is listed, and a new one
def test_a_gpu_that_tensorrt_rtx_does_not_know_is_refused_by_name(
    stand_in_driver: Callable[..., Path], tmp_path: Path, capability: tuple[int, int]
) -> None:
    before, libraries = (
        package(tmp_path, "tensorrt_rtx", RTX),
        stand_in_driver(MAJOR=capability[0], MINOR=capability[1]),
    )
    done = fkp_track(before, libraries, tmp_path, "--backend", "tensorrt-rtx")
    assert (done.returncode, done.stderr.splitlines()) == (
        5,
        [
            f"fkp-track: Card has compute capability {capability[0]}.{capability[1]}, tensorrt-rtx 1.7 runs on "
            "8.0, 8.6, 8.9, 12.0, 12.1; --backend auto takes what runs here"
        ],
    )


@pytest.mark.slow
def test_a_package_for_a_newer_cuda_names_the_driver_and_the_other_package(
    stand_in_driver: Callable[..., Path], tmp_path: Path
) -> None:
    before = package(tmp_path, "tensorrt", "__version__ = '11.4'")
    (tmp_path / "tensorrt_cu13-11.4.dist-info").mkdir()
    (tmp_path / "tensorrt_cu13-11.4.dist-info" / "METADATA").write_text("Name: tensorrt_cu13\nVersion: 11.4\n")
    done = fkp_track(before, stand_in_driver(VERSION=12080), tmp_path, "--backend", "tensorrt")
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        "fkp-track: the NVIDIA driver supports CUDA 12.8, tensorrt needs 13.0 or newer; "
        "install driver 580 or newer, or tensorrt_cu12; --backend cpu needs none"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "class ILogger: pass", "ILogger = 1"], ids=["nothing", "older", "other"])
def test_auto_goes_on_where_tensorrt_has_another_interface(
    stand_in_driver: Callable[..., Path], tmp_path: Path, content: str
) -> None:
    before = package(tmp_path, "tensorrt", f"__version__ = '99.0'\n{content}")
    done = fkp_track(before, stand_in_driver(), tmp_path, "--backend", "auto")
    assert done.returncode == 0, done.stderr
    assert "tensorrt: tensorrt 99.0 fp32, Card does not run here (" in done.stderr
    assert "backend onnxruntime-cpu" in done.stderr


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused_by_its_number(stand_in_driver: Callable[..., Path], tmp_path: Path) -> None:
    done = fkp_track("", stand_in_driver(), tmp_path, "--backend", "tensorrt", "--device", "3")
    assert done.returncode == 5
    assert done.stderr.startswith("fkp-track: the NVIDIA driver shows 1 GPU, not number 3; check --device")


@pytest.mark.slow
def test_asked_for_by_name_it_never_falls_back(stand_in_driver: Callable[..., Path], tmp_path: Path) -> None:
    done = fkp_track("sys.modules['tensorrt'] = None", stand_in_driver(), tmp_path, "--backend", "tensorrt")
    assert (done.returncode, done.stderr.splitlines()) == (
        5,
        ['fkp-track: tensorrt is not installed; pip install "fkp[tensorrt]"'],
    )


@pytest.mark.slow
def test_the_gpu_benchmark_without_a_gpu_is_one_message_and_exit_5(tmp_path: Path) -> None:
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    done = run_code(BENCH, "fkp-bench", "--gpu", cwd=tmp_path)
    assert done.returncode == 5
    (message,) = done.stderr.splitlines()
    assert message.startswith("fkp-bench: no NVIDIA driver here")
