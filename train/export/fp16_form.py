"""A network in single precision -> the same network with its convolutions in half, as ONNX.

Precision belongs in the file: TensorRT 11 and TensorRT-RTX take it from there and from nowhere else.  Half is what lies
between the first convolution and the last.  The crop's normalisation stays single, because its squares overflow half,
and so do the heat maps' moments, which decide a keypoint's last tenth of a pixel.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

HALF_OPS = ("Conv", "Selu", "Resize", "Add")
"""Operators that may use half precision between the first convolution and the last."""


def in_half(content: bytes) -> bytes:
    """Single-precision ONNX -> ONNX with half convolutions and activations; inputs and outputs stay as they are."""
    model = onnx.load_from_string(content)
    graph = model.graph
    body = _body(graph.node)
    # the scales of a Resize stay single
    read = {name for node in body for name in (node.input[:1] if node.op_type == "Resize" else node.input)}
    for weight in graph.initializer:
        if weight.name in read:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    made = {name for node in body for name in node.output}
    rest = [node for node in graph.node if node.output[0] not in made]
    entering = {name for node in body for name in node.input} & {name for node in rest for name in node.output}
    leaving = made & {name for node in rest for name in node.input}
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        if node.output[0] in made:
            _rename(node, entering, "_half")
        else:
            _rename(node, leaving, "_single")
        graph.node.append(node)
        for name in node.output:
            if name in entering:
                graph.node.append(helper.make_node("Cast", [name], [f"{name}_half"], to=TensorProto.FLOAT16))
            elif name in leaving:
                graph.node.append(helper.make_node("Cast", [name], [f"{name}_single"], to=TensorProto.FLOAT))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _body(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """From the first convolution to the last, without what must stay single."""
    nodes = list(nodes)
    convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
    return [node for node in nodes[convolutions[0] : convolutions[-1] + 1] if node.op_type in HALF_OPS]


def _rename(node: NodeProto, chosen: set[str], ending: str) -> None:
    node.input[:] = [f"{name}{ending}" if name in chosen else name for name in node.input]
