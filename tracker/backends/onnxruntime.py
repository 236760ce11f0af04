"""The network in ONNX Runtime on the processor, the default on every machine."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.contract import NOBODY, Answer, answer_of
from tracker.backends.weights import Weights
from tracker.errors import WeightsError, first_line
from tracker.spec import SIZE

UNBOUNDED = ["ConstantFolding"]
"""Computes while a network is loaded, in ONNX Runtime 1.23 without a limit; our networks are as fast without it."""

MEMORY_BYTES = 2**32
"""Memory limit for networks from outside, all sessions of this process together; a hundred faces take 0.2 GB."""


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
    options.log_severity_level = 4  # whatever is wrong is raised too
    return options


class OnnxRuntime:
    """Backend over one ONNX Runtime session; see `tracker.backends.contract` for the contract."""

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self.name = name
        self._session: ort.InferenceSession | None = session

    @classmethod
    def open_cpu(cls, weights: Weights, threads: int) -> "OnnxRuntime":
        """Raises WeightsError when ONNX Runtime cannot load the model, or it is not the network of the contract."""
        session = open_session(weights.path, weights.for_cpu(), threads, bounded=True)
        _check_contract(session, weights)
        _probe(session, weights)
        return cls(session, f"onnxruntime-cpu {ort.__version__}")

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        if self._session is None:
            raise ValueError("this backend is closed")
        if len(faces) == 0:
            return NOBODY
        return answer_of(*self._session.run(None, {"faces": faces}))

    def close(self) -> None:
        self._session = None


def open_session(
    path: Path, onnx: bytes, threads: int, remedy: str = "restore it or run fkp-train again", *, bounded: bool = False
) -> ort.InferenceSession:
    """A CPU session for the network in `onnx`, read from `path`; with `bounded` it shares `MEMORY_BYTES`.

    Raises WeightsError, which ends in `remedy`, when it cannot be loaded.
    """
    options = quiet_session_options(threads)
    if bounded:
        _bound_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return ort.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"], disabled_optimizers=UNBOUNDED if bounded else None
        )
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types for a model it cannot load
        raise WeightsError(
            f"ONNX Runtime {ort.__version__} cannot load {path} ({first_line(error)}); {remedy}"
        ) from error


@cache
def _bound_memory() -> None:
    """Make ONNX Runtime raise if a network asks for more; without a bound the system would end the process."""
    arena = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    only_what_is_asked_for = 1
    config = ort.OrtArenaCfg({"max_mem": MEMORY_BYTES, "arena_extend_strategy": only_what_is_asked_for})
    ort.create_and_register_allocator(arena, config)


def _check_contract(session: ort.InferenceSession, weights: Weights) -> None:
    """Raises WeightsError when the network takes or gives something else than the contract in its card says."""
    contract = weights.card["contract"]
    promised = [contract["input"], *contract["outputs"]]
    expected = [_described(each["name"], each["dtype"], each["shape"]) for each in promised]
    seen = [
        _described(each.name, {"tensor(float)": "float32"}.get(each.type, each.type[7:-1]), each.shape)
        for each in (*session.get_inputs(), *session.get_outputs())
    ]
    if seen != expected:
        raise WeightsError(
            f"{weights.path}: the network has {'; '.join(seen)}, expected {'; '.join(expected)}; restore it or run "
            "fkp-train"
        )


def _described(name: str, dtype: str, shape: list[Any]) -> str:
    sizes = ["N" if not isinstance(size, int) else str(size) for size in shape]
    return f"{name} {dtype} ({', '.join(sizes)})"


def _probe(session: ort.InferenceSession, weights: Weights) -> None:
    """Run the network on two gray crops, 1 ms.  Raises WeightsError if the answer is not valid."""
    try:
        answer = session.run(None, {"faces": np.full((2, 1, SIZE, SIZE), 128, np.uint8)})
    except Exception as error:  # as in `open_session`
        raise WeightsError(
            f"{weights.path} cannot be run ({first_line(error)}); restore it or run fkp-train again"
        ) from error
    shapes, wanted = [each.shape for each in answer], [(2, *shape) for shape in weights.outputs.values()]
    sigmas = answer[1::2]
    if shapes != wanted or not all(np.isfinite(each).all() for each in answer) or any((s <= 0).any() for s in sigmas):
        raise WeightsError(
            f"{weights.path} answers {' and '.join(map(str, shapes))} numbers, or numbers that are not finite, or a "
            f"sigma that is not positive; expected {' and '.join(map(str, wanted))} finite ones; restore it or run "
            "fkp-train again"
        )
