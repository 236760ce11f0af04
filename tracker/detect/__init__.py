"""Face detectors behind one contract, and the choice between them.

A detector is called with a BGR image and returns its faces, best first; boxes and regions are frame px.  Told that only
faces from some size on matter it may see the image in less detail.  Each detector maps what it sees to the framing the
network was trained on with constants measured on that very data.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.detect.closeness import GLANCES, Closeness
from tracker.detect.ondemand import OnDemand, Watch
from tracker.errors import WeightsError
from tracker.types import Detection


class Detector(Protocol):
    """The contract.  Implementations do not inherit from it."""

    @property
    def name(self) -> str:
        """For people and records, e.g. `yunet-2023mar 320`."""
        ...

    def __call__(self, image: NDArray[np.uint8], smallest: float | None = None) -> list[Detection]:
        """(H, W, 3) uint8 BGR -> the faces in it, best score first; boxes may reach beyond the image.

        `smallest` is the side, frame px, from which on a face's region must be found; None for all that can be.
        """
        ...

    def close(self) -> None:
        """Free the runtime; the detector must not be called afterwards."""
        ...


def _yunet(threshold: float, input_size: int, threads: int) -> Detector:
    from tracker.detect.yunet import YuNet

    return YuNet.open(threshold, input_size, threads)


def _mediapipe(threshold: float, input_size: int, threads: int) -> Detector:
    from tracker.detect.blazeface import BlazeFace

    return BlazeFace.open(threshold)


OPENERS: dict[str, Callable[[float, int, int], Detector]] = {"yunet": _yunet, "mediapipe": _mediapipe}
"""Every detector by the name a user types."""

THRESHOLDS = {"yunet": 0.6, "mediapipe": 0.5}
"""The lowest score that is a face; measured on stills, clips and frames without faces."""


def open_detector(name: str, *, threshold: float | None = None, input_size: int = 320, threads: int = 1) -> Detector:
    """Open the detector called `name`.

    `threshold` is the lowest score reported (None: that of `THRESHOLDS`).  `input_size` is the long
    side, px, to which YuNet sees the frame shrunk: twice the size finds faces half as large at four times the cost.
    MediaPipe's model has a fixed input of 128 px and threads of its own.

    Raises WeightsError for a missing or altered model file, BackendUnavailable when the runtime is not installed,
    ValueError for an unknown name or sizes out of range.
    """
    if name not in OPENERS:
        raise ValueError(f"detector is {name!r}, expected one of {', '.join(OPENERS)}")
    if input_size < 32:
        raise ValueError(f"input_size is {input_size}, expected 32 or more")
    return OPENERS[name](THRESHOLDS[name] if threshold is None else threshold, input_size, threads)


class EveryN:
    """A detector that looks at the first and then every n-th frame, and answers None in between.

    It looks sooner where `watch` is in doubt, and counts from there.
    """

    def __init__(self, detector: Closeness, n: int, watch: Watch) -> None:
        if n < 1:
            raise ValueError(f"n is {n}, expected 1 or more")
        self._detector = detector
        self._n = n
        self._watch = watch
        self._until_next = 0

    @property
    def name(self) -> str:
        return self._detector.name

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection] | None:
        """The faces, or None where this frame was not looked at."""
        if self._until_next > 0 and not self._watch.in_doubt():
            self._until_next -= 1
            return None
        self._until_next = self._n - 1
        return self._detector(image)

    def close(self) -> None:
        self._detector.close()


def paced(
    detector: Detector, every: int | Literal["auto"], watch: Watch, *, glances: int = GLANCES
) -> EveryN | OnDemand:
    """`detector`, looking at every n-th frame and sooner in doubt, or ("auto") whenever the faces need it.

    Between two close looks it takes up to so many `glances`.
    """
    looking = Closeness(detector, watch, glances)
    return OnDemand(looking, watch) if every == "auto" else EveryN(looking, every, watch)


def read_model(path: Path, sha256: str) -> bytes:
    """The bytes of a model file that ships with the package.  Raises WeightsError when it is missing or altered."""
    try:
        model = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(
            f"cannot read the face detector {path}: {reason}; restore it with: pip install --force-reinstall fkp"
        ) from error
    seen = hashlib.sha256(model).hexdigest()
    if seen != sha256:
        raise WeightsError(
            f"the face detector {path} was altered: sha256 is {seen[:12]}..., expected {sha256[:12]}...; "
            "restore it with: pip install --force-reinstall fkp"
        )
    return model
