"""The GPU as the runtime uses it: memory that stays where it is, one stream, and CUDA graphs.

Everything goes through the driver interface of `cuda-bindings` and hangs on the GPU's primary context, the one that
TensorRT uses too.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import BackendError, BackendUnavailable

ALIGNMENT = 256
"""What TensorRT wants of addresses, bytes."""


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Device:
    """GPU 0.  `open_device` makes one; whatever is allocated lives until `close`."""

    def __init__(self, cuda: Any, gpu: Any, context: Any, stream: Any) -> None:
        self._cuda, self._gpu, self._context, self._stream = cuda, gpu, context, stream
        self._frees: list[Callable[[], object]] = []

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT wants it."""
        return int(self._stream)

    def use(self) -> None:
        """Make this the GPU of the calling thread."""
        _done(self._cuda, self._cuda.cuCtxSetCurrent(self._context))

    def memory(self, size: int) -> int:
        """The address of `size` bytes on the GPU."""
        address = _done(self._cuda, self._cuda.cuMemAlloc(max(size, ALIGNMENT)))
        self._frees.append(lambda: self._cuda.cuMemFree(address))
        return int(address)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """(size,) uint8 in memory of this computer that the GPU copies from and to by itself."""
        address = int(_done(self._cuda, self._cuda.cuMemHostAlloc(size, 0)))
        self._frees.append(lambda: self._cuda.cuMemFreeHost(address))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def copy_in(self, address: int, pinned: NDArray[np.uint8], size: int) -> None:
        """Enqueue: the first `size` bytes of `pinned` -> GPU."""
        _done(self._cuda, self._cuda.cuMemcpyHtoDAsync(address, pinned.ctypes.data, size, self._stream))

    def copy_out(self, pinned: NDArray[np.uint8], address: int) -> None:
        """Enqueue: GPU -> all of `pinned`."""
        _done(self._cuda, self._cuda.cuMemcpyDtoHAsync(pinned.ctypes.data, address, pinned.nbytes, self._stream))

    def kernel(self, cubin: bytes, name: bytes) -> Any:
        """A function of a compiled module."""
        module = _done(self._cuda, self._cuda.cuModuleLoadData(cubin))
        self._frees.append(lambda: self._cuda.cuModuleUnload(module))
        return _done(self._cuda, self._cuda.cuModuleGetFunction(module, name))

    def run(self, kernel: Any, grid: tuple[int, int], threads: int, addresses: tuple[int, ...]) -> None:
        """Enqueue a kernel whose arguments are all addresses on the GPU."""
        arguments = (addresses, (ctypes.c_void_p,) * len(addresses))
        launched = self._cuda.cuLaunchKernel(kernel, *grid, 1, threads, 1, 1, 0, self._stream, arguments, 0)
        _done(self._cuda, launched)

    def graph(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` puts on the stream, recorded once; each call of the answer enqueues all of it again.

        Raises BackendError when something in it cannot be recorded.
        """
        cuda = self._cuda
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL  # other threads may go on using the GPU
        _done(cuda, cuda.cuStreamBeginCapture(self._stream, mode))
        try:
            enqueue()
        finally:
            graph = _done(cuda, cuda.cuStreamEndCapture(self._stream))
        executable = _done(cuda, cuda.cuGraphInstantiate(graph, 0))
        cuda.cuGraphDestroy(graph)
        self._frees.append(lambda: cuda.cuGraphExecDestroy(executable))
        return lambda: _done(cuda, cuda.cuGraphLaunch(executable, self._stream))

    def wait(self) -> None:
        """Until everything enqueued is done."""
        _done(self._cuda, self._cuda.cuStreamSynchronize(self._stream))

    def close(self) -> None:
        """Give everything back; may be called again."""
        if self._context is None:
            return
        self.use()
        self._cuda.cuStreamSynchronize(self._stream)
        while self._frees:
            self._frees.pop()()
        self._cuda.cuStreamDestroy(self._stream)
        self._cuda.cuDevicePrimaryCtxRelease(self._gpu)
        self._context = None


def open_device() -> Device:
    """GPU 0, with a stream of its own.

    Raises BackendUnavailable when the bindings are missing or the GPU does not answer.
    """
    try:
        from cuda.bindings import driver as cuda
    except ImportError as error:
        raise BackendUnavailable(
            f"cuda-bindings is missing ({error})", "pip install 'fkp[rtx]' or 'fkp[tensorrt]'"
        ) from error
    try:
        _done(cuda, cuda.cuInit(0))
        gpu = _done(cuda, cuda.cuDeviceGet(0))
        context = _done(cuda, cuda.cuDevicePrimaryCtxRetain(gpu))
        _done(cuda, cuda.cuCtxSetCurrent(context))
        stream = _done(cuda, cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
    except BackendError as error:
        raise BackendUnavailable(f"the GPU does not answer ({error})", "check nvidia-smi") from error
    return Device(cuda, gpu, context, stream)


def _done(cuda: Any, answer: tuple[Any, ...]) -> Any:
    """The value of a driver call.  Raises BackendError where it failed."""
    code, *values = answer
    if code != cuda.CUresult.CUDA_SUCCESS:
        _, text = cuda.cuGetErrorString(code)
        raise BackendError(f"CUDA: {(text or b'unknown error').decode()} ({code.name})")
    return values[0] if values else None
