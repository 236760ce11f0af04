"""Runtimes that run the network, behind one contract, and the choice between them.

A backend is called with crops (N, 1, 96, 96) uint8 and returns (points (N, 15, 2) float32, sigma (N, 15) float32),
both in unit space.  N may be 0 and varies from call to call.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.errors import BackendUnavailable
from tracker.weights import Weights

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


def _onnxruntime_cpu(weights: Weights, threads: int) -> Backend:
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cpu(weights, threads)


def _onnxruntime_cuda(weights: Weights, threads: int) -> Backend:
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cuda(weights, threads)


OPENERS: dict[str, Callable[[Weights, int], Backend]] = {
    "cuda": _onnxruntime_cuda,
    "cpu": _onnxruntime_cpu,
}
"""Every backend by the name a user types, in the order `auto` tries them."""


def open_backend(choice: str, weights: Weights, *, threads: int = 1) -> Backend:
    """Open the backend named `choice`, or with `auto` the first that this machine can run.

    A backend asked for by name never falls back.  Raises BackendUnavailable with the reason and the next step,
    ValueError for a name that is not in `OPENERS`.
    """
    if choice != "auto":
        if choice not in OPENERS:
            raise ValueError(f"backend is {choice!r}, expected auto or one of {', '.join(OPENERS)}")
        return OPENERS[choice](weights, threads)
    for name, opener in OPENERS.items():
        try:
            return opener(weights, threads)
        except BackendUnavailable as reason:
            log.info("backend %s not used: %s", name, reason)
    raise BackendUnavailable("no backend runs on this machine", "reinstall with: pip install --force-reinstall fkp")
