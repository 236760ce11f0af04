"""Whether TensorRT may be touched: asked of a real library in a process of its own, and never the end of that process.

Where there is no NVIDIA driver, a small one is compiled here that answers as a driver would.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiles a stand-in for libcuda.so.1")

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "Card", length); return 0; }
int cuDeviceGetAttribute(int* value, int which, int device) {
    *value = which == 75 ? MAJOR : which == 76 ? MINOR : -1;
    return 0;
}
int cuGetErrorString(int code, const char** text) { *text = "no CUDA-capable device is detected"; return 0; }
"""
NVML = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char* version, unsigned length) { strncpy(version, "580.95.05", length); return 0; }
"""
IN_ORDER = {"INIT": 0, "VERSION": 13000, "COUNT": 1, "MAJOR": 8, "MINOR": 9}
ASK = """
from tracker.backends.tensorrt.guard import find_gpu
from tracker.errors import BackendUnavailable
try:
    print(find_gpu("tensorrt-rtx"))
except BackendUnavailable as refusal:
    print(refusal)
"""

Compile = Callable[..., Path]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compiles C to `name` in a folder of its own, which it returns."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")

    def compile_library(source: str, name: str, **macros: int) -> Path:
        (tmp_path / "source.c").write_text(source)
        macros_given = [f"-D{macro}={value}" for macro, value in macros.items()]
        command = [gcc, "-shared", "-fPIC", "-w", *macros_given, "-o", tmp_path / name, tmp_path / "source.c"]
        subprocess.run(command, check=True)
        return tmp_path

    return compile_library


def answer(libraries: Path | None) -> str:
    """What the guard says in a new process that finds its libraries there."""
    environment = os.environ | ({"LD_LIBRARY_PATH": str(libraries)} if libraries else {})
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_driver() -> bool:
    return "no NVIDIA driver" not in answer(None)


def test_a_gpu_in_order_is_described(compiled: Compile) -> None:
    compiled(NVML, "libnvidia-ml.so.1")
    libraries = compiled(DRIVER, "libcuda.so.1", **IN_ORDER)
    assert answer(libraries) == "Gpu(name='Card', capability=(8, 9), driver='580.95.05')"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"INIT": 100}, "cuInit fails: no CUDA-capable device is detected (CUDA error 100); check nvidia-smi"),
        (
            {"VERSION": 12080},
            "the NVIDIA driver supports CUDA 12.8, expected 13.0 or newer; install driver 580 or newer",
        ),
        ({"COUNT": 0}, "the NVIDIA driver shows no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES"),
        (
            {"MAJOR": 7, "MINOR": 5},
            "Card has compute capability 7.5, tensorrt-rtx needs 8.0; use --backend cuda or cpu",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_whatever_is_missing_is_named_with_what_to_do(compiled: Compile, wrong: dict[str, int], said: str) -> None:
    assert said in answer(compiled(DRIVER, "libcuda.so.1", **(IN_ORDER | wrong)))


def test_without_a_driver_there_is_one_message() -> None:
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    assert answer(None) == (
        "no NVIDIA driver here (libcuda.so.1 does not load); TensorRT needs an NVIDIA GPU; --backend cpu needs none"
    )


def test_a_library_that_is_no_driver_is_no_driver(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"")
    assert "no NVIDIA driver here" in answer(tmp_path)
