"""The network on the GPU, from the frame to its points: upload, crops, engine and download without a stop in between.

Frame px in, unit space out.  Per batch size there is one execution context and one CUDA graph, which holds the crops'
kernel, the engine and the download; addresses never change, so a frame costs one upload, one launch and one wait.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.backends.tensorrt import crops
from tracker.backends.tensorrt.build import REMEDY, Listener, Recipe, engine
from tracker.backends.tensorrt.cache import Facts, Store, fetched
from tracker.backends.tensorrt.device import Device, aligned, open_device
from tracker.backends.tensorrt.guard import Gpu
from tracker.errors import BackendError, BackendUnavailable
from tracker.spec import KEYPOINTS, SIZE
from tracker.types import Region

log = logging.getLogger(__name__)

CROP_BYTES = SIZE * SIZE
POINTS_BYTES = len(KEYPOINTS) * 2 * 4
SIGMA_BYTES = len(KEYPOINTS) * 4
FIRST_FRAME_BYTES = 1280 * 720 * 3
"""Room for a frame until a larger one comes."""

Answer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""points (N, 15, 2), sigma (N, 15), unit space."""


class Lane(NamedTuple):
    """One batch size: its context, and its outputs in this computer's memory."""

    batch: int
    context: Any
    outputs: NDArray[np.uint8]
    """The points of the whole batch, then at the next aligned byte the sigmas."""

    def answer(self, count: int) -> Answer:
        """A copy of the first faces' outputs."""
        points = self.outputs[: self.batch * POINTS_BYTES].view(np.float32).reshape(self.batch, len(KEYPOINTS), 2)
        sigma = self.outputs[-self.batch * SIGMA_BYTES :].view(np.float32).reshape(self.batch, len(KEYPOINTS))
        return points[:count].copy(), sigma[:count].copy()


class TensorRT:
    """Backend over an engine of either flavour; see `tracker.backends.Backend` for the contract."""

    def __init__(self, device: Device, cutter: Any, loaded: Any, batches: Sequence[int], name: str) -> None:
        """`cutter` is the kernel, `loaded` the `Engine`; both live on `device`."""
        self.name = name
        self._device: Device | None = device
        self._cutter, self._engine = cutter, loaded
        largest = max(batches)
        self._crops = device.memory(largest * CROP_BYTES)
        self._outputs = device.memory(aligned(largest * POINTS_BYTES) + largest * SIGMA_BYTES)
        self._faces = device.pinned(largest * CROP_BYTES)
        scratch = loaded.scratch_bytes
        self._scratch = device.memory(scratch), scratch
        self._lanes = [self._lane(profile, batch) for profile, batch in enumerate(batches)]
        self._replay: dict[int, Callable[[], object]] = {}
        self._make_room(FIRST_FRAME_BYTES)

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        """Crops (N, 1, 96, 96) uint8 that were cut elsewhere."""

        def put(lane: Lane, start: int, stop: int) -> None:
            part = faces[start:stop]
            self._faces[: part.size].reshape(part.shape)[:] = part
            self._here.copy_in(self._crops, self._faces, lane.batch * CROP_BYTES)
            self._infer(lane)

        return self._in_batches(len(faces), put)

    def look(self, image: NDArray[np.uint8], regions: Sequence[Region]) -> Answer:
        """A BGR frame (H, W, 3) uint8 and the regions of N faces, frame px."""
        self._here.use()
        if self._head + image.nbytes > len(self._staged):
            self._make_room(image.nbytes)

        def put(lane: Lane, start: int, stop: int) -> None:
            used = self._stage(lane, image, regions[start:stop])
            self._here.copy_in(self._frame, self._staged, used)
            self._replay[lane.batch]()

        return self._in_batches(len(regions), put)

    def repeat(self, count: int, times: int) -> None:
        """Crops and network of `count` faces, a batch, that often without a stop in between: for measurements."""
        self._here.use()
        for _ in range(times):
            self._replay[count]()
        self._here.wait()

    def close(self) -> None:
        """Free the GPU; may be called again."""
        if self._device is not None:
            self._device.use()
            self._device.wait()
            self._replay.clear()
            self._lanes.clear()  # contexts go before their engine, and the engine before the GPU
            self._engine.close()
            self._device.close()
            self._device = None

    @property
    def _here(self) -> Device:
        if self._device is None:
            raise ValueError("this backend is closed")
        return self._device

    def _in_batches(self, count: int, put: Callable[[Lane, int, int], None]) -> Answer:
        """Answers for `count` faces, as many at a time as the largest batch holds."""
        self._here.use()
        answers = [(np.empty((0, len(KEYPOINTS), 2), np.float32), np.empty((0, len(KEYPOINTS)), np.float32))]
        largest = self._lanes[-1].batch
        for start in range(0, count, largest):
            stop = min(start + largest, count)
            lane = next(lane for lane in self._lanes if lane.batch >= stop - start)
            put(lane, start, stop)
            self._here.wait()
            answers.append(lane.answer(stop - start))
        points, sigma = zip(*answers, strict=True)
        return np.concatenate(points), np.concatenate(sigma)

    def _lane(self, profile: int, batch: int) -> Lane:
        context = self._engine.context(profile, batch, self._here.stream, self._scratch)
        addresses = {
            "faces": self._crops,
            "points": self._outputs,
            "sigma": self._outputs + aligned(batch * POINTS_BYTES),
        }
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise BackendUnavailable(f"the engine has no {name} at batch {batch}", REMEDY)
        return Lane(batch, context, self._here.pinned(aligned(batch * POINTS_BYTES) + batch * SIGMA_BYTES))

    def _make_room(self, frame_bytes: int) -> None:
        """Memory for frames up to this size, and graphs that read it."""
        self._head = aligned(self._lanes[-1].batch * crops.FACE.itemsize)
        self._staged = self._here.pinned(self._head + frame_bytes)
        self._frame = self._here.memory(len(self._staged))
        nothing = np.zeros((1, 1, 3), np.uint8)
        for lane in self._lanes:
            used = self._stage(lane, nothing, [Region(0, 0, 1, 0)])
            self._here.copy_in(self._frame, self._staged, used)
            self._replay[lane.batch] = self._recorded(lane)

    def _stage(self, lane: Lane, image: NDArray[np.uint8], regions: Sequence[Region]) -> int:
        """Write faces and pixels where the next upload begins; returns its size, bytes."""
        faces = self._staged[: lane.batch * crops.FACE.itemsize].view(crops.FACE)
        return self._head + crops.stage(image, regions, faces, self._staged[self._head :])

    def _recorded(self, lane: Lane) -> Callable[[], object]:
        """What a frame needs after its upload, as a graph where that can be."""

        def enqueue() -> None:
            blocks = -(-CROP_BYTES // crops.THREADS)
            addresses = (self._frame, self._frame + self._head, self._crops)
            self._here.run(self._cutter, (blocks, lane.batch), crops.THREADS, addresses)
            self._infer(lane)

        enqueue()  # TensorRT prepares itself in the first run, which cannot be recorded
        self._here.wait()
        try:
            return self._here.graph(enqueue)
        except BackendError as error:
            log.warning("no CUDA graph for batch %d, each kernel is launched by itself: %s", lane.batch, error)
            return enqueue

    def _infer(self, lane: Lane) -> None:
        """Enqueue: crops on the GPU -> the lane's outputs here."""
        if not lane.context.execute_async_v3(self._here.stream):
            raise BackendError(f"{self.name} does not run: {self._engine.complaint}; use --backend cuda or cpu")
        self._here.copy_out(lane.outputs, self._outputs)


class Engine:
    """A deserialized engine of either flavour, and what their packages do differently about contexts."""

    def __init__(self, recipe: Recipe, loaded: Any, runtime: Any, listener: Listener, store: Store, gpu: Gpu) -> None:
        self._trt, self._engine, self._runtime, self._listener = recipe.trt, loaded, runtime, listener
        self._store, self._label = store, _finished_label(recipe, gpu)
        self._strategy = recipe.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._config = self._finished = None
        self._finished_before = b""
        if recipe.flavour == "tensorrt-rtx":
            self._config, self._finished = self._finish_ahead()

    @property
    def scratch_bytes(self) -> int:
        """Memory that a context needs while it runs; contexts that run one after the other may share it."""
        return int(self._engine.device_memory_size_v2)

    @property
    def complaint(self) -> str:
        return self._listener.complaint

    def context(self, profile: int, batch: int, stream: int, scratch: tuple[int, int]) -> Any:
        """An execution context for one batch size.  Raises BackendUnavailable."""
        context = self._engine.create_execution_context(self._strategy if self._config is None else self._config)
        if context is None:
            raise BackendUnavailable(f"TensorRT gives no execution context: {self.complaint}", REMEDY)
        context.set_device_memory(*scratch)
        if not context.set_optimization_profile_async(profile, stream) or not context.set_input_shape(
            "faces", (batch, 1, SIZE, SIZE)
        ):
            raise BackendUnavailable(f"the engine refuses batch {batch}: {self.complaint}", REMEDY)
        return context

    def close(self) -> None:
        """Keep what TensorRT-RTX compiled, then free the engine before its runtime."""
        if self._finished is not None:
            finished = bytes(self._finished.serialize())
            if finished != self._finished_before:
                self._store.write(*self._label, finished)
        self._config = self._finished = self._engine = self._runtime = None

    def _finish_ahead(self) -> tuple[Any, Any]:
        """TensorRT-RTX compiles its kernels when a context first runs: let it be all of them, and keep them."""
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._strategy)
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        kernels = config.create_runtime_cache()
        self._finished_before = self._store.read(*self._label) or b""
        if self._finished_before and not kernels.deserialize(self._finished_before):
            log.info("TensorRT-RTX compiles its kernels anew: those kept are of another environment")
        config.set_runtime_cache(kernels)
        return config, kernels


def _finished_label(recipe: Recipe, gpu: Gpu) -> tuple[str, Facts]:
    """Name and facts of the kernels that TensorRT-RTX compiled for one GPU."""
    facts = {**recipe.facts, "gpu": gpu.name, "driver": gpu.driver}
    return f"{recipe.name}-kernels", facts


def open_runtime(recipe: Recipe, gpu: Gpu, store: Store, name: str) -> TensorRT:
    """Load the recipe's engine, built where `store` has none, onto the GPU.

    Raises BackendUnavailable with the reason where any part of that fails; nothing stays behind on the GPU then.
    """
    device = open_device()
    try:
        listener = Listener(recipe.trt)
        runtime = recipe.trt.Runtime(listener.logger)
        loaded = engine(recipe, store, runtime.deserialize_cuda_engine)
        cutter = fetched(
            store,
            f"crop-{crops.architecture(gpu)}",
            crops.facts(gpu),
            lambda: crops.compiled(gpu),
            lambda cubin: device.kernel(cubin, crops.KERNEL),
        )
        return TensorRT(device, cutter, Engine(recipe, loaded, runtime, listener, store, gpu), recipe.batches, name)
    except BackendUnavailable:
        device.close()
        raise
    except BackendError as error:
        device.close()
        raise BackendUnavailable(f"{recipe.flavour} does not run here ({error})", REMEDY) from error
