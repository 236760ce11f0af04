"""Whether TensorRT can be used, checked before any of its code is loaded.

Without a driver, some TensorRT packages end the process later, which no `except` catches.  So the driver is checked
first: does it exist, is it new enough, which GPU does it offer.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Literal

from tracker.backends.contract import OTHERS_INSTEAD
from tracker.backends.tensorrt.driver import Driver
from tracker.errors import BackendError, BackendUnavailable

Flavour = Literal["tensorrt", "tensorrt-rtx"]
"""The full TensorRT, or the one for RTX cards, whose engines are finished on the machine that runs them."""

PACKAGES: dict[Flavour, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "rtx"),
}
"""Flavour -> the module to import and the extra that installs it."""

CUDA_NEEDED = (12, 0)
"""What our own kernel needs; TensorRT's packages may need more, see `_cuda_of`."""

OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (7, 5), "tensorrt-rtx": (8, 0)}
"""Compute capability of the oldest GPUs.  TensorRT-RTX knows 7.5 (Turing) too, but no fp32 matrix products there."""

CPU_INSTEAD = "--backend cpu needs none"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of the GPUs that CUDA shows this process; CUDA_VISIBLE_DEVICES may hide or reorder them."""

    name: str
    capability: tuple[int, int]
    """Compute capability, e.g. (8, 9)."""
    cuda: tuple[int, int]
    """The newest CUDA that the driver supports."""


def find_gpu(index: int = 0) -> Gpu:
    """The GPU to run on.  Raises BackendUnavailable with what is missing and what to do about it."""
    try:
        driver = Driver()
        cuda = divmod(driver.number("cuDriverGetVersion") // 10, 100)
        _expect_cuda(cuda, CUDA_NEEDED, "fkp")
        count = driver.number("cuDeviceGetCount")
        if index >= count:
            raise BackendUnavailable(
                f"the NVIDIA driver shows {count or 'no'} GPU{'s' if count > 1 else ''}, not number {index}",
                f"check --device, nvidia-smi and CUDA_VISIBLE_DEVICES; {CPU_INSTEAD}",
            )
        major, minor = (driver.number("cuDeviceGetAttribute", which, index) for which in (75, 76))
        return Gpu(driver.device_name(index), (major, minor), cuda)
    except OSError as error:
        raise BackendUnavailable(f"no NVIDIA driver here ({error})", f"a GPU needs one; {CPU_INSTEAD}") from error
    except BackendUnavailable:
        raise
    except BackendError as error:
        raise BackendUnavailable(
            f"the NVIDIA driver is there but does not work ({error})", f"check nvidia-smi; {CPU_INSTEAD}"
        ) from error


def installed(flavour: Flavour) -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec(PACKAGES[flavour][0]) is not None


def import_package(flavour: Flavour) -> ModuleType:
    """NVIDIA's package.  Raises BackendUnavailable when it is missing or its libraries do not load."""
    module, extra = PACKAGES[flavour]
    remedy = f'pip install "fkp[{extra}]"'
    if not installed(flavour):
        raise BackendUnavailable(f"{flavour} is not installed", remedy)
    try:
        return importlib.import_module(module)
    except Exception as error:  # ImportError, OSError, FileNotFoundError, RuntimeError: each release has its own way
        raise BackendUnavailable(
            f"{flavour} is installed but does not load ({error})", f"{remedy} --force-reinstall"
        ) from error


def expect_fit(flavour: Flavour, trt: ModuleType, gpu: Gpu) -> None:
    """Raises BackendUnavailable if this release does not know the GPU, or is made for a newer driver."""
    _expect_cuda(gpu.cuda, _cuda_of(PACKAGES[flavour][0]), flavour)
    known = _capabilities(trt)
    if gpu.capability < OLDEST[flavour] or (known and gpu.capability not in known):
        expected = ", ".join(map(dotted, sorted(each for each in known if each >= OLDEST[flavour])))
        raise BackendUnavailable(
            f"{gpu.name} has compute capability {dotted(gpu.capability)}, "
            f"{flavour} {trt.__version__} runs on {expected or dotted(OLDEST[flavour]) + ' or newer'}",
            OTHERS_INSTEAD,
        )


def dotted(version: tuple[int, int]) -> str:
    """(8, 9) -> 8.9"""
    return ".".join(map(str, version))


def _capabilities(trt: ModuleType) -> set[tuple[int, int]]:
    """Those that TensorRT-RTX lists as its own; empty for the full TensorRT, which lists none."""
    listed = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return {divmod(int(name[2:]), 10) for name in listed if name.startswith("SM")}


def _cuda_of(module: str) -> tuple[int, int]:
    """The CUDA that the installed package brings or links to: NVIDIA makes one for each major version."""
    for major in (13, 12):
        try:
            metadata.version(f"{module}_cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return major, 0
    return CUDA_NEEDED


def _expect_cuda(supported: tuple[int, int], needed: tuple[int, int], by: str) -> None:
    if supported < needed:
        older = f", or {by.replace('-', '_')}_cu12" if needed >= (13, 0) else ""
        raise BackendUnavailable(
            f"the NVIDIA driver supports CUDA {dotted(supported)}, {by} needs {dotted(needed)} or newer",
            f"install driver {'580' if needed >= (13, 0) else '525'} or newer{older}; {CPU_INSTEAD}",
        )
