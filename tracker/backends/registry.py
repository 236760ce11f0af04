"""All runtimes of the network by name, and the choice between them."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.backends.contract import Answer, Backend, infer_frame
from tracker.backends.settings import Settings
from tracker.backends.weights import Weights
from tracker.errors import BackendError, BackendUnavailable
from tracker.types import Region

if TYPE_CHECKING:
    from tracker.backends.tensorrt.guard import Flavour

log = logging.getLogger(__name__)


def _tensorrt(flavour: "Flavour", weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.selfcheck import checked
    from tracker.backends.tensorrt import open_tensorrt

    return checked(open_tensorrt(flavour, weights, settings), weights, settings.precision)


def _cuda(weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.onnxruntime_cuda import open_cuda

    return open_cuda(weights, settings)


def _cpu(weights: Weights, settings: Settings) -> Backend:
    from tracker.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime.open_cpu(weights, settings.threads)


OPENERS: dict[str, Callable[[Weights, Settings], Backend]] = {
    "tensorrt": partial(_tensorrt, "tensorrt"),
    "tensorrt-rtx": partial(_tensorrt, "tensorrt-rtx"),
    "cuda": _cuda,
    "cpu": _cpu,
}
"""Every backend by the name a user types, in the order `auto` tries them."""


_DEFAULT = Settings()


class OnProcessorAfterLoss:
    """A GPU backend chosen by `auto`: if it fails, the run continues on the processor, with one message."""

    def __init__(self, backend: Backend, open_processor: Callable[[], Backend]) -> None:
        self._backend, self._open_processor = backend, open_processor
        self._lost = False

    @property
    def name(self) -> str:
        return self._backend.name

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        return self._answer(lambda backend: backend(faces))

    def infer_frame(self, image: NDArray[np.uint8], regions: Sequence[Region]) -> Answer:
        return self._answer(lambda backend: infer_frame(backend, image, regions))

    def close(self) -> None:
        self._backend.close()

    def _answer(self, ask: Callable[[Backend], Answer]) -> Answer:
        try:
            return ask(self._backend)
        except BackendError as error:
            if self._lost:
                raise
            processor, self._lost = self._open_processor(), True
            log.warning("%s; continuing with %s", str(error).partition("; ")[0], processor.name)
            self._backend.close()
            self._backend = processor
        return ask(self._backend)


class Choice(NamedTuple):
    """An opened backend, and why earlier ones were not chosen."""

    backend: Backend
    refused: str
    """The earlier ones of `auto` with their reasons, for people; empty if there are none."""


def open_backend(choice: str, weights: Weights, settings: Settings = _DEFAULT) -> Backend:
    """`choose_backend`, with its reasons written to the log."""
    backend, refused = choose_backend(choice, weights, settings)
    if refused:
        log.info("not used: %s", refused)
    return backend


def choose_backend(choice: str, weights: Weights, settings: Settings = _DEFAULT) -> Choice:
    """Open the backend named `choice`, or with `auto` the first that this machine can run.

    A backend that is requested by name never falls back to another.  Raises BackendUnavailable with the reason and the
    next step, ValueError for a name that is not in `OPENERS`.
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
            if name != "cpu":
                backend = OnProcessorAfterLoss(backend, partial(_cpu, weights, settings))
            return Choice(backend, "; ".join(f"{', '.join(names)}: {why}" for why, names in refused.items()))
    raise BackendUnavailable("no backend runs on this machine", "reinstall with: pip install --force-reinstall fkp")
