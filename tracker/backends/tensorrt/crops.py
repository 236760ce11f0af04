"""Crops on the GPU: what is staged for the kernel in crop.cu, and the kernel compiled.

CUDA C rather than Triton: plain C can be tested on a CPU to the last gray level, and what NVRTC makes of it once
(crop.ptx, written by tests/ptx.py) is finished by the driver of any GPU from compute capability 7.5 on.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.geometry import Patch

SOURCE = Path(__file__).with_name("crop.cu")
COMPILED = SOURCE.with_suffix(".ptx")
"""Text; the driver wants a zero byte after it."""
KERNEL = b"cut_faces"
THREADS = 128
"""Per block; 72 blocks of them cover a crop."""

FACE = np.dtype(
    [("axes", np.float32, (2, 3)), *((name, np.int32) for name in ("offset", "stride", "width", "height", "shrink"))]
)
"""`struct Face` of crop.cu."""


def bytes_of(image: NDArray[np.uint8], patches: Sequence[Patch]) -> int:
    """How many bytes of pixels `stage` writes: the faces' own parts of the frame, or all of it if that is less."""
    return min(sum((patch.bottom - patch.top) * (patch.right - patch.left) * 3 for patch in patches), image.size)


def stage(
    image: NDArray[np.uint8], patches: Sequence[Patch], faces: NDArray[np.void], pixels: NDArray[np.uint8]
) -> int:
    """Write what the kernel needs to cut the patches' crops out of `image`; returns `bytes_of` it.

    `image` (H, W, 3) uint8 BGR; `patches` of 1 to N regions; `faces` (N,) FACE, filled up with the first face; `pixels`
    (`bytes_of` or more,) uint8.
    """
    width = image.shape[1]
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
    faces[len(patches) :] = faces[0]
    return used


def _put(parts: Sequence[NDArray[np.uint8]], pixels: NDArray[np.uint8]) -> int:
    """One after the other; returns how many bytes they took."""
    used = 0
    for part in parts:
        pixels[used : used + part.size].reshape(part.shape)[:] = part
        used += part.size
    return used
