"""Runtimes that run the network, behind one contract, and the choice between them.

A backend is called with crops (N, 1, 96, 96) uint8 and returns (points (N, 15, 2) float32, sigma (N, 15) float32),
both in unit space.  N may be 0 and varies from call to call.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracker.errors import BackendUnavailable
from tracker.types import Region
from tracker.weights import Precision, Weights

if TYPE_CHECKING:
    from tracker.backends.tensorrt.guard import Flavour

log = logging.getLogger(__name__)


class Backend(Protocol):
    """The contract.  Implementations do not inherit from it."""

    name: str
    """For people and records, e.g. `onnxruntime-cpu 1.31.1`."""

    def __call__(self, faces: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 1, 96, 96) uint8 -> points (N, 15, 2) float32 unit, sigma (N, 15) float32 unit."""
        ...

    def close(self) -> None:
        """Free the runtime; the backend must not be called afterwards."""
        ...


@runtime_checkable
class Looks(Protocol):
    """What a backend may offer besides: it cuts the crops itself, where it runs."""

    def look(
        self, image: NDArray[np.uint8], regions: Sequence[Region]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A BGR frame (H, W, 3) uint8 and the regions of N faces, frame px -> as a call with their crops."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a backend runs; each takes what concerns it."""

    threads: int = 1
    """Of the processor."""
    precision: Precision = "fp32"
    """On a GPU; the processor always runs fp32."""
    keep: bool = True
    """Whether what TensorRT compiles is kept for the next start."""


def _tensorrt(flavour: "Flavour", weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.tensorrt import open_tensorrt
    from tracker.backends.tensorrt.cache import Kept, NotKept, compiled_dir

    return open_tensorrt(flavour, weights, settings.precision, Kept(compiled_dir()) if settings.keep else NotKept())


def _onnxruntime_cuda(weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cuda(weights, settings.precision)


def _onnxruntime_cpu(weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cpu(weights, settings.threads)


OPENERS: dict[str, Callable[[Weights, Settings], Backend]] = {
    "tensorrt": partial(_tensorrt, "tensorrt"),
    "tensorrt-rtx": partial(_tensorrt, "tensorrt-rtx"),
    "cuda": _onnxruntime_cuda,
    "cpu": _onnxruntime_cpu,
}
"""Every backend by the name a user types, in the order `auto` tries them."""


_DEFAULT = Settings()


class Choice(NamedTuple):
    """A backend that was opened, and why it is not another."""

    backend: Backend
    refused: str
    """The earlier ones of `auto` with their reasons, for people; empty where there are none."""


def open_backend(choice: str, weights: Weights, settings: Settings = _DEFAULT) -> Backend:
    """`choose_backend`, its reasons to the log."""
    backend, refused = choose_backend(choice, weights, settings)
    if refused:
        log.info("not used: %s", refused)
    return backend


def choose_backend(choice: str, weights: Weights, settings: Settings = _DEFAULT) -> Choice:
    """Open the backend named `choice`, or with `auto` the first that this machine can run.

    A backend asked for by name never falls back.  Raises BackendUnavailable with the reason and the next step,
    ValueError for a name that is not in `OPENERS`.
    """
    if choice != "auto":
        if choice not in OPENERS:
            raise ValueError(f"backend is {choice!r}, expected auto or one of {', '.join(OPENERS)}")
        return Choice(OPENERS[choice](weights, settings), "")
    refused: dict[str, list[str]] = {}
    for name, opener in OPENERS.items():
        try:
            backend = opener(weights, settings)
        except BackendUnavailable as refusal:
            log.debug("backend %s: %s", name, refusal)
            refused.setdefault(refusal.reason, []).append(name)
        else:
            return Choice(backend, "; ".join(f"{', '.join(names)}: {why}" for why, names in refused.items()))
    raise BackendUnavailable("no backend runs on this machine", "reinstall with: pip install --force-reinstall fkp")
