"""Crops on the GPU: what is staged for the kernel in crop.cu, and the kernel compiled.

CUDA C and NVRTC rather than Triton: NVRTC is one library that compiles for any GPU without one, and plain C can be
tested on a CPU to the last gray level; Triton brings a compiler of its own and wants torch beside it.
"""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.backends.tensorrt.guard import Gpu
from tracker.errors import BackendUnavailable
from tracker.geometry import patch_of
from tracker.types import Region

SOURCE = Path(__file__).with_name("crop.cu")
KERNEL = b"cut_faces"
THREADS = 128
"""Per block; 72 blocks of them cover a crop."""

FACE = np.dtype(
    [("axes", np.float32, (2, 3)), *((name, np.int32) for name in ("offset", "stride", "width", "height", "shrink"))]
)
"""`struct Face` of crop.cu."""


def stage(
    image: NDArray[np.uint8], regions: Sequence[Region], faces: NDArray[np.void], pixels: NDArray[np.uint8]
) -> int:
    """Write what the kernel needs to cut `regions` out of `image`; returns how many bytes of `pixels` that took.

    `image` (H, W, 3) uint8 BGR; `regions` 1 to N, frame px; `faces` (N,) FACE, filled up with the first face; `pixels`
    (image.nbytes or more,) uint8: the faces' own parts of the frame, or all of it where that is less.
    """
    height, width = image.shape[:2]
    patches = [patch_of(region, height, width) for region in regions]
    parts = [image[patch.top : patch.bottom, patch.left : patch.right] for patch in patches]
    if sum(part.size for part in parts) < image.size:
        used = _put(parts, pixels)
        starts = [0, *itertools.accumulate(part.size for part in parts)]
        strides = [part.shape[1] * 3 for part in parts]
    else:
        used = _put([image], pixels)
        starts = [(patch.top * width + patch.left) * 3 for patch in patches]
        strides = [width * 3] * len(patches)
    for face, patch, start, stride in zip(faces, patches, starts, strides, strict=False):
        face["axes"], face["offset"], face["stride"], face["shrink"] = patch.axes, start, stride, patch.shrink
        face["width"], face["height"] = patch.right - patch.left, patch.bottom - patch.top
    faces[len(regions) :] = faces[0]
    return used


def _put(parts: Sequence[NDArray[np.uint8]], pixels: NDArray[np.uint8]) -> int:
    """One after the other; returns how many bytes they took."""
    used = 0
    for part in parts:
        pixels[used : used + part.size].reshape(part.shape)[:] = part
        used += part.size
    return used


def facts(gpu: Gpu) -> dict[str, str]:
    """Everything the compiled kernel depends on."""
    major, minor = _nvrtc().nvrtcVersion()[1:]
    source = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    return {"source": source, "nvrtc": f"{major}.{minor}", "architecture": architecture(gpu)}


def architecture(gpu: Gpu) -> str:
    """As NVRTC calls it."""
    return "sm_" + "".join(map(str, gpu.capability))


def compiled(gpu: Gpu) -> bytes:
    """The kernel for this GPU, a cubin.  Raises BackendUnavailable with the compiler's words when that fails."""
    nvrtc = _nvrtc()
    # Fused multiply-adds would round otherwise than the CPU does.
    options = [b"--gpu-architecture=" + architecture(gpu).encode(), b"--fmad=false"]
    _, program = nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), SOURCE.name.encode(), 0, [], [])
    try:
        (outcome,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if outcome != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BackendUnavailable(
                f"NVRTC cannot compile for {architecture(gpu)}: {_log(nvrtc, program) or outcome.name}",
                "pip install --upgrade nvidia-cuda-nvrtc",
            )
        cubin = b" " * nvrtc.nvrtcGetCUBINSize(program)[1]
        nvrtc.nvrtcGetCUBIN(program, cubin)
        return cubin
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _log(nvrtc: Any, program: Any) -> str:
    log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.rstrip(b"\0").decode(errors="replace").strip()


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()  # loads the library
    except Exception as error:  # ImportError where the bindings are missing, RuntimeError where the library is
        raise BackendUnavailable(
            f"NVRTC does not load ({error})", "pip install 'fkp[rtx]' or 'fkp[tensorrt]'"
        ) from error
    return nvrtc
