"""The network in ONNX Runtime, on the CPU (the embedded default) or on an NVIDIA GPU (onnxruntime-gpu)."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.settings import Precision
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable, WeightsError
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
    """Backend over one ONNX Runtime session; see `tracker.backends.Backend` for the contract."""

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self.name = name
        self._session: ort.InferenceSession | None = session

    @classmethod
    def open_cpu(cls, weights: Weights, threads: int) -> "OnnxRuntime":
        """Raises WeightsError when ONNX Runtime cannot load the model."""
        return cls(open_session(weights.path, weights.for_cpu(), threads), f"onnxruntime-cpu {ort.__version__}")

    @classmethod
    def open_cuda(cls, weights: Weights, precision: Precision) -> "OnnxRuntime":
        """Raises BackendUnavailable when this onnxruntime has no CUDA or no GPU answers, WeightsError when the weights
        come without this precision."""
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise BackendUnavailable(
                f"onnxruntime {ort.__version__} here was built without CUDA",
                "for an NVIDIA GPU: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
            )
        onnx = weights.at(precision)
        try:
            session = _session(onnx, 1, "CUDAExecutionProvider")
        except Exception as error:  # a dozen unrelated types, for a missing GPU as for a missing library
            raise BackendUnavailable(f"ONNX Runtime's CUDA does not start ({error})", "check nvidia-smi") from error
        if "CUDAExecutionProvider" not in session.get_providers():
            raise BackendUnavailable("ONNX Runtime has CUDA but found no usable NVIDIA GPU", "check nvidia-smi")
        return cls(session, f"onnxruntime-cuda {ort.__version__} {precision}")

    def __call__(self, faces: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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
        return _session(onnx, threads, "CPUExecutionProvider")
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types for a model it cannot load
        raise WeightsError(f"ONNX Runtime {ort.__version__} cannot load {path} ({error}); {remedy}") from error


def _session(onnx: bytes, threads: int, provider: str) -> ort.InferenceSession:
    # By default ONNX Runtime answers a failing GPU with a print to stdout and goes on without it.
    return ort.InferenceSession(onnx, quiet_session_options(threads), providers=[provider], enable_fallback=0)
