"""The network in NVIDIA's TensorRT or TensorRT-RTX: compiled once for this machine, kept, and run on the GPU.

`guard` finds out what is there, `build` compiles, `cache` keeps.  One implementation serves both flavours, whose
Python packages differ in their names alone as far as this one needs them.
"""

from typing import TYPE_CHECKING

from tracker.backends.settings import Precision
from tracker.backends.tensorrt.build import Recipe, engine
from tracker.backends.tensorrt.cache import Store
from tracker.backends.tensorrt.guard import PACKAGES, Flavour, Gpu, find_gpu, import_package, installed
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable

if TYPE_CHECKING:
    from tracker.backends.tensorrt.runtime import TensorRT


def open_tensorrt(flavour: Flavour, weights: Weights, precision: Precision, store: Store) -> "TensorRT":
    """The network on GPU 0, its engine from `store` or built now.

    Raises BackendUnavailable with what this machine lacks, WeightsError when the weights come without this precision.
    """
    gpu = find_gpu(flavour)
    trt = import_package(flavour)
    from tracker.backends.tensorrt.runtime import open_runtime

    recipe = Recipe(trt, flavour, weights.at(precision), precision, gpu)
    return open_runtime(recipe, gpu, store, f"{flavour} {trt.__version__} {precision}, {gpu.name}")


def compile_ahead(weights: Weights, precision: Precision, store: Store) -> str:
    """Build the engine that `--backend tensorrt` or `tensorrt-rtx` will look for in `store`; returns what it is.

    Raises BackendUnavailable where neither can build, WeightsError when the weights come without this precision.
    """
    flavour, gpu = _able_to_build()
    recipe = Recipe(import_package(flavour), flavour, weights.at(precision), precision, gpu)
    size = len(engine(recipe, store, bytes))
    return f"{recipe.facts['runtime']}, {precision}, {size / 1e6:.1f} MB, for {recipe.facts['gpu']}"


def _able_to_build() -> tuple[Flavour, Gpu | None]:
    """The flavour that this machine would run; without a GPU TensorRT-RTX, which needs none to build."""
    flavour: Flavour = "tensorrt" if installed("tensorrt") else "tensorrt-rtx"
    try:
        return flavour, find_gpu(flavour)
    except BackendUnavailable as refusal:
        if installed("tensorrt-rtx"):
            return "tensorrt-rtx", None
        extra = PACKAGES["tensorrt-rtx"][1]
        raise BackendUnavailable(
            refusal.reason, f"TensorRT-RTX builds without: pip install 'fkp[{extra}]'"
        ) from refusal
