"""The network in NVIDIA's TensorRT or TensorRT-RTX: compiled once for this machine, cached, and run on the GPU.

`guard` checks the machine, `build` compiles, `cache` stores, `runtime` runs.  One implementation serves both
flavours: their Python packages differ only in names and in how contexts are made.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from tracker.backends.contract import refused_where_it_fails
from tracker.backends.settings import Precision, Settings
from tracker.backends.tensorrt.build import Recipe, engine
from tracker.backends.tensorrt.cache import Cache, compiled_dir
from tracker.backends.tensorrt.guard import PACKAGES, Flavour, Gpu, expect_fit, find_gpu, import_package, installed
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable

if TYPE_CHECKING:
    from tracker.backends.tensorrt.runtime import TensorRT


def open_tensorrt(flavour: Flavour, weights: Weights, settings: Settings) -> "TensorRT":
    """The network on a GPU, its engine cached or built now.

    Raises BackendUnavailable with what this machine lacks, WeightsError when the weights come without this precision.
    """
    recipe, gpu = _recipe(flavour, weights, settings)
    from tracker.backends.tensorrt.runtime import open_runtime

    return open_runtime(recipe, weights.outputs, gpu, settings.device, Cache(compiled_dir() if settings.keep else None))


def outlook(flavour: Flavour, weights: Weights) -> str:
    """What would run here, and whether it is compiled.  Raises BackendUnavailable; compiles nothing."""
    recipe, gpu = _recipe(flavour, weights, Settings())
    compiled = Cache(compiled_dir()).read(recipe.name, recipe.facts) is not None
    return f"{recipe.title}, {gpu.name}; " + ("compiled" if compiled else "the first start compiles the network, once")


def _recipe(flavour: Flavour, weights: Weights, settings: Settings) -> tuple[Recipe, Gpu]:
    gpu = find_gpu(settings.device)
    trt = import_package(flavour)
    expect_fit(flavour, trt, gpu)
    return Recipe(trt, flavour, weights.at(settings.precision), settings.precision, gpu), gpu


def compile_ahead(weights: Weights, precision: Precision, cache: Cache) -> str:
    """Build the engine that `--backend tensorrt` or `tensorrt-rtx` will look for in `cache`; returns what it is.

    Raises BackendUnavailable if neither can build, WeightsError if the weights come without this precision.
    """
    flavour, trt, gpu = _able_to_build()
    recipe = Recipe(trt, flavour, weights.at(precision), precision, gpu)
    with refused_where_it_fails(recipe.title):
        size = len(engine(recipe, cache, bytes))
    return f"{recipe.facts['runtime']}, {precision}, {size / 1e6:.1f} MB, for {recipe.facts['gpu']}"


def _able_to_build() -> tuple[Flavour, ModuleType, Gpu | None]:
    """The flavour for this machine; without a GPU it is TensorRT-RTX, which needs none to build."""
    flavour: Flavour = "tensorrt" if installed("tensorrt") else "tensorrt-rtx"
    try:
        gpu, trt = find_gpu(), import_package(flavour)
        expect_fit(flavour, trt, gpu)
    except BackendUnavailable as refusal:
        if installed("tensorrt-rtx"):
            return "tensorrt-rtx", import_package("tensorrt-rtx"), None
        extra = PACKAGES["tensorrt-rtx"][1]
        raise BackendUnavailable(
            refusal.reason, f'TensorRT-RTX builds without: pip install "fkp[{extra}]"'
        ) from refusal
    return flavour, trt, gpu
