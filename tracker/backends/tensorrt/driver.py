"""NVIDIA's driver, called through its C interface: the GPUs, and everything that the runtime needs.

The interface comes with the driver itself and keeps its names and signatures over releases, so no package of one CUDA
version stands between.  Signatures are those of cuda.h; a handle or an address is a plain int here.
"""

import ctypes
import sys
from typing import Any

from tracker.errors import BackendError

_POINTER, _SIZE, _INT, _UNSIGNED = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint

_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cuInit": (_UNSIGNED,),
    "cuDriverGetVersion": (_POINTER,),
    "cuDeviceGetCount": (_POINTER,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDeviceGetName": (_POINTER, _INT, _INT),
    "cuDeviceGetAttribute": (_POINTER, _INT, _INT),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuDevicePrimaryCtxRelease_v2": (_INT,),
    "cuCtxPushCurrent_v2": (_POINTER,),
    "cuCtxPopCurrent_v2": (_POINTER,),
    "cuStreamCreate": (_POINTER, _UNSIGNED),
    "cuStreamDestroy_v2": (_POINTER,),
    "cuStreamSynchronize": (_POINTER,),
    "cuStreamBeginCapture_v2": (_POINTER, _INT),
    "cuStreamEndCapture": (_POINTER, _POINTER),
    "cuGraphInstantiateWithFlags": (_POINTER, _POINTER, ctypes.c_ulonglong),
    "cuGraphLaunch": (_POINTER, _POINTER),
    "cuGraphDestroy": (_POINTER,),
    "cuGraphExecDestroy": (_POINTER,),
    "cuMemAlloc_v2": (_POINTER, _SIZE),
    "cuMemFree_v2": (_POINTER,),
    "cuMemHostAlloc": (_POINTER, _SIZE, _UNSIGNED),
    "cuMemFreeHost": (_POINTER,),
    "cuMemcpyHtoDAsync_v2": (_POINTER, _POINTER, _SIZE, _POINTER),
    "cuMemcpyDtoHAsync_v2": (_POINTER, _POINTER, _SIZE, _POINTER),
    "cuModuleLoadData": (_POINTER, _POINTER),
    "cuModuleGetFunction": (_POINTER, _POINTER, ctypes.c_char_p),
    "cuModuleUnload": (_POINTER,),
    "cuLaunchKernel": (_POINTER, *(_UNSIGNED,) * 7, _POINTER, _POINTER, _POINTER),
    "cuGetErrorString": (_INT, _POINTER),
}


class Driver:
    """The driver's functions by name, after cuInit."""

    def __init__(self) -> None:
        """Raises OSError if there is no driver, BackendError if it does not start."""
        self._library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        for name, arguments in _ARGUMENTS.items():
            try:
                getattr(self._library, name).argtypes = arguments
            except AttributeError as error:
                raise BackendError(f"the NVIDIA driver has no {name}; install a newer one") from error
        self.call("cuInit", 0)

    def call(self, function: str, *arguments: Any) -> None:
        """Raises BackendError if the driver answers with an error."""
        code = self.answer(function, *arguments)
        if code:
            raise BackendError(f"CUDA's {function} fails: {self._meaning(code)} (CUDA error {code})")

    def answer(self, function: str, *arguments: Any) -> int:
        """What the function returns: 0, or the number of an error."""
        return int(getattr(self._library, function)(*arguments))

    def made(self, function: str, *arguments: Any) -> int:
        """The handle or address that the function writes to its first argument."""
        handle = ctypes.c_void_p()
        self.call(function, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def number(self, function: str, *arguments: Any) -> int:
        """The C int that the function writes to its first argument."""
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value), *arguments)
        return value.value

    def device_name(self, device: int) -> str:
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), device)
        return name.value.decode(errors="replace")

    def _meaning(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return (text.value or b"unknown error").decode(errors="replace")
