"""The network on the GPU, from the frame to its points: upload, crops, engine and download without a stop in between.

Frame px in, unit space out.  Per batch size there is one execution context and one CUDA graph, made when they are first
needed: the crops' kernel, the engine and the download.  Addresses stay while the graph lives, so a frame costs one
upload, one launch and one wait.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.backends.contract import (
    BATCHES,
    OTHERS_INSTEAD,
    Answer,
    Outputs,
    answer_of,
    in_batches,
    refused_where_it_fails,
)
from tracker.backends.tensorrt import crops
from tracker.backends.tensorrt.build import UNSAID, Recipe, engine, in_a_name, listener_of
from tracker.backends.tensorrt.cache import Cache, Facts
from tracker.backends.tensorrt.device import Device, aligned
from tracker.backends.tensorrt.guard import Gpu, dotted
from tracker.errors import BackendError, BackendUnavailable
from tracker.geometry import patch_of
from tracker.spec import SIZE
from tracker.types import Region

log = logging.getLogger(__name__)

CROP_BYTES = SIZE * SIZE
ROOM_BYTES = 2**20
"""Room for pixels until more are needed: a dozen faces of a camera's picture."""


class Lane(NamedTuple):
    """One batch size: its context, and its outputs in this computer's memory."""

    batch: int
    context: Any
    outputs: NDArray[np.uint8]
    """One output of the whole batch after the other, each from an aligned byte on."""
    shapes: Outputs

    def answer(self, count: int) -> Answer:
        """A copy of the first faces' outputs."""
        return answer_of(
            *(
                self.outputs[start : start + self.batch * math.prod(shape) * 4]
                .view(np.float32)
                .reshape(self.batch, *shape)[:count]
                .copy()
                for start, shape in zip(_starts(self.shapes, self.batch), self.shapes.values(), strict=False)
            )
        )


def _starts(shapes: Outputs, batch: int) -> list[int]:
    """Where each output of a batch begins, bytes; then where the last one ends."""
    return list(itertools.accumulate((aligned(batch * math.prod(each) * 4) for each in shapes.values()), initial=0))


class TensorRT:
    """Backend over an engine of either flavour; see `tracker.backends.contract` for the contract."""

    def __init__(
        self, device: Device, loaded: Any, name: str, shapes: Outputs, batches: Sequence[int] = BATCHES
    ) -> None:
        """`loaded` is the `Engine`, with outputs of these `shapes`; it lives on `device`, which is in use and closed
        with this."""
        self.name = name
        self._device: Device | None = device
        self._engine, self._shapes, self._batches = loaded, shapes, batches
        self._cutter = device.kernel(crops.COMPILED.read_bytes() + b"\0", crops.KERNEL)
        largest = max(batches)
        self._crops = device.memory(largest * CROP_BYTES)
        self._outputs = device.memory(_starts(shapes, largest)[-1])
        self._faces = device.pinned(largest * CROP_BYTES)
        self._scratch = device.memory(loaded.scratch_bytes)
        self._lanes: dict[int, Lane] = {}
        self._graphs: dict[int, int] = {}
        """One for each batch size needed since the buffers last grew; 0 if it cannot be recorded."""
        self._head = aligned(largest * crops.FACE.itemsize)
        self._room, self._staged, self._frame = 0, np.empty(0, np.uint8), 0
        self._make_room(device, ROOM_BYTES)

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        """Crops (N, 1, 96, 96) uint8 that were cut elsewhere."""

        def infer(batch: int, some: slice) -> Answer:
            part, lane = faces[some], self._lane(device, batch)
            self._faces[: part.size].reshape(part.shape)[:] = part
            device.copy_in(self._crops, self._faces, lane.batch * CROP_BYTES)
            self._infer(device, lane)
            device.wait()
            return lane.answer(len(part))

        with self._in_use() as device:
            return in_batches(len(faces), infer, self._batches)

    def infer_frame(self, image: NDArray[np.uint8], regions: Sequence[Region]) -> Answer:
        """A BGR frame (H, W, 3) uint8 and the regions of N faces, frame px."""

        def infer(batch: int, some: slice) -> Answer:
            lane = self._lane(device, batch)
            used = self._stage(device, lane, image, regions[some])
            device.copy_in(self._frame, self._staged, used)
            self._run(device, lane)
            device.wait()
            return lane.answer(some.stop - some.start)

        with self._in_use() as device:
            return in_batches(len(regions), infer, self._batches)

    def repeat(self, count: int, times: int) -> None:
        """Crops and network of `count` faces, a batch, that often without a stop in between: for measurements."""
        with self._in_use() as device:
            lane = self._lane(device, count)
            for _ in range(times):
                self._run(device, lane)
            device.wait()

    def close(self) -> None:
        """Free the GPU, even a lost one; may be called again."""
        if self._device is not None:
            device, self._device = self._device, None
            with suppress(BackendError), device:
                device.wait()
            self._lanes.clear()  # contexts go before their engine, and the engine before the GPU
            self._engine.close()
            device.close()

    @contextmanager
    def _in_use(self) -> Iterator[Device]:
        """The GPU, made current for the calling thread."""
        if self._device is None:
            raise ValueError("this backend is closed")
        try:
            with self._device:
                yield self._device
        except BackendUnavailable:
            raise
        except BackendError as error:
            raise BackendError(
                f"{self.name} failed ({error}); check nvidia-smi; --backend auto would continue on the processor"
            ) from error

    def _lane(self, device: Device, batch: int) -> Lane:
        if batch not in self._lanes:
            self._lanes[batch] = self._opened(device, batch)
        return self._lanes[batch]

    def _opened(self, device: Device, batch: int) -> Lane:
        context = self._engine.context(self._batches.index(batch), batch, device.stream, self._scratch)
        starts = _starts(self._shapes, batch)
        of_outputs = {name: self._outputs + start for name, start in zip(self._shapes, starts, strict=False)}
        addresses = {"faces": self._crops, **of_outputs}
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise BackendUnavailable(f"the engine has no {name} at batch {batch}", OTHERS_INSTEAD)
        lane = Lane(batch, context, device.pinned(starts[-1]), self._shapes)
        self._infer(device, lane)  # TensorRT prepares itself in the first run, which cannot be recorded
        device.wait()
        self._engine.cache_kernels()
        return lane

    def _make_room(self, device: Device, size: int) -> None:
        """Memory for that many bytes of pixels; graphs that read what there was before are forgotten."""
        staged, frame = device.pinned(self._head + size), device.memory(self._head + size)
        if self._room:
            device.free(*filter(None, self._graphs.values()), self._staged.ctypes.data, self._frame)
            self._graphs.clear()
        self._room, self._staged, self._frame = size, staged, frame

    def _stage(self, device: Device, lane: Lane, image: NDArray[np.uint8], regions: Sequence[Region]) -> int:
        """Write faces and pixels where the next upload begins; returns its size, bytes."""
        patches = [patch_of(region, *image.shape[:2]) for region in regions]
        needed = crops.bytes_of(image, patches)
        if needed > self._room or self._room > max(4 * image.nbytes, ROOM_BYTES):
            self._make_room(device, max(1 << (needed - 1).bit_length(), ROOM_BYTES))
        faces = self._staged[: lane.batch * crops.FACE.itemsize].view(crops.FACE)
        return self._head + crops.stage(image, patches, faces, self._staged[self._head :])

    def _run(self, device: Device, lane: Lane) -> None:
        """Enqueue what a frame needs after its upload: as a graph recorded the first time, if possible."""
        if lane.batch not in self._graphs:
            try:
                self._graphs[lane.batch] = device.graph(lambda: self._cut_and_infer(device, lane))
            except BackendError as error:
                log.warning("no CUDA graph for batch %d, each kernel is launched by itself: %s", lane.batch, error)
                self._graphs[lane.batch] = 0
        if graph := self._graphs[lane.batch]:
            device.launch(graph)
        else:
            self._cut_and_infer(device, lane)

    def _cut_and_infer(self, device: Device, lane: Lane) -> None:
        blocks = -(-CROP_BYTES // crops.THREADS)
        addresses = (self._frame, self._frame + self._head, self._crops)
        device.run(self._cutter, (blocks, lane.batch), crops.THREADS, addresses)
        self._infer(device, lane)

    def _infer(self, device: Device, lane: Lane) -> None:
        """Enqueue: crops on the GPU -> the lane's outputs here."""
        if not lane.context.execute_async_v3(device.stream):
            raise BackendError(f"TensorRT does not run: {self._engine.complaint}")
        device.copy_out(lane.outputs, self._outputs)


class Engine:
    """A deserialized engine of either flavour, and what their packages do differently about contexts."""

    def __init__(self, recipe: Recipe, cache: Cache, gpu: Gpu) -> None:
        """The recipe's engine from `cache`, or built.  Raises BackendUnavailable."""
        self._trt, self._cache, self._label = recipe.trt, cache, _kernels_label(recipe, gpu)
        self._listener = listener_of(recipe.trt)
        self._listener.complaint = UNSAID
        self._runtime = recipe.trt.Runtime(self._listener.logger)
        self._engine = engine(recipe, cache, self._runtime.deserialize_cuda_engine)
        self._strategy = recipe.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._config = self._kernels = None
        self._cached = b""
        if recipe.flavour == "tensorrt-rtx":
            self._compile_kernels_ahead()

    @property
    def scratch_bytes(self) -> int:
        """Memory that a context needs while it runs; contexts that run one after the other may share it."""
        return int(self._engine.device_memory_size_v2)

    @property
    def complaint(self) -> str:
        return self._listener.complaint

    def context(self, profile: int, batch: int, stream: int, scratch: int) -> Any:
        """An execution context for one batch size.  Raises BackendUnavailable."""
        context = self._engine.create_execution_context(self._strategy if self._config is None else self._config)
        if context is None:
            raise BackendUnavailable(f"TensorRT gives no execution context: {self.complaint}", OTHERS_INSTEAD)
        context.set_device_memory(scratch, self.scratch_bytes)
        if not context.set_optimization_profile_async(profile, stream) or not context.set_input_shape(
            "faces", (batch, 1, SIZE, SIZE)
        ):
            raise BackendUnavailable(f"the engine refuses batch {batch}: {self.complaint}", OTHERS_INSTEAD)
        return context

    def cache_kernels(self) -> None:
        """Cache what TensorRT-RTX has compiled, when a context has run for the first time."""
        if self._kernels is not None:
            content = bytes(self._kernels.serialize())
            if content != self._cached:
                self._cache.write(*self._label, content)
                self._cached = content

    def close(self) -> None:
        """Free the engine before its runtime."""
        self._config = self._kernels = self._engine = self._runtime = None

    def _compile_kernels_ahead(self) -> None:
        """TensorRT-RTX compiles its kernels when a context first runs: let it be all of them, and cache them."""
        self._config = config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._strategy)
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._kernels = kernels = config.create_runtime_cache()
        self._cached = self._cache.read(*self._label) or b""
        if not self._cached:
            log.info("TensorRT-RTX compiles its kernels for this GPU, once; this takes some seconds")
        elif not kernels.deserialize(self._cached):
            log.info("TensorRT-RTX compiles its kernels again: the cached ones belong to another environment")
        config.set_runtime_cache(kernels)


def _kernels_label(recipe: Recipe, gpu: Gpu) -> tuple[str, Facts]:
    """Name and facts of the kernels that TensorRT-RTX compiled for one GPU."""
    facts = {**recipe.facts, "gpu": gpu.name, "driver": f"CUDA {dotted(gpu.cuda)}"}
    return f"{recipe.name}-kernels-{in_a_name(gpu.name)}", facts


def open_runtime(recipe: Recipe, shapes: Outputs, gpu: Gpu, device: int, cache: Cache) -> TensorRT:
    """Load the recipe's engine, built if `cache` has none, onto the GPU `device`.

    Raises BackendUnavailable with the reason if any part of that fails; then nothing remains on the GPU.
    """
    name = f"{recipe.title}, {gpu.name}"
    with refused_where_it_fails(name):
        there = Device(device)
        try:
            with there:
                return TensorRT(there, Engine(recipe, cache, gpu), name, shapes, recipe.batches)
        except BaseException:
            there.close()
            raise
