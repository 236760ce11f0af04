"""Every runtime of the network by name, and the choice between them."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tracker.backends.contract import Backend
from tracker.backends.settings import Settings
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable

if TYPE_CHECKING:
    from tracker.backends.tensorrt.guard import Flavour

log = logging.getLogger(__name__)


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
