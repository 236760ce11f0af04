"""The GPU answers as the processor does, and goes the way it was built to go."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.backends.contract import Looks
from tracker.backends.onnxruntime import OnnxRuntime, open_session
from tracker.backends.registry import open_backend
from tracker.backends.settings import Settings
from tracker.backends.tensorrt import crops
from tracker.backends.tensorrt.device import open_device
from tracker.backends.tensorrt.guard import Gpu
from tracker.backends.weights import load
from tracker.core.landmarks import Locate
from tracker.errors import BackendUnavailable
from tracker.geometry import cut
from tracker.spec import SIZE
from tracker.types import Box, Face, Region

NEAR_PX = {"fp32": 0.05, "fp16": 0.15}
"""How far keypoints may be from the processor's, crop px."""


def regions(count: int) -> list[Region]:
    """Around the portrait's face, from a third of its size to three times."""
    random = np.random.default_rng(count)
    return [
        Region(220 + 5 * x, 110 + 5 * y, 140 * 3 ** np.clip(grow / 2, -1, 1), turn / 3)
        for x, y, grow, turn in random.normal(size=(count, 4))
    ]


def on_the_processor() -> OnnxRuntime:
    """The very network that GPUs run; processors usually get it in other operations."""
    weights = load()
    return OnnxRuntime(open_session(weights.path, weights.onnx, 1), "reference")


def test_the_kernel_cuts_what_the_processor_cuts(gpu: Gpu, portrait: NDArray[np.uint8]) -> None:
    asked = regions(32)
    device = open_device()
    try:
        kernel = device.kernel(crops.compiled(gpu), crops.KERNEL)
        head = len(asked) * crops.FACE.itemsize
        staged = device.pinned(head + portrait.nbytes)
        used = crops.stage(portrait, asked, staged[:head].view(crops.FACE), staged[head:])
        there, out = device.memory(len(staged)), device.memory(len(asked) * SIZE * SIZE)
        result = device.pinned(len(asked) * SIZE * SIZE)
        device.copy_in(there, staged, head + used)
        device.run(kernel, (-(-SIZE * SIZE // crops.THREADS), len(asked)), crops.THREADS, (there, there + head, out))
        device.copy_out(result, out)
        device.wait()
        got = result.reshape(len(asked), 1, SIZE, SIZE).astype(int)
    finally:
        device.close()
    error = np.abs(got - cut(portrait, asked))
    assert error.max() <= 1
    assert (error > 0).mean() < 0.002


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 9, 33])
def test_any_number_of_faces_is_answered_as_by_the_processor(
    backend: Any, portrait: NDArray[np.uint8], count: int
) -> None:
    asked = regions(count)
    precision = "fp16" if "fp16" in backend.name else "fp32"
    wanted = on_the_processor()(cut(portrait, asked))
    answers = [backend(cut(portrait, asked))]
    answers += [backend.look(portrait, asked)] if isinstance(backend, Looks) else []
    for answer in answers:
        for got, expected in zip(answer, wanted, strict=True):
            assert got.shape == expected.shape
            assert np.abs(got - expected).max(initial=0) * SIZE / 2 < NEAR_PX[precision]


def test_frames_may_grow_while_it_runs(backend: Any, portrait: NDArray[np.uint8]) -> None:
    faces = [Face(i, region, Box(0, 0, 1, 1), 1.0) for i, region in enumerate(regions(3))]
    cpu = on_the_processor()
    for image in (portrait, np.tile(portrait, (3, 4, 1)), portrait[:300]):
        near = np.abs(Locate(backend)(image, faces).keypoints - Locate(cpu)(image, faces).keypoints)
        assert near.max() < 0.15 * max(face.region.side for face in faces) / SIZE


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_the_second_start_builds_nothing_and_every_batch_is_a_graph(
    gpu: Gpu, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        open_backend(flavour, load()).close()
    except BackendUnavailable as refusal:
        pytest.skip(str(refusal))
    with caplog.at_level(logging.INFO, "tracker.backends"):
        open_backend(flavour, load()).close()
    assert caplog.messages == []


def test_crops_in_single_precision_do_not_depend_on_their_neighbours(
    backend: Any, make_faces: Callable[..., Any]
) -> None:
    faces = make_faces(8).images[:, None]
    alone = np.concatenate([backend(faces[i : i + 1])[0] for i in range(8)])
    assert np.abs(backend(faces)[0] - alone).max() * SIZE / 2 < (0.05 if "fp16" in backend.name else 0.01)


def test_a_closed_backend_can_be_opened_again(gpu: Gpu, portrait: NDArray[np.uint8]) -> None:
    """Nothing stays behind on the GPU, ten times over."""
    for _ in range(10):
        backend = open_backend("auto", load(), Settings())
        backend(cut(portrait, regions(1)))
        backend.close()
