"""The user's settings for the runtime of the network."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16"]
"""Precision of convolutions and activations; everything that affects the last tenth of a pixel stays fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a backend runs; each backend uses the settings that apply to it."""

    threads: int = 1
    """Threads on the processor."""
    precision: Precision = "fp32"
    """On a GPU; the processor always runs fp32."""
    device: int = 0
    """The number of the GPU."""
    keep: bool = True
    """Whether what TensorRT compiles is cached for the next start."""
