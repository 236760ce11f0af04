"""YuNet as published -> the form that the tracker runs: one head per stride instead of four.

In: `weights/yunet.onnx`, whose features of stride 8, 16 and 32 each go through four pairs of convolutions, for `cls`,
`obj`, `bbox` and `kps`.  Out: the same features and numbers, but one pair of 16 channels per stride.  ONNX Runtime's
blocked kernels round 1, 1, 4 and 10 channels up to 16 each; side by side they fill one block, and a sixth of the time
is saved.

The outputs `faces_8`, `faces_16` and `faces_32` are float32 (1, rows, columns, 16): the logits of `cls` and `obj`, then
`bbox` and `kps` as published.  `python -m train.export.yunet_form` writes the file again.
"""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tracker.backends.weights import DEFAULT_DIR

PUBLISHED, MERGED = DEFAULT_DIR / "yunet.onnx", DEFAULT_DIR / "yunet-cpu.onnx"
STRIDES = (8, 16, 32)
HEADS = ("cls", "obj", "bbox", "kps")


def merged(content: bytes) -> bytes:
    """Rewrite the published file's bytes."""
    model = onnx.load_from_string(content)
    graph = model.graph
    of_heads = [node for node in graph.node if any(name.startswith("bbox_head.") for name in node.input)]
    features = [of_heads[2 * level].input[0] for level in range(len(STRIDES))]  # they stand by head, then by stride
    backbone = list(graph.node)[: list(graph.node).index(of_heads[0])]
    del graph.node[:], graph.output[:]
    graph.node.extend(backbone)
    for level, stride in enumerate(STRIDES):
        graph.node.extend(_head(graph, level, features[level], f"faces_{stride}"))
        shape = (1, f"rows_{stride}", f"columns_{stride}", 16)
        graph.output.append(helper.make_tensor_value_info(f"faces_{stride}", TensorProto.FLOAT, shape))
    drop_unused(graph)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _head(graph: onnx.GraphProto, level: int, feature: str, output: str) -> list[NodeProto]:
    """A 1x1 and a depthwise 3x3 convolution from the feature of one stride; their weights are added to `graph`."""
    published = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    for part in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"):
        together = np.concatenate([published[f"bbox_head.multi_level_{head}.{level}.{part}"] for head in HEADS])
        graph.initializer.append(numpy_helper.from_array(together, f"{output}.{part}"))

    def conv(value: str, name: str, side: int, group: int) -> NodeProto:
        inputs, pads = [value, f"{name}.weight", f"{name}.bias"], [side // 2] * 4
        return helper.make_node("Conv", inputs, [name], kernel_shape=[side, side], pads=pads, group=group)

    return [
        conv(feature, f"{output}.conv1", side=1, group=1),
        conv(f"{output}.conv1", f"{output}.conv2", side=3, group=16),
        helper.make_node("Transpose", [f"{output}.conv2"], [output], perm=[0, 2, 3, 1]),
    ]


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the weights that no node reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


if __name__ == "__main__":
    MERGED.write_bytes(merged(PUBLISHED.read_bytes()))
