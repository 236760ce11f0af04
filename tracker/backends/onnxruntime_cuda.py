"""The network in ONNX Runtime on an NVIDIA GPU (the package onnxruntime-gpu, by the extra `cuda`)."""

import contextlib
import ctypes
import io
import logging
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.contract import Answer, answer_of, in_batches, refused_where_it_fails
from tracker.backends.onnxruntime import quiet_session_options
from tracker.backends.selfcheck import checked
from tracker.backends.settings import Settings
from tracker.backends.weights import Weights
from tracker.errors import BackendError, BackendUnavailable, first_line
from tracker.spec import SIZE

log = logging.getLogger(__name__)

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # the default times every algorithm for every number of faces
    "use_tf32": "0",  # fp32 means fp32: TF32 has the mantissa of half
}
INSTALL = "pip install --force-reinstall --no-deps onnxruntime-gpu"
"""Puts its files over those of onnxruntime, which fkp depends on and which has the same module."""


class OnnxRuntimeCuda:
    """Backend over a session on a GPU; see `tracker.backends.contract` for the contract."""

    def __init__(self, session: Any, name: str, *place: Any) -> None:
        """`place` is ONNX Runtime's word for where tensors lie, and the number of the device."""
        self.name = name
        self._session, self._place = session, place
        self._lanes: dict[int, Lane] = {}

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        """Raises BackendError if the GPU fails."""
        if self._session is None:
            raise ValueError("this backend is closed")

        def infer(batch: int, some: slice) -> Answer:
            if batch not in self._lanes:
                self._lanes[batch] = Lane(self._session, self._place, batch)
            return self._lanes[batch](faces[some])

        try:
            return in_batches(len(faces), infer)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            raise BackendError(f"{self.name} fails ({first_line(error)}); use --backend cpu") from error

    def close(self) -> None:
        self._lanes.clear()
        self._session = None


class Lane:
    """One batch size: inputs and outputs that stay where they are on the GPU, as CUDA graphs want it."""

    def __init__(self, session: Any, place: tuple[Any, ...], batch: int) -> None:
        self._session, self._binding, self._run = session, session.io_binding(), ort.RunOptions()
        self._run.add_run_config_entry("gpu_graph_id", str(batch))
        self._faces = np.zeros((batch, 1, SIZE, SIZE), np.uint8)
        self._input = ort.OrtValue.ortvalue_from_numpy(self._faces, *place)
        self._binding.bind_ortvalue_input("faces", self._input)
        self._outputs = []
        for output in session.get_outputs():
            shape = (batch, *output.shape[1:])
            self._outputs.append(ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, *place))
            self._binding.bind_ortvalue_output(output.name, self._outputs[-1])

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        """(N, 1, 96, 96), N up to the batch."""
        self._faces[: len(faces)] = faces
        self._input.update_inplace(self._faces)
        self._session.run_with_iobinding(self._binding, self._run)
        return answer_of(*(output.numpy()[: len(faces)] for output in self._outputs))


def open_cuda(weights: Weights, settings: Settings) -> OnnxRuntimeCuda:
    """The network on a GPU: as CUDA graphs or, if the GPU does not take those, kernel by kernel.

    Raises BackendUnavailable when this onnxruntime has no CUDA or no GPU answers, WeightsError when the weights come
    without this precision.
    """
    if PROVIDER not in ort.get_available_providers():
        raise BackendUnavailable(*_why_not())
    onnx = weights.at(settings.precision)
    name = f"onnxruntime-cuda {ort.__version__} {settings.precision}"
    for graphs in ("1", "0"):
        options = OPTIONS | {"device_id": str(settings.device), "enable_cuda_graph": graphs}
        try:
            with refused_where_it_fails(name):
                backend = OnnxRuntimeCuda(_session(onnx, options), name, "cuda", settings.device)
            return checked(backend, weights, settings.precision)
        except BackendUnavailable as error:
            log.debug("%s with enable_cuda_graph=%s: %s", name, graphs, error)
            refusal = error
    raise refusal


def _session(onnx: bytes, options: dict[str, str]) -> Any:
    """Raises BackendUnavailable with the loader's or the GPU's own reason."""
    with _quiet():
        ort.preload_dlls()
        try:
            session = ort.InferenceSession(
                onnx, quiet_session_options(1), providers=[(PROVIDER, options)], enable_fallback=0
            )
        except Exception as error:  # a dozen unrelated types, for a missing GPU as for a missing library
            raise BackendUnavailable(
                f"ONNX Runtime's CUDA does not start ({first_line(error)})", "check --device and nvidia-smi"
            ) from error
    if PROVIDER in session.get_providers():
        return session
    raise BackendUnavailable(
        f"ONNX Runtime's CUDA does not load ({_loaders_reason() or 'no usable NVIDIA GPU'})",
        'pip install "onnxruntime-gpu[cuda,cudnn]", and check nvidia-smi',
    )


def _loaders_reason() -> str | None:
    """What the system's loader says of the part of ONNX Runtime that links to CUDA; None if it loads."""
    folder = Path(ort.__file__).parent / "capi"
    try:
        if sys.platform == "win32":
            ctypes.CDLL(str(folder / "onnxruntime_providers_cuda.dll"))
        else:
            ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What ONNX Runtime prints about libraries that are missing goes to the debug log: the message says it better."""
    ort.set_default_logger_severity(4)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        ort.set_default_logger_severity(2)  # its default
        log.debug("ONNX Runtime: %s", printed.getvalue())


def _why_not() -> tuple[str, str]:
    """Why this onnxruntime has no CUDA, and what to do."""
    try:
        version = metadata.version("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        return "onnxruntime-gpu is not installed", f'pip install "fkp[cuda]", then {INSTALL}'
    return f"onnxruntime's files lie over those of onnxruntime-gpu {version}, which has the same module", INSTALL
