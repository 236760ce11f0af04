"""The network in ONNX Runtime on the processor, the default on every machine."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.contract import Answer
from tracker.backends.weights import Weights
from tracker.errors import WeightsError
from tracker.spec import KEYPOINTS


def quiet_session_options(threads: int) -> ort.SessionOptions:
    """Options for small nets: few threads that sleep between runs.

    Two sessions that spin on the same cores slow each other several times over, so spinning is off.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Real faces drive some SELU tails into denormal numbers, which cost a hundred times a normal multiply-add.
    # The thread that opens a session flushes them from then on, in everything it does.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    return options


class OnnxRuntime:
    """Backend over one ONNX Runtime session; see `tracker.backends.contract` for the contract."""

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self.name = name
        self._session: ort.InferenceSession | None = session

    @classmethod
    def open_cpu(cls, weights: Weights, threads: int) -> "OnnxRuntime":
        """Raises WeightsError when ONNX Runtime cannot load the model."""
        return cls(open_session(weights.path, weights.for_cpu(), threads), f"onnxruntime-cpu {ort.__version__}")

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        if self._session is None:
            raise ValueError("this backend is closed")
        if len(faces) == 0:
            return np.empty((0, len(KEYPOINTS), 2), np.float32), np.empty((0, len(KEYPOINTS)), np.float32)
        points, sigma = self._session.run(["points", "sigma"], {"faces": faces})
        return points, sigma

    def close(self) -> None:
        self._session = None


def open_session(
    path: Path, onnx: bytes, threads: int, remedy: str = "restore it or run fkp-train again"
) -> ort.InferenceSession:
    """A CPU session for the network in `onnx`, read from `path`.

    Raises WeightsError, which ends in `remedy`, when it cannot be loaded.
    """
    try:
        return ort.InferenceSession(onnx, quiet_session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types for a model it cannot load
        raise WeightsError(f"ONNX Runtime {ort.__version__} cannot load {path} ({error}); {remedy}") from error
