"""Our own part of the way over a GPU, with torch where TensorRT's engine would be: `python tests/gpu/path.py OUT.json`.

Real driver calls, memory, kernel, capture and replay.  On a real GPU the network runs there; under the stand-in driver
(tests/standin) on the processor.  Each check is a function that returns what it measured, and fails by an assertion.
"""

import ctypes
import gc
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracker.backends.choice import OnProcessorAfterLoss
from tracker.backends.contract import BATCHES, Answer, answer_of
from tracker.backends.tensorrt import crops
from tracker.backends.tensorrt.device import Device
from tracker.backends.tensorrt.driver import Driver
from tracker.backends.tensorrt.guard import find_gpu
from tracker.backends.tensorrt.runtime import ROOM_BYTES, TensorRT
from tracker.backends.weights import load
from tracker.errors import BackendError
from tracker.geometry import cut
from tracker.sources.synthetic import astronaut
from tracker.spec import SIZE
from tracker.types import Image, Region
from train.export.from_onnx import head_of
from train.export.onnx import served
from train.learn.model import SHOWN, Net
from train.learn.signals import Telling

NEAR_PX = 0.05
"""How far keypoints may be from the processor's, crop px: a few gray levels of a crop are rounded otherwise."""

DRIVER = Driver()
STANDIN: Any = DRIVER._library if hasattr(DRIVER._library, "enqueue_call") else None
PLACE = "cpu" if STANDIN else "cuda"
FACE = astronaut().image
FEW = 2 if STANDIN else 8
"""Faces where a processor would take long for more."""
CHECKS: dict[str, Callable[[], Any]] = {}


def shipped_net() -> Net | Telling:
    """The network that ships, in torch: its ONNX file names its weights as torch does."""
    weights = {each.name: onnx.numpy_helper.to_array(each).copy() for each in onnx.load(load().path).graph.initializer}
    net = served(Net(), SHOWN)
    state = {name: torch.from_numpy(weights[name]) for name in net.state_dict()}
    net.load_state_dict(state)
    net.offset = torch.from_numpy(weights["offset"]) if "offset" in weights else net.offset
    head = head_of(load())
    return net.eval() if head is None else Telling(net, head).eval()


SHAPES = load().outputs
ON_PROCESSOR = shipped_net()
NET = ON_PROCESSOR if STANDIN else shipped_net().cuda()
torch.backends.cudnn.allow_tf32 = False
torch.set_num_threads(1)


class Context:
    """An execution context: what TensorRT's does with the addresses that it is given."""

    def __init__(self, batch: int) -> None:
        self.batch, self.at = batch, {}
        self.call = ctypes.CFUNCTYPE(None)(self.infer)
        self.shapes = {"faces": ((batch, 1, SIZE, SIZE), "u1")}
        self.shapes |= {name: ((batch, *shape), "f4") for name, shape in SHAPES.items()}

    def set_tensor_address(self, name: str, address: int) -> bool:
        shape, kind = self.shapes[name]
        if STANDIN:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
            self.at[name] = torch.from_numpy(raw.view(kind).reshape(shape))
        else:
            interface = {
                "shape": shape,
                "typestr": f"|{kind}" if kind == "u1" else f"<{kind}",
                "data": (address, False),
            }
            holder = type("Raw", (), {"__cuda_array_interface__": interface | {"version": 3}})()
            self.at[name] = torch.as_tensor(holder, device="cuda")
        return address % 256 == 0

    def infer(self) -> None:
        with torch.inference_mode():
            for name, answer in zip(SHAPES, NET(self.at["faces"]), strict=True):
                self.at[name].copy_(answer)

    def execute_async_v3(self, stream: int) -> bool:
        if STANDIN:
            return STANDIN.enqueue_call(self.call) == 0
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            self.infer()
        return True


class Engine:
    """What `runtime.Engine` is to the runtime."""

    scratch_bytes, complaint, closed = 0, "", 0

    def context(self, _profile: int, batch: int, _stream: int, _scratch: int) -> Context:
        return Context(batch)

    def cache_kernels(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def opened() -> TensorRT:
    device = Device(0)
    with device:
        return TensorRT(device, Engine(), "torch in place of the engine", shapes=SHAPES)


def on_processor(faces: Image) -> Answer:
    with torch.inference_mode():
        return answer_of(*(each.numpy() for each in ON_PROCESSOR(torch.from_numpy(faces))))


def numbers(answer: Answer) -> list[NDArray[np.float32]]:
    return [*answer] if answer.signals is None else [*answer, answer.signals]


def regions(count: int, times: float = 1.0) -> list[Region]:
    """Around the portrait's face in a frame that many times as large, from a third of its size to three times."""
    random = np.random.default_rng(count)
    return [
        Region(220 * times + 5 * x, 110 * times + 5 * y, 140 * times * 3 ** np.clip(grow / 2, -1, 1), turn / 3)
        for x, y, grow, turn in random.normal(size=(count, 4))
    ]


def off_px(backend: Any, image: Image, where: list[Region]) -> float:
    """How far the answers are from the processor's, those for ready crops too; crop px."""
    here = cut(np.ascontiguousarray(image), where)
    right = numbers(on_processor(here)) * 2
    answers = [*numbers(backend.infer_frame(image, where)), *numbers(backend(here))]
    if not where:  # then nobody tells signals
        right = right[:2] * 2
    for answer, wanted in zip(answers, right, strict=True):
        assert (answer.shape, answer.dtype) == (wanted.shape, wanted.dtype)
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(answers, right, strict=True)) * SIZE / 2


def check(work: Callable[[], Any]) -> Callable[[], Any]:
    CHECKS[work.__name__] = work
    return work


@check
def crops_are_the_processors() -> dict[str, float]:
    """By shrink: the share of pixels that differ, never by more than one gray level."""
    image, shares = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8), {}
    backend = opened()
    for shrink in (*range(1, 9), 12):
        where = [Region(700 + 0.3 * i, 700 - 0.7 * i, 96 * shrink, 0.2 * i) for i in range(FEW)]
        backend.infer_frame(image, where)
        with backend._in_use() as device:
            got = device.pinned(len(where) * SIZE * SIZE)
            device.copy_out(got, backend._crops)
            device.wait()
        error = np.abs(got.reshape(-1, SIZE, SIZE).astype(int) - cut(image, where)[:, 0])
        shares[str(shrink)] = round(float((error > 0).mean()), 6)
        assert error.max() <= 1
        assert shares[str(shrink)] < 0.002
    backend.close()
    return shares


@check
def any_number_of_faces_in_any_frame() -> dict[str, float]:
    """How far keypoints and sigmas are from the processor's, crop px, by the frame's width and the faces."""
    result = {}
    with closing(opened()) as backend:
        for times, image in ((1, FACE), (3, np.tile(FACE, (3, 3, 1))), (1, FACE[:, ::-1])):
            for count in (0, 1, 3, 9) if STANDIN else (0, 1, 2, 3, 5, 8, 9, 33):
                result[f"{image.shape[1]} px, {count}"] = round(off_px(backend, image, regions(count, times)), 4)
    assert max(result.values()) < NEAR_PX, result
    return result


@check
def every_batch_is_one_graph() -> list[str]:
    warned: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tracker").addHandler(handler)
    with closing(opened()) as backend:
        assert backend._graphs == {}  # nothing is made before it is needed
        for batch in BATCHES:
            backend.infer_frame(FACE, regions(batch))
        assert all(backend._graphs.values())
        assert list(backend._graphs) == list(BATCHES)
    logging.getLogger("tracker").removeHandler(handler)
    assert warned == []
    return warned


@check
def room_grows_and_shrinks() -> dict[str, Any]:
    """Pictures of 1 to 9 Mpx, each with a face that fills it, then a small one."""
    random, rooms = np.random.default_rng(0), []
    with closing(opened()) as backend:
        backend.infer_frame(FACE, regions(1))
        before = held()
        for _ in range(10 if STANDIN else 40):
            height = int(random.integers(800, 2400))
            image = np.zeros((height, height * 3 // 2, 3), np.uint8)
            backend.infer_frame(image, [Region(height / 2, height / 2, height, 0.1)])
            rooms.append(backend._room)
            assert backend._room <= 2 * image.nbytes * 4
        grown = held()
        assert off_px(backend, FACE[:300], regions(1)) < NEAR_PX
        assert backend._room == ROOM_BYTES
        shrunk = held()
    if STANDIN:
        assert before == grown == shrunk
    return {"largest room, MB": round(max(rooms) / 1e6, 1), "changes": int((np.diff(rooms) != 0).sum())}


@check
def two_trackers_and_other_threads() -> list[float]:
    one, two = opened(), opened()
    results = [off_px(one, FACE, regions(3)), off_px(two, FACE, regions(4))]
    thread = threading.Thread(target=lambda: results.append(off_px(one, FACE, regions(2))))
    thread.start()
    thread.join()
    one.close()
    results.append(off_px(two, FACE, regions(2)))
    two.close()
    assert len(results) == 4
    assert max(results) < NEAR_PX
    if STANDIN:
        assert STANDIN.depth() == 0  # this thread has the context that it had before: none
    else:
        assert float(torch.ones(3, device="cuda").sum()) == 3
    return [round(each, 4) for each in results]


@check
def nothing_stays_behind() -> list[int]:
    """What is held after each of some openings: things that were made, of a real GPU MB."""
    seen = []
    for _ in range(3 if STANDIN else 10):
        with closing(opened()) as backend:
            backend.infer_frame(FACE, regions(2))
        backend.close()
        assert backend._engine.closed == 1
        gc.collect()
        seen.append(held())
    with pytest.raises(ValueError, match="this backend is closed"):
        backend.infer_frame(FACE, regions(1))
    assert seen[-1] <= seen[0] + (0 if STANDIN else 2)
    return seen


@check
def frame_to_keypoints_us() -> dict[str, Any]:
    """Percentiles 50, 95, 99 by the number of faces, and the same without upload and wait."""
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :512] = FACE[:480]
    result, repeats = {}, 3 if STANDIN else 2000
    with closing(opened()) as backend:
        for count in BATCHES[:3]:
            where = [Region(220 + i, 110 + i, 140 + i, 0.02 * i) for i in range(count)]
            times = []
            for _ in range(2 * repeats):
                start = time.perf_counter()
                backend.infer_frame(image, where)
                times.append(time.perf_counter() - start)
            start = time.perf_counter()
            backend.repeat(count, repeats)
            only = (time.perf_counter() - start) / repeats
            percentiles = np.percentile(times[repeats:], (50, 95, 99)) * 1e6
            result[str(count)] = [*percentiles.round(1).tolist(), "crops and network only", round(only * 1e6, 1)]
    return result


@check
def a_lost_gpu_is_closed_and_the_processor_goes_on() -> dict[str, str]:
    """Last, because a real GPU is lost for this whole process by a kernel that reads where it may not."""

    class Processor:
        name = "the processor"

        def __call__(self, faces: Image) -> Any:
            return on_processor(faces)

        def close(self) -> None:
            pass

    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("tracker").addHandler(handler)
    before, lone, backend = held(), opened(), opened()
    tracker = OnProcessorAfterLoss(backend, Processor)
    assert off_px(tracker, FACE, regions(2)) < NEAR_PX
    lone.infer_frame(FACE, regions(1))
    if STANDIN:
        STANDIN.lose()
    else:
        with backend._in_use() as device:
            device.run(backend._cutter, (1, 1), crops.THREADS, (0, 0, 0))
    assert off_px(tracker, FACE, regions(2)) < 1e-3
    assert off_px(tracker, FACE, regions(1)) < 1e-3
    assert tracker.name == "the processor"
    assert len(messages) == 1, messages
    assert backend._engine.closed == 1
    tracker.close()
    with pytest.raises(BackendError) as lost:
        lone.infer_frame(FACE, regions(1))
    lone.close()
    assert lone._engine.closed == 1
    if STANDIN:
        assert held() == before
    return {"auto": messages[0], "by name": str(lost.value)}


def held() -> int:
    if STANDIN:
        return int(STANDIN.held())
    free, total = torch.cuda.mem_get_info()
    return (total - free) // 10**6


def main(out: Path) -> int:
    """Run every check; 1 where one failed."""
    gpu = find_gpu()
    said: dict[str, Any] = {
        "gpu": str(gpu),
        "driver is a stand-in": bool(STANDIN),
        "torch": torch.__version__,
        "failed": {},
    }
    for name, work in CHECKS.items():
        start = time.perf_counter()
        try:
            said[name] = work()
        except BaseException:
            said["failed"][name] = traceback.format_exc(limit=-6)
        said.setdefault("seconds", {})[name] = round(time.perf_counter() - start, 2)
        out.write_text(json.dumps(said, indent=1, default=str))
    return int(bool(said["failed"]))


if __name__ == "__main__":
    os._exit(main(Path(sys.argv[1])))  # without torch's own end, which may abort on a lost GPU
