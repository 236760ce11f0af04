"""ONNX -> a serialized TensorRT engine, by either flavour's own parser and builder.

Networks are strongly typed: precision is what the ONNX says (half if it casts to half, int8 if it has
QuantizeLinear/DequantizeLinear), never a flag.  That is the only way TensorRT 11 and TensorRT-RTX know, and TensorRT 10
takes it too.
"""

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from tracker.backends.contract import BATCHES, OTHERS_INSTEAD
from tracker.backends.settings import Precision
from tracker.backends.tensorrt.cache import Cache, fetched
from tracker.backends.tensorrt.guard import Flavour, Gpu, dotted
from tracker.errors import BackendUnavailable
from tracker.spec import SIZE

log = logging.getLogger(__name__)

T = TypeVar("T")
WORKSPACE_BYTES = 256 * 2**20
"""Scratch memory an engine may ask for; ours asks for 22 MB."""

PORTABLE = "any RTX"
"""What a TensorRT-RTX engine is for: NVIDIA promises that it runs on every RTX GPU from compute capability 8.0 on."""


class Recipe(NamedTuple):
    """What an engine is made of, and for."""

    trt: ModuleType
    """The flavour's package, from `guard.import_package`."""
    flavour: Flavour
    onnx: bytes
    precision: Precision
    """What `onnx` is in, for people; the engine takes it from the file."""
    gpu: Gpu | None
    """None: build for any RTX card, which only TensorRT-RTX can do."""
    batches: tuple[int, ...] = BATCHES
    """Each has an optimisation profile and a CUDA graph of its own.  No batch is left free: TensorRT-RTX would compile
    kernels in mid-stream for every new one it meets."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.flavour} {self.trt.__version__} {self.precision}"

    @property
    def facts(self) -> dict[str, str]:
        """Everything the engine depends on.

        A TensorRT engine fits one GPU under one driver.  A TensorRT-RTX engine depends on neither: it is finished by
        the runtime, wherever it is loaded.
        """
        return {
            "precision": self.precision,
            "network": hashlib.sha256(self.onnx).hexdigest(),
            "runtime": f"{self.flavour} {self.trt.__version__}",
            "batches": " ".join(map(str, self.batches)),
            **({"gpu": PORTABLE} if self.flavour == "tensorrt-rtx" else self._of_gpu()),
        }

    def _of_gpu(self) -> dict[str, str]:
        if self.gpu is None:
            raise ValueError("TensorRT builds on the GPU that will run the engine; there is none")
        return {
            "gpu": self.gpu.name,
            "capability": dotted(self.gpu.capability),
            "driver": f"CUDA {dotted(self.gpu.cuda)}",
        }

    @property
    def name(self) -> str:
        """Of the cached file: one per network, flavour and kind of GPU, whatever versions come and go."""
        facts = self.facts
        return "-".join([facts["network"][:12], self.precision, self.flavour, in_a_name(facts["gpu"])])


def in_a_name(text: str) -> str:
    """What can stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)


def engine(recipe: Recipe, cache: Cache, load: Callable[[bytes], T | None]) -> T:
    """The engine, loaded by `load`: the cached one if it still fits, else a new one.

    Raises BackendUnavailable when it cannot be built, or the new one not be loaded.
    """

    def make() -> bytes:
        log.info("%s %s builds an engine, once; this takes a while", recipe.flavour, recipe.trt.__version__)
        start = perf_counter()
        content = build(recipe)
        log.info("engine built in %.1f s, %.1f MB", perf_counter() - start, len(content) / 1e6)
        return content

    def heard(content: bytes) -> T | None:
        loaded = load(content)
        if loaded is None:
            log.warning("%s does not load: %s", recipe.name, listener_of(recipe.trt).complaint)
        return loaded

    loaded = fetched(cache, recipe.name, recipe.facts, make, heard)
    if loaded is None:
        raise BackendUnavailable(
            f"{recipe.flavour} {recipe.trt.__version__} does not load the engine it built: "
            f"{listener_of(recipe.trt).complaint}",
            OTHERS_INSTEAD,
        )
    return loaded


def build(recipe: Recipe) -> bytes:
    """Compile the network.

    Raises BackendUnavailable with the parser's or builder's own words when the network cannot be compiled.
    """
    trt, listener = recipe.trt, listener_of(recipe.trt)
    listener.complaint = UNSAID
    builder = trt.Builder(listener.logger)
    network = parse(trt, builder, recipe.onnx, listener)
    config = _config(trt, builder, network, recipe.batches)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendUnavailable(
            f"TensorRT {trt.__version__} cannot compile the network: {listener.complaint}", OTHERS_INSTEAD
        )
    return bytes(serialized)


UNSAID = "it does not say why"


class Listener:
    """Receives TensorRT's messages: all go to the debug log, and the last error goes into our own message."""

    def __init__(self, trt: ModuleType) -> None:
        self.complaint = UNSAID
        severity = trt.ILogger.Severity
        listener = self

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # super() does not reach a pybind11 base

            def log(self, level: Any, message: str) -> None:
                log.debug("%s", message)
                if level in (severity.ERROR, severity.INTERNAL_ERROR):
                    listener.complaint = message

        self.logger = Logger()


listener_of = functools.cache(Listener)
"""The one of a package, which takes the first logger of a process for all that follows."""


def parse(trt: ModuleType, builder: Any, onnx: bytes, listener: Listener) -> Any:
    """NVIDIA's network definition of `onnx`.  Raises BackendUnavailable with the parser's reasons."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, listener.logger)
    if not parser.parse(onnx):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise BackendUnavailable(
            f"TensorRT {trt.__version__} cannot read the network: {reasons or listener.complaint}", OTHERS_INSTEAD
        )
    return network


def _config(trt: ModuleType, builder: Any, network: Any, batches: Sequence[int]) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32: TF32 has the mantissa of half
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # what TensorRT-RTX asks for before CUDA graphs
    for batch in batches:
        shape = (batch, 1, SIZE, SIZE)
        profile = builder.create_optimization_profile()
        profile.set_shape(network.get_input(0).name, shape, shape, shape)
        config.add_optimization_profile(profile)
    return config
