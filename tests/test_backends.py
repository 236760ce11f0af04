"""Every backend keeps one contract, and the choice between them is never silent."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from faces import cut_faces
from numpy.typing import NDArray

from tracker.backends.choice import open_backend
from tracker.backends.contract import Answer, Backend, in_batches, infer_frame
from tracker.backends.onnxruntime import open_session
from tracker.backends.onnxruntime_cuda import OnnxRuntimeCuda
from tracker.backends.registry import BACKENDS, Row
from tracker.backends.selfcheck import checked
from tracker.backends.settings import Precision, Settings
from tracker.backends.tensorrt.guard import find_gpu
from tracker.backends.weights import load
from tracker.errors import BackendError, BackendUnavailable
from tracker.geometry import cut
from tracker.types import Region

Crops = NDArray[np.uint8]

ONNXRUNTIME_GPU = any(each.metadata["Name"] == "onnxruntime-gpu" for each in metadata.distributions())


def has_driver() -> bool:
    try:
        find_gpu()
    except BackendUnavailable as refusal:
        return "no NVIDIA driver" not in refusal.reason
    return True


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = open_backend("cpu", load())
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def crops() -> Crops:
    """(33, 1, 96, 96), all different."""
    return cut_faces(33).images[:, None]


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


def test_a_backend_asked_for_by_name_never_falls_back() -> None:
    if ONNXRUNTIME_GPU:
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(
        BackendUnavailable, match=r"onnxruntime-gpu is not installed; pip install \"fkp\[cuda\]\", then"
    ):
        open_backend("cuda", load())


def test_the_usual_package_over_the_one_for_gpus_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip makes of both: they have the same module, and the one it installs last wins."""
    (tmp_path / "onnxruntime_gpu-1.31.1.dist-info").mkdir()
    (tmp_path / "onnxruntime_gpu-1.31.1.dist-info" / "METADATA").write_text("Name: onnxruntime-gpu\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendUnavailable,
        match=r"files lie over those of onnxruntime-gpu 1\.31\.1.*pip install --force-reinstall --no-deps",
    ):
        open_backend("cuda", load())


def test_a_library_that_is_missing_is_named_as_the_loader_does_and_nothing_else_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not ONNXRUNTIME_GPU or has_driver():
        pytest.skip("needs onnxruntime-gpu without a GPU")
    with pytest.raises(BackendUnavailable, match=r"CUDA does not load \(lib\w+\.so.*: cannot open shared object file"):
        open_backend("cuda", load())
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("count", [0, 1, 3, 9, 33])
def test_bound_tensors_are_answered_as_those_of_a_call(backend: Backend, crops: Crops, count: int) -> None:
    """The way of the crops through ONNX Runtime's bindings, with the processor's tensors in place of the GPU's."""
    session = open_session(load().path, load().for_cpu(), 1)
    with closing(OnnxRuntimeCuda(session, "bound", "cpu", 0)) as bound:
        for faces in (crops[:count], crops[::-1][:count]):
            for answer, wanted in zip(bound(faces), backend(faces), strict=True):
                assert (answer.shape, answer.dtype) == (wanted.shape, wanted.dtype)
                np.testing.assert_allclose(answer, wanted, atol=1e-4)


def test_answers_of_bound_tensors_are_kept_by_later_calls(crops: Crops) -> None:
    session = open_session(load().path, load().for_cpu(), 1)
    with closing(OnnxRuntimeCuda(session, "bound", "cpu", 0)) as bound:
        first = bound(crops[:1])[0]
        before = first.copy()
        bound(crops[5:6])
        np.testing.assert_array_equal(first, before)
    with pytest.raises(ValueError, match="closed"):
        bound(crops[:1])


def test_auto_ends_at_the_cpu_and_logs_why(caplog: pytest.LogCaptureFixture) -> None:
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    with caplog.at_level(logging.INFO, "tracker.backends"):
        backend = open_backend("auto", load())
    assert backend.name.startswith("onnxruntime-cpu")
    (message,) = caplog.messages
    assert message.startswith("not used: tensorrt, tensorrt-rtx: no NVIDIA driver here")
    assert "; cuda: " in message
    backend.close()


class Gpu:
    """A GPU's backend that answers as the processor does, but for what a test has it do wrong."""

    name = "a GPU"

    def __init__(self, wrong: Callable[[Answer], Answer] = lambda answer: answer) -> None:
        self._cpu, self._wrong, self.closed = open_backend("cpu", load()), wrong, 0
        self.asked: list[int] = []

    def __call__(self, faces: Crops) -> Answer:
        self.asked.append(len(faces))
        return self._wrong(self._cpu(faces))

    def close(self) -> None:
        self.closed += 1


class GpuWithCrops(Gpu):
    def infer_frame(self, image: Crops, regions: Sequence[Region]) -> Answer:
        return self(cut(image, regions))


def fail(_answer: Answer) -> Answer:
    raise BackendError("CUDA's cuGraphLaunch fails: unspecified launch failure (CUDA error 719); check nvidia-smi")


def test_a_gpu_that_answers_as_the_processor_is_taken_after_1_2_and_8_faces() -> None:
    for gpu in (Gpu(), GpuWithCrops()):
        assert checked(gpu, load(), "fp32") is gpu
        assert gpu.asked == [1, 2, 8]
        assert gpu.closed == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda near, answer: (answer[0] + 1.1 * near, answer[1]),
        lambda near, answer: (answer[0], answer[1] + 1.1 * near),
        lambda _near, answer: (answer[0] * np.nan, answer[1]),
        lambda near, answer: (answer[0] + 1.1 * near * (len(answer[0]) == 8), answer[1]),
        lambda _near, answer: (answer[0][::-1], answer[1][::-1]),
        lambda _near, answer: fail(answer),
    ],
    ids=["points", "sigma", "nan", "only of 8", "order", "fails"],
)
def test_a_gpu_that_answers_otherwise_is_refused_and_closed(
    precision: Precision, wrong: Callable[[float, Answer], Answer]
) -> None:
    near = {"fp32": 0.02, "fp16": 0.15}[precision] / 48
    gpu = Gpu(lambda answer: wrong(near, answer))
    with pytest.raises(BackendUnavailable, match=r"a GPU (answers wrongly: .* px|does not run here)"):
        checked(gpu, load(), precision)
    assert gpu.closed == 1


def test_the_check_allows_for_what_half_precision_costs() -> None:
    checked(Gpu(lambda answer: (answer[0] + 0.1 / 48, answer[1])), load(), "fp16")


def test_auto_takes_the_next_runtime_where_one_answers_wrongly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    off, right = Gpu(lambda answer: (answer[0] + 0.1, answer[1])), Gpu()
    openers = {"tensorrt": off, "cuda": right}
    for name, gpu in openers.items():
        opener = partial(lambda gpu, weights, settings: checked(gpu, weights, settings.precision), gpu)
        monkeypatch.setitem(BACKENDS, name, Row(opener, gpu=True))
    with caplog.at_level(logging.INFO, "tracker.backends"):
        backend = open_backend("auto", load())
    assert backend.name == "a GPU"
    assert (off.closed, right.closed) == (1, 0)
    assert "tensorrt: a GPU answers wrongly: 4.8 px" in caplog.text
    backend.close()
    assert right.closed == 1


@pytest.mark.parametrize("kind", [Gpu, GpuWithCrops])
def test_under_auto_the_processor_goes_on_where_the_gpu_is_lost(
    kind: type[Gpu], crops: Crops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = kind()
    monkeypatch.setitem(BACKENDS, "tensorrt", Row(lambda _weights, _settings: gpu, gpu=True))
    with closing(open_backend("auto", load())) as backend:
        before = backend(crops[:3])
        gpu._wrong = fail
        for _ in range(3):
            np.testing.assert_array_equal(backend(crops[:3])[0], before[0])
            image = np.repeat(np.repeat(crops[0, 0, :, :, None], 3, 2), 2, 0)
            assert infer_frame(backend, image, [Region(48, 90, 80, 0.1)])[0].shape == (1, 15, 2)
        assert backend.name.startswith("onnxruntime-cpu")
    assert gpu.closed == 1
    assert caplog.messages == [
        "CUDA's cuGraphLaunch fails: unspecified launch failure (CUDA error 719); continuing with " + backend.name
    ]


def test_asked_for_by_name_a_lost_gpu_ends_the_run(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "cuda", Row(lambda _weights, _settings: Gpu(fail), gpu=True))
    with closing(open_backend("cuda", load())) as backend, pytest.raises(BackendError, match="CUDA error 719"):
        backend(crops)


def test_faces_are_split_and_filled_up_to_the_batches_of_a_gpu() -> None:
    seen: list[tuple[int, slice]] = []

    def infer(batch: int, some: slice) -> Answer:
        seen.append((batch, some))
        count = some.stop - some.start
        return np.full((count, 15, 2), some.start, np.float32), np.zeros((count, 15), np.float32)

    for count in (0, 1, 3, 8, 9, 70):
        points, sigma = in_batches(count, infer)
        assert (points.shape, sigma.shape) == ((count, 15, 2), (count, 15))
    assert [(batch, some.stop - some.start) for batch, some in seen] == [
        *((1, 1), (8, 3), (8, 8), (32, 9)),
        *((32, 32), (32, 32), (8, 6)),
    ]
    assert points[:, 0, 0].tolist() == [0] * 32 + [32] * 32 + [64] * 6


def test_the_cpu_is_what_auto_tries_last() -> None:
    assert list(BACKENDS)[-1] == "cpu"
