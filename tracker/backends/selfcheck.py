"""Checks at opening that a GPU runtime gives the processor's answers, with the same graphs that will run later."""

from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.backends.contract import Answer, Backend, infer_frame, refused_where_it_fails
from tracker.backends.onnxruntime import OnnxRuntime, open_session
from tracker.backends.settings import Precision
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable
from tracker.geometry import cut
from tracker.spec import SIZE
from tracker.types import Region

GpuBackend = TypeVar("GpuBackend", bound=Backend)
PORTRAIT = Path(__file__).resolve().parents[1] / "sources" / "portrait.jpg"
FACES = [Region(219 + i, 108 + i, 108 + 8 * i, 0.3 - 0.1 * i) for i in range(8)]
"""Around the portrait's face, px: whole or shrunk by 2, and turned.  Of these the GPU's kernel cuts the very crops that
the processor cuts, so only the network's arithmetic can differ.  The network's forms differ by 0.0006 px
on a processor; on crops without a whole face, by more."""

COUNTS = (1, 2, 8)
NEAR_PX: dict[Precision, float] = {"fp32": 0.02, "fp16": 0.15}
"""Largest allowed difference of keypoints and sigmas from the processor's, crop px.  Signals count as lengths of unit
space."""


def checked(backend: GpuBackend, weights: Weights, precision: Precision) -> GpuBackend:
    """The backend, whose answers for the portrait are the processor's.

    Raises BackendUnavailable if they are not, or if it does not run; then the backend is closed.
    """
    try:
        with refused_where_it_fails(backend.name):
            _expect_right_answers(backend, weights, NEAR_PX[precision])
    except BaseException:
        backend.close()
        raise
    return backend


def _expect_right_answers(backend: Backend, weights: Weights, near_px: float) -> None:
    portrait = np.asarray(cv2.imread(str(PORTRAIT)), np.uint8)
    right = OnnxRuntime(open_session(weights.path, weights.onnx, 1), "processor")(cut(portrait, FACES))
    for count in COUNTS:
        answer = infer_frame(backend, portrait, FACES[:count])
        pairs = zip(_numbers(answer), _numbers(right), strict=False)
        off_px = max(float(np.abs(a - b[:count]).max()) for a, b in pairs) * SIZE / 2
        if not off_px <= near_px:  # NaN too
            faces = "a face" if count == 1 else f"{count} faces"
            raise BackendUnavailable(
                f"{backend.name} answers wrongly: {off_px:.3g} px of the crop from the processor for {faces}, "
                f"expected {near_px} or less",
                "use --backend cpu, and update the driver and the runtime",
            )


def _numbers(answer: Answer) -> list[NDArray[np.float32]]:
    signals = getattr(answer, "signals", None)  # a plain pair has none
    return [*answer] if signals is None else [*answer, signals]
