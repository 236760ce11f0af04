"""Every face detector by name, with its threshold.  No detector is imported before it is opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tracker.detectors.contract import Detector

DetectorName = Literal["yunet", "mediapipe"]


class Row(NamedTuple):
    """One detector.  Its framing, from its output to the region of the face, is in its module."""

    open: "Callable[[float, int | None, int], Detector]"
    """(threshold, input size px or None, processor threads) -> detector."""
    threshold: float
    """The lowest score that is a face; measured on stills, clips and frames without faces."""


def _yunet(threshold: float, input_size: int | None, threads: int) -> "Detector":
    from tracker.detectors.yunet import YuNet

    return YuNet.open(threshold, input_size, threads)


def _mediapipe(threshold: float, input_size: int | None, threads: int) -> "Detector":
    from tracker.detectors.blazeface import BlazeFace

    return BlazeFace.open(threshold)


DETECTORS: dict[str, Row] = {"yunet": Row(_yunet, threshold=0.6), "mediapipe": Row(_mediapipe, threshold=0.5)}
"""Every detector by the name a user types."""


def open_detector(
    name: str, *, threshold: float | None = None, input_size: int | None = 320, threads: int = 1
) -> "Detector":
    """Open the detector called `name`.

    `threshold` is the lowest score reported (None: that of its row).  `input_size` is the long side, px, to which YuNet
    sees the frame shrunk: twice the size finds faces half as large at four times the cost.  None: each call names its
    size.  MediaPipe's model has a fixed input of 128 px and threads of its own.

    Raises WeightsError for a missing or altered model file, BackendUnavailable when the runtime is not installed,
    ValueError for an unknown name or sizes out of range.
    """
    if name not in DETECTORS:
        raise ValueError(f"detector is {name!r}, expected one of {', '.join(DETECTORS)}")
    if input_size is not None and input_size < 32:
        raise ValueError(f"input_size is {input_size}, expected 32 or more")
    row = DETECTORS[name]
    return row.open(row.threshold if threshold is None else threshold, input_size, threads)
