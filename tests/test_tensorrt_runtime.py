"""The way of a frame over the GPU: staged, uploaded, cut, answered and downloaded as the CPU would have it.

Without a GPU a stand-in driver (tests/standin) does on the processor what it is told, and ONNX Runtime stands where the
engine would: what is tested is our own part, every call of the driver included.  tests/gpu has the real thing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = """
import ctypes, json, sys
import numpy as np
from tracker.backends.contract import Looks
from tracker.backends.onnxruntime import OnnxRuntime, open_session
from tracker.backends.tensorrt import crops, device, runtime
from tracker.geometry import cut
from tracker.core.landmarks import Locate
from tracker.sources.synthetic import astronaut
from tracker.types import Box, Face, Region
from tracker.backends.weights import load

driver = ctypes.CDLL("libcuda.so.1")
cpu = OnnxRuntime(open_session(load().path, load().onnx, 1), "reference")

def at(address, shape, dtype):
    raw = (ctypes.c_uint8 * (int(np.prod(shape)) * np.dtype(dtype).itemsize)).from_address(address)
    return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)

class Context:
    def __init__(self, batch):
        self.batch, self.addresses = batch, {}
        self.call = ctypes.CFUNCTYPE(None)(self.infer)
    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return address % 256 == 0
    def infer(self):
        faces = at(self.addresses["faces"], (self.batch, 1, 96, 96), np.uint8)
        points, sigma = cpu(faces)
        at(self.addresses["points"], points.shape, np.float32)[:] = points
        at(self.addresses["sigma"], sigma.shape, np.float32)[:] = sigma
    def execute_async_v3(self, stream):
        driver.enqueue_call(self.call)
        return True

class Engine:
    scratch_bytes, complaint, closed = 0, "", 0
    def context(self, profile, batch, stream, scratch):
        return Context(batch)
    def close(self):
        self.closed += 1

gpu = device.open_device()
engine = Engine()
backend = runtime.TensorRT(gpu, gpu.kernel(open(sys.argv[1], "rb").read(), crops.KERNEL), engine, (1, 2, 4, 8), "x")
assert isinstance(backend, Looks)
portrait = astronaut().image
tiled = np.tile(portrait, (3, 3, 1))  # larger than any frame before
random = np.random.default_rng(0)
results = []
for image in (portrait, tiled, portrait[:, ::-1]):
    for count in (0, 1, 3, 8, 19):
        places = random.normal(size=(count, 4)) * 3
        regions = [Region(220 + x, 110 + y, 140 + 9 * grow, turn / 9) for x, y, grow, turn in places]
        crops_here = cut(np.ascontiguousarray(image), regions)
        wanted = cpu(crops_here)
        for answer in (backend.look(image, regions), backend(crops_here)):
            assert [a.shape for a in answer] == [w.shape for w in wanted]
            assert [a.dtype for a in answer] == [w.dtype for w in wanted]
            off = max((float(abs(a - w).max(initial=0)) for a, w in zip(answer, wanted)))
            results.append(off * 48)
faces = [Face(0, Region(220, 110, 140, 0), Box(0, 0, 1, 1), 1.0, fresh=True)]
located = [Locate(each)(portrait, faces).keypoints for each in (backend, cpu)]
backend.close()
backend.close()
try:
    backend.look(portrait, [])
except ValueError as error:
    said = str(error)
print(json.dumps({"off_px": results, "located_off_px": float(abs(located[0] - located[1]).max()), "said": said,
                  "engine_closed": engine.closed}))
"""


@pytest.fixture(scope="module")
def outcome(stand_in_driver: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the runtime did in a process that takes the stand-in for its driver."""
    pytest.importorskip("cuda.bindings", reason="needs the extra `rtx`")
    module = tmp_path_factory.mktemp("module") / "crop.cubin"
    module.write_bytes(b"\x7fELF")
    command = [sys.executable, "-c", RUN, str(module)]
    environment = os.environ | {"LD_LIBRARY_PATH": str(stand_in_driver())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_any_number_of_faces_in_frames_of_any_size_is_answered_as_the_cpu_does(outcome: dict[str, Any]) -> None:
    assert len(outcome["off_px"]) == 30
    assert max(outcome["off_px"]) < 0.05


def test_crops_cut_elsewhere_are_answered_to_the_last_digits(outcome: dict[str, Any]) -> None:
    assert max(outcome["off_px"][1::2]) < 1e-4


def test_locating_goes_by_the_backends_own_eyes(outcome: dict[str, Any]) -> None:
    assert outcome["located_off_px"] < 0.1


def test_closing_twice_frees_once_and_then_it_says_so(outcome: dict[str, Any]) -> None:
    assert outcome["engine_closed"] == 1
    assert outcome["said"] == "this backend is closed"
