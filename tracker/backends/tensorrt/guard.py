"""Whether TensorRT may be touched at all, found out before any of its code is loaded.

Without a driver some TensorRT packages end the process later on, which no `except` catches.  So the driver is asked
first, through its C interface alone: is there one, is it new enough, which GPU does it give us.
"""

import ctypes
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from tracker.errors import BackendUnavailable

Flavour = Literal["tensorrt", "tensorrt-rtx"]
"""The full TensorRT, or the one for RTX cards, whose engines are finished on the machine that runs them."""

PACKAGES: dict[Flavour, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "rtx"),
}
"""Flavour -> the module to import and the extra that installs it."""

CUDA_NEEDED = (13, 0)
"""The extras bring packages for CUDA 13, which drivers support from 580 on."""

OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (7, 5), "tensorrt-rtx": (8, 0)}
"""Compute capability of the oldest GPUs.  TensorRT-RTX knows 7.5 (Turing) too, but no fp32 matrix products there."""

CPU_INSTEAD = "--backend cpu needs none"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that CUDA gives this process first; CUDA_VISIBLE_DEVICES chooses another."""

    name: str
    capability: tuple[int, int]
    """Compute capability, e.g. (8, 9)."""
    driver: str
    """The driver's own version, or where it does not tell, the CUDA it supports."""


def find_gpu(flavour: Flavour) -> Gpu:
    """The GPU to run on.  Raises BackendUnavailable with what is missing and what to do about it."""
    cuda = _Driver(_load_driver())
    cuda.call("cuInit", 0)
    supported = divmod(cuda.number("cuDriverGetVersion") // 10, 100)
    if supported < CUDA_NEEDED:
        raise BackendUnavailable(
            f"the NVIDIA driver supports CUDA {dotted(supported)}, expected {dotted(CUDA_NEEDED)} or newer",
            f"install driver 580 or newer; {CPU_INSTEAD}",
        )
    if cuda.number("cuDeviceGetCount") == 0:
        raise BackendUnavailable(
            "the NVIDIA driver shows no GPU", f"check nvidia-smi and CUDA_VISIBLE_DEVICES; {CPU_INSTEAD}"
        )
    gpu = Gpu(cuda.device_name(), (cuda.attribute(75), cuda.attribute(76)), _driver_version() or dotted(supported))
    if gpu.capability < OLDEST[flavour]:
        raise BackendUnavailable(
            f"{gpu.name} has compute capability {dotted(gpu.capability)}, {flavour} needs {dotted(OLDEST[flavour])}",
            "use --backend cuda or cpu",
        )
    return gpu


def installed(flavour: Flavour) -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec(PACKAGES[flavour][0]) is not None


def import_package(flavour: Flavour) -> ModuleType:
    """NVIDIA's package.  Raises BackendUnavailable when it is missing or its libraries do not load."""
    module, extra = PACKAGES[flavour]
    remedy = f"pip install 'fkp[{extra}]'"
    if not installed(flavour):
        raise BackendUnavailable(f"{flavour} is not installed", remedy)
    try:
        return importlib.import_module(module)
    except Exception as error:  # ImportError, OSError, FileNotFoundError, RuntimeError: each release has its own way
        raise BackendUnavailable(
            f"{flavour} is installed but does not load ({error})", f"{remedy} --force-reinstall"
        ) from error


def dotted(version: tuple[int, int]) -> str:
    """(8, 9) -> 8.9"""
    return ".".join(map(str, version))


class _Driver:
    """The few calls of CUDA's driver interface that answer without a context."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def call(self, function: str, *args: Any) -> None:
        """Raises BackendUnavailable when the driver answers with an error."""
        code = getattr(self._library, function)(*args)
        if code != 0:
            raise BackendUnavailable(
                f"the NVIDIA driver is there but {function} fails: {self._meaning(code)}",
                f"check nvidia-smi; {CPU_INSTEAD}",
            )

    def number(self, function: str, *args: Any) -> int:
        """What the function writes to its first argument."""
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value), *args)
        return value.value

    def attribute(self, which: int) -> int:
        """An attribute of device 0 by its number in cuda.h (CUdevice_attribute)."""
        return self.number("cuDeviceGetAttribute", which, 0)

    def device_name(self) -> str:
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), 0)
        return name.value.decode(errors="replace")

    def _meaning(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return f"{text.value.decode(errors='replace') if text.value else 'unknown error'} (CUDA error {code})"


def _load_driver() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise BackendUnavailable(
            f"no NVIDIA driver here ({name} does not load)", f"TensorRT needs an NVIDIA GPU; {CPU_INSTEAD}"
        ) from error


def _driver_version() -> str | None:
    """What nvidia-smi shows, from the library that nvidia-smi asks; None where that is not there."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return None
    version = ctypes.create_string_buffer(80)
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        return version.value.decode() if nvml.nvmlSystemGetDriverVersion(version, len(version)) == 0 else None
    finally:
        nvml.nvmlShutdown()
