"""Stands in for NVIDIA's package under tests/standin's driver: ONNX Runtime answers where an engine would.

Only what fkp calls.  WRONG_PX moves the answers, NO_CONTEXT gives no context, and the driver's LOSE_AT loses the GPU.
"""

import ctypes
import enum
import os

import numpy as np
import onnxruntime

__version__ = "1.7.stand-in"
ComputeCapability = enum.Enum("ComputeCapability", "NONE CURRENT SM75 SM80 SM86 SM89 SM120 SM121")
ExecutionContextAllocationStrategy = enum.Enum("ExecutionContextAllocationStrategy", "USER_MANAGED")
DynamicShapesKernelSpecializationStrategy = enum.Enum("DynamicShapesKernelSpecializationStrategy", "EAGER")
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
BuilderFlag = enum.Enum("BuilderFlag", "TF32 REQUIRE_USER_ALLOCATION")
DRIVER = ctypes.CDLL("libcuda.so.1")
SHAPES = {
    "faces": ((1, 96, 96), "u1"),
    "points": ((15, 2), "f4"),
    "sigma": ((15,), "f4"),
    "signals": ((3,), "f4"),
    "signals_sigma": ((3,), "f4"),
}
runs = 0


class ILogger:
    Severity = enum.Enum("Severity", "ERROR INTERNAL_ERROR INFO")


class Anything:
    """Takes every call that only sets something up."""

    name = "faces"

    def __getattr__(self, name):
        return lambda *_args, **_kwargs: self


class Builder(Anything):
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, _flags):
        return Anything()

    def build_serialized_network(self, network, _config):
        return network.onnx


class OnnxParser:
    def __init__(self, network, _logger):
        self.network = network

    def parse(self, onnx):
        self.network.onnx = onnx
        return True


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, content):
        return Engine(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]), self.logger)


class Engine:
    device_memory_size_v2 = 0

    def __init__(self, session, logger):
        self.session, self.logger = session, logger

    def create_runtime_config(self):
        return RuntimeConfig()

    def create_execution_context(self, _config):
        if "NO_CONTEXT" in os.environ:
            self.logger.log(ILogger.Severity.ERROR, "out of memory on the stand-in")
            return None
        return Context(self.session)


class RuntimeConfig(Anything):
    def create_runtime_cache(self):
        return Kernels()


class Kernels:
    """Grows as contexts run, as the compiled kernels of TensorRT-RTX do."""

    def serialize(self):
        return b"kernels" * runs

    def deserialize(self, _content):
        return True


class Context(Anything):
    def __init__(self, session):
        self.session, self.at = session, {}
        self.call = ctypes.CFUNCTYPE(None)(self.infer)

    def set_input_shape(self, _name, shape):
        self.batch = shape[0]
        return True

    def set_tensor_address(self, name, address):
        shape, kind = SHAPES[name]
        size = self.batch * int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self.at[name] = raw.view(kind).reshape(self.batch, *shape)
        return True

    def infer(self):
        names = [output.name for output in self.session.get_outputs()]
        for name, values in zip(names, self.session.run(names, {"faces": self.at["faces"]}), strict=True):
            self.at[name][:] = values
        self.at["points"][:] += float(os.environ.get("WRONG_PX", "0")) / 48

    def execute_async_v3(self, _stream):
        global runs  # noqa: PLW0603
        runs += 1
        return DRIVER.enqueue_call(self.call) == 0
