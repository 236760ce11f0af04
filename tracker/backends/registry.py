"""Every runtime of the network by name.  No runtime is imported until it is opened."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tracker.backends.contract import Backend
    from tracker.backends.settings import Settings
    from tracker.backends.tensorrt.guard import Flavour
    from tracker.backends.weights import Weights

BackendName = Literal["auto", "tensorrt", "tensorrt-rtx", "cuda", "cpu"]


class Row(NamedTuple):
    """One runtime."""

    open: "Callable[[Weights, Settings], Backend]"
    """Raises BackendUnavailable with the reason if this machine cannot run it."""
    gpu: bool
    """Whether it needs a GPU."""


def _tensorrt(flavour: "Flavour", weights: "Weights", settings: "Settings") -> "Backend":
    from tracker.backends.selfcheck import checked
    from tracker.backends.tensorrt import open_tensorrt

    return checked(open_tensorrt(flavour, weights, settings), weights, settings.precision)


def _cuda(weights: "Weights", settings: "Settings") -> "Backend":
    from tracker.backends.onnxruntime_cuda import open_cuda

    return open_cuda(weights, settings)


def _cpu(weights: "Weights", settings: "Settings") -> "Backend":
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cpu(weights, settings.threads)


BACKENDS: dict[str, Row] = {
    "tensorrt": Row(partial(_tensorrt, "tensorrt"), gpu=True),
    "tensorrt-rtx": Row(partial(_tensorrt, "tensorrt-rtx"), gpu=True),
    "cuda": Row(_cuda, gpu=True),
    "cpu": Row(_cpu, gpu=False),
}
"""Every backend by the name a user types, in the order in which `auto` tries them; the last one runs anywhere."""
