"""Every backend keeps one contract, and the choice between them is never silent."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from tracker.backends.contract import Backend
from tracker.backends.registry import OPENERS, open_backend
from tracker.backends.settings import Settings
from tracker.backends.weights import load
from tracker.errors import BackendUnavailable

Crops = NDArray[np.uint8]

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = open_backend("cpu", load())
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def crops(make_faces: Callable[..., tuple[Crops, NDArray[np.float64]]]) -> Crops:
    """(33, 1, 96, 96), all different."""
    return make_faces(33).images[:, None]


@pytest.mark.parametrize("count", [0, 1, 3, 33])
def test_any_number_of_faces_is_answered(backend: Backend, crops: Crops, count: int) -> None:
    points, sigma = backend(crops[:count])
    assert (points.shape, sigma.shape) == ((count, 15, 2), (count, 15))
    assert points.dtype == sigma.dtype == np.float32
    assert (np.abs(points) < 1.5).all()
    assert (sigma > 0).all()


def test_the_number_of_faces_may_change_from_call_to_call(backend: Backend, crops: Crops) -> None:
    together, _ = backend(crops)
    for start, stop in ((0, 5), (5, 5), (5, 6), (6, 33)):
        np.testing.assert_allclose(backend(crops[start:stop])[0], together[start:stop], atol=1e-4)


def test_crops_need_not_lie_together_in_memory(backend: Backend, crops: Crops) -> None:
    np.testing.assert_allclose(backend(crops[::2])[0], backend(crops[::2].copy())[0])


def test_more_threads_give_the_same_answer(backend: Backend, crops: Crops) -> None:
    two = open_backend("cpu", load(), Settings(threads=2))
    np.testing.assert_allclose(two(crops[:3])[0], backend(crops[:3])[0], atol=1e-5)
    two.close()


def test_a_closed_backend_says_so_and_may_be_closed_again(crops: Crops) -> None:
    backend = open_backend("cpu", load())
    backend.close()
    backend.close()
    with pytest.raises(ValueError, match="closed"):
        backend(crops[:1])


def test_its_name_tells_runtime_and_version(backend: Backend) -> None:
    assert backend.name == f"onnxruntime-cpu {ort.__version__}"


def test_an_unknown_name_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match=r"backend is 'gpu', expected auto or one of .*cpu"):
        open_backend("gpu", load())


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_a_backend_asked_for_by_name_never_falls_back() -> None:
    with pytest.raises(BackendUnavailable, match=r"built without CUDA.*install onnxruntime-gpu"):
        open_backend("cuda", load())


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_auto_ends_at_the_cpu_and_logs_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tracker.backends"):
        backend = open_backend("auto", load())
    assert backend.name.startswith("onnxruntime-cpu")
    (message,) = caplog.messages
    assert message.startswith("not used: tensorrt, tensorrt-rtx: ")
    assert message.endswith(f"cuda: onnxruntime {ort.__version__} here was built without CUDA")
    backend.close()


def test_the_cpu_is_what_auto_tries_last() -> None:
    assert list(OPENERS)[-1] == "cpu"
