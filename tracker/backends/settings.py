"""What a user may say of the runtime that runs the network."""

from dataclasses import dataclass
from typing import Literal

BackendName = Literal["auto", "tensorrt", "tensorrt-rtx", "cuda", "cpu"]
Precision = Literal["fp32", "fp16"]
"""Of convolutions and activations; everything a keypoint's last tenth of a pixel depends on stays fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a backend runs; each takes what concerns it."""

    threads: int = 1
    """Of the processor."""
    precision: Precision = "fp32"
    """On a GPU; the processor always runs fp32."""
    device: int = 0
    """The number of the GPU."""
    keep: bool = True
    """Whether what TensorRT compiles is cached for the next start."""
