"""Finished weights -> a net that goes on learning from them.

In: a folder with `fkp-schemes.onnx`.  Out: the net whose answers it holds, calibration included.
"""

import math

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from tracker.backends.weights import Weights
from tracker.errors import WeightsError
from train.export.onnx import schemes_of
from train.learn.model import Block, Net, NetConfig
from train.learn.signals import SignalHead


def net_of(weights: Weights) -> Net:
    """The net of finished weights; the gains that export folded away are taken out of the convolutions again.

    Raises WeightsError for weights of another shape.
    """
    net = held_net(weights)
    for module in net.modules():
        if isinstance(module, Block):
            _take_out_gain(module)
    return net


def held_net(weights: Weights) -> Net:
    """The net of finished weights with the very numbers that they hold: all gains are 1.

    Raises WeightsError for weights of another shape.
    """
    (path, content), net = schemes_of(weights), Net(NetConfig())
    try:
        held = _numbers(content)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(torch.ones(()) if name.endswith(".gain") else held[name])
            net.offset.copy_(held["offset"])
    except Exception as error:
        raise WeightsError(
            f"{path} does not contain a network of the shape that this fkp-train trains ({error}); train a new one"
        ) from error
    return net


def head_of(weights: Weights) -> SignalHead | None:
    """The head that tells signals in finished weights; None if they tell none."""
    if "signals" not in weights.outputs:
        return None
    held = _numbers(weights.onnx)
    narrow, width, *_ = held["head.narrow.weight"].shape
    head = SignalHead(width, narrow=narrow, hidden=len(held["head.hidden.weight"]))
    head.load_state_dict({name: held[f"head.{name}"] for name in head.state_dict()})
    return head


def _numbers(content: bytes) -> dict[str, Tensor]:
    """What an ONNX file holds, by name."""
    graph = onnx.load_from_string(content).graph
    return {value.name: torch.from_numpy(numpy_helper.to_array(value).copy()) for value in graph.initializer}


@torch.no_grad()
def _take_out_gain(block: Block) -> None:
    """Give the last convolution of a block the size at which weights start, so that steps of learning fit it."""
    weight = block.project.weight
    gain = float(weight.std()) * math.sqrt(weight[0].numel())
    block.gain.copy_(torch.tensor(gain))
    weight /= gain
    assert block.project.bias is not None
    block.project.bias /= gain
