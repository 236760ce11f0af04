"""The choice of a runtime: by name, or with `auto` the first that this machine can run."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.backends.contract import Answer, Backend, infer_frame
from tracker.backends.registry import BACKENDS
from tracker.backends.settings import Settings
from tracker.backends.weights import Weights
from tracker.errors import BackendError, BackendUnavailable
from tracker.types import Region

log = logging.getLogger(__name__)

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
    next step, ValueError for a name that is not in `BACKENDS`.
    """
    if choice != "auto":
        if choice not in BACKENDS:
            raise ValueError(f"backend is {choice!r}, expected auto or one of {', '.join(BACKENDS)}")
        return Choice(BACKENDS[choice].open(weights, settings), "")
    refused: dict[str, list[str]] = {}
    for name, row in BACKENDS.items():
        try:
            backend = row.open(weights, settings)
        except BackendUnavailable as refusal:
            log.debug("backend %s: %s", name, refusal)
            refused.setdefault(refusal.reason, []).append(name)
        else:
            if row.gpu:
                backend = OnProcessorAfterLoss(backend, partial(BACKENDS["cpu"].open, weights, settings))
            return Choice(backend, "; ".join(f"{', '.join(names)}: {why}" for why, names in refused.items()))
    raise BackendUnavailable("no backend runs on this machine", "reinstall with: pip install --force-reinstall fkp")
