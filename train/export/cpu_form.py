"""The exported network -> the same network in operations that ONNX Runtime's processor kernels keep in blocks.

In: ONNX with native `Selu` nodes, each after a convolution.  Out: ONNX without any, for processors only; GPUs do
better with `Selu`.  The eight operations that standardise a crop become one, `InstanceNormalization`, which is the same
formula.

On a processor ONNX Runtime holds tensors in blocks of 8 or 16 channels and takes them apart before every operation it
has no blocked kernel for.  `Selu` is one: each costs two reorderings, an exponential that is not vectorised, and the
fusion of the residual addition behind it.  Here it becomes three depthwise 1x1 convolutions into which ReLU, sigmoid
and both additions fuse, which takes 0.65 of the network's time:

    r = relu(gamma x)
    s = sigmoid(x - r / gamma - K)                             x - r / gamma = min(x, 0) = z
    selu(x) = r + gamma alpha ((1 + exp(K)) s - 1)

For z = 0 and z -> -infinity that is exact.  In between sigmoid(z - K) exceeds exp(z - K) / (1 + exp(-K)) a little, so
the result is too high by at most gamma alpha exp(-K) / 4.
"""

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from train.export.yunet_form import drop_unused

STANDARDISED = ("Cast", "ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Reciprocal", "Mul")
"""What torch's exporter makes of `train.learn.model.standardised`."""

K = 7.0
"""Larger comes closer to Selu until the rounding of a sigmoid near zero weighs in: at 7 an activation is at most 4e-4
off.  On 391 faces of ten films keypoints move by 0.0007 px of the 96 (root mean square), at most 0.008."""


def blocked(content: bytes) -> bytes:
    """Rewrite an ONNX file's bytes; inputs, outputs and names of both stay."""
    model = onnx.load_from_string(content)
    channels = _channels(model)
    constants: dict[str, NDArray[np.float32]] = {}
    nodes = _standardised_at_once(model, constants)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type == "Selu":
            model.graph.node.extend(_three_convolutions(node, channels[node.input[0]], constants))
        else:
            model.graph.node.append(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    drop_unused(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _standardised_at_once(model: onnx.ModelProto, constants: dict[str, NDArray[np.float32]]) -> list[NodeProto]:
    """The nodes, with one in place of `STANDARDISED`; all of them if another exporter began otherwise."""
    nodes = list(model.graph.node)
    first = [node.op_type for node in nodes].index("Conv")
    if tuple(node.op_type for node in nodes[:first]) != STANDARDISED:
        return nodes
    constants |= {"one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)}
    (epsilon,) = (value for value in model.graph.initializer if value.name in nodes[STANDARDISED.index("Add")].input)
    at_once = helper.make_node(
        "InstanceNormalization",
        [nodes[0].output[0], "one", "zero"],
        nodes[first - 1].output,
        "standardised",
        epsilon=numpy_helper.to_array(epsilon).item(),
    )
    return [nodes[0], at_once, *nodes[first:]]


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    """How many channels each intermediate tensor of four dimensions has."""
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: shape[1].dim_value for name, shape in shapes.items() if len(shape) == 4}


def _three_convolutions(selu: NodeProto, channels: int, constants: dict[str, NDArray[np.float32]]) -> list[NodeProto]:
    """What stands for one `Selu` over so many channels; the constants it needs are added to `constants`."""
    (x,), (y,) = selu.input, selu.output
    attributes = {each.name: each.f for each in selu.attribute}
    alpha, gamma = attributes["alpha"], attributes["gamma"]

    def scaled(value: str, factor: float, offset: float, result: str) -> NodeProto:
        names = [f"each_of_{channels}_times_{factor:.6g}", f"each_of_{channels}_plus_{offset:.6g}"]
        constants[names[0]] = np.full((channels, 1, 1, 1), factor, np.float32)
        constants[names[1]] = np.full(channels, offset, np.float32)
        return helper.make_node("Conv", [value, *names], [result], result, kernel_shape=[1, 1], group=channels)

    return [
        scaled(x, gamma, 0.0, f"{y}_scaled"),
        helper.make_node("Relu", [f"{y}_scaled"], [f"{y}_above"]),
        scaled(f"{y}_above", -1 / gamma, -K, f"{y}_minus_above"),
        helper.make_node("Add", [f"{y}_minus_above", x], [f"{y}_below"]),
        helper.make_node("Sigmoid", [f"{y}_below"], [f"{y}_curve"]),
        scaled(f"{y}_curve", gamma * alpha * (1 + math.exp(K)), -gamma * alpha, f"{y}_curved"),
        helper.make_node("Add", [f"{y}_curved", f"{y}_above"], [y]),
    ]
