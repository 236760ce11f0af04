"""Makes crop.ptx of crop.cu: `python tests/ptx.py` after a change of the kernel.  Needs NVRTC 12.0, no GPU.

12.0 because newer ones write PTX that only newer drivers read.
"""

import ctypes
import hashlib
from importlib import metadata
from typing import Any

from tracker.backends.tensorrt.crops import COMPILED, SOURCE

PACKAGE = "nvidia-cuda-nvrtc-cu12"
OPTIONS = (b"--gpu-architecture=compute_75", b"--fmad=false")
"""The oldest GPUs that TensorRT runs on; fused multiply-adds would round otherwise than the CPU does."""


def nvrtc() -> Any:
    """The library.  Raises PackageNotFoundError where it is not installed."""
    (library,) = (file for file in metadata.files(PACKAGE) or () if file.name == "libnvrtc.so.12")
    return ctypes.CDLL(str(library.locate()))


def head() -> str:
    """The first line of crop.ptx: which source it belongs to."""
    return f"// crop.cu, sha256 {hashlib.sha256(SOURCE.read_bytes()).hexdigest()}\n"


def compiled() -> str:
    """The PTX of crop.cu.  Raises ValueError with the compiler's words where it does not compile."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    source = SOURCE.read_bytes()
    library.nvrtcCreateProgram(ctypes.byref(program), source, SOURCE.name.encode(), 0, None, None)
    failed = library.nvrtcCompileProgram(program, len(OPTIONS), (ctypes.c_char_p * len(OPTIONS))(*OPTIONS))
    what = "ProgramLog" if failed else "PTX"
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    if failed:
        raise ValueError(text.value.decode())
    return head() + text.value.decode()


if __name__ == "__main__":
    COMPILED.write_text(compiled())
