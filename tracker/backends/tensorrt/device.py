"""One GPU as the runtime uses it: memory, one stream, and CUDA graphs.

Everything belongs to the GPU's primary context, which TensorRT and torch use too.  It is the calling thread's context
only inside `with device:`; afterwards the thread has its own again.
"""

import ctypes
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tracker.backends.tensorrt.driver import Driver
from tracker.errors import BackendError

ALIGNMENT = 256
"""Alignment of addresses that TensorRT needs, bytes."""

NON_BLOCKING = 1
THREAD_LOCAL = 1
"""Other threads may go on using the GPU while a graph is captured (CUstreamCaptureMode)."""


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Device:
    """GPU `index`.  What is allocated lives until it is freed, at the latest until `close`."""

    def __init__(self, index: int) -> None:
        """Raises BackendError if the GPU does not answer."""
        self._driver = driver = Driver()
        self._gpu = driver.number("cuDeviceGet", index)
        self._context: int | None = driver.made("cuDevicePrimaryCtxRetain", self._gpu)
        self._frees: dict[int, tuple[str, int]] = {}
        """Address or handle -> the call that frees it, in the order of making."""
        self.stream = 0
        try:
            with self:
                self.stream = self._keep("cuStreamDestroy_v2", driver.made("cuStreamCreate", NON_BLOCKING))
        except BackendError:
            self.close()
            raise

    def __enter__(self) -> None:
        self._driver.call("cuCtxPushCurrent_v2", self._context)

    def __exit__(self, *_: object) -> None:
        self._driver.answer("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def memory(self, size: int) -> int:
        """The address of `size` bytes on the GPU."""
        return self._keep("cuMemFree_v2", self._driver.made("cuMemAlloc_v2", max(size, ALIGNMENT)))

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """(size,) uint8 in memory of this computer that the GPU copies from and to by itself."""
        address = self._keep("cuMemFreeHost", self._driver.made("cuMemHostAlloc", size, 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free(self, *made: int) -> None:
        """Addresses, or handles of graphs; errors are left to the next call that matters."""
        for each in made:
            self._driver.answer(*self._frees.pop(each))

    def copy_in(self, address: int, pinned: NDArray[np.uint8], size: int) -> None:
        """Enqueue: the first `size` bytes of `pinned` -> GPU."""
        self._driver.call("cuMemcpyHtoDAsync_v2", address, pinned.ctypes.data, size, self.stream)

    def copy_out(self, pinned: NDArray[np.uint8], address: int) -> None:
        """Enqueue: GPU -> all of `pinned`."""
        self._driver.call("cuMemcpyDtoHAsync_v2", pinned.ctypes.data, address, pinned.nbytes, self.stream)

    def kernel(self, module: bytes, name: bytes) -> int:
        """A function of a compiled module (PTX ends in a zero byte)."""
        loaded = self._keep("cuModuleUnload", self._driver.made("cuModuleLoadData", module))
        return self._driver.made("cuModuleGetFunction", loaded, name)

    def run(self, kernel: int, grid: tuple[int, int], threads: int, addresses: tuple[int, ...]) -> None:
        """Enqueue a kernel whose arguments are all addresses on the GPU."""
        values = [ctypes.c_void_p(address) for address in addresses]
        arguments = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        self._driver.call("cuLaunchKernel", kernel, *grid, 1, threads, 1, 1, 0, self.stream, arguments, None)

    def graph(self, enqueue: Callable[[], None]) -> int:
        """What `enqueue` puts on the stream, recorded once, for `launch`.

        Raises BackendError when something in it cannot be recorded.
        """
        driver, recorded = self._driver, ctypes.c_void_p()
        driver.call("cuStreamBeginCapture_v2", self.stream, THREAD_LOCAL)
        try:
            enqueue()
        finally:
            driver.call("cuStreamEndCapture", self.stream, ctypes.byref(recorded))
        try:
            return self._keep("cuGraphExecDestroy", driver.made("cuGraphInstantiateWithFlags", recorded, 0))
        finally:
            driver.answer("cuGraphDestroy", recorded)

    def launch(self, graph: int) -> None:
        """Enqueue everything that the graph recorded."""
        self._driver.call("cuGraphLaunch", graph, self.stream)

    def wait(self) -> None:
        """Until everything enqueued is done.  Raises BackendError if some of it failed, or the GPU is lost."""
        self._driver.call("cuStreamSynchronize", self.stream)

    def close(self) -> None:
        """Free everything, even if the GPU is lost; may be called again."""
        if self._context is None:
            return
        self._driver.answer("cuCtxPushCurrent_v2", self._context)
        self._driver.answer("cuStreamSynchronize", self.stream)
        self.free(*reversed(self._frees))
        self.__exit__()
        self._driver.answer("cuDevicePrimaryCtxRelease_v2", self._gpu)
        self._context = None

    def _keep(self, free: str, made: int) -> int:
        self._frees[made] = free, made
        return made
