"""A trained net -> the files of weights/: four ONNX networks and their card.

`fkp.onnx` draws scheme A's points and is what the tracker runs, in the form `fkp-cpu.onnx` on a processor and in the
form `fkp-fp16.onnx` on GPUs that are faster in half precision; `fkp-schemes.onnx` holds every scheme's points and is
what `fkp-train evaluate` and `submit` read.  All take raw pixels: normalisation lies inside the graph.
"""

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from tracker.backends.weights import CARD_VERSION, CONTRACT, CROP, WITH_SIGNALS, Weights, load
from tracker.errors import SinkError, WeightsError, reason_of
from tracker.spec import KEYPOINTS, SIZE
from tracker.support.atomic import move_patiently
from tracker.support.process import undisturbed
from train.export.cpu_form import blocked
from train.export.fp16_form import in_half
from train.learn.model import HEADS, SHOWN, Block, Net, mac_count, parameter_count
from train.learn.signals import SignalHead, Telling

SELU_ALPHA = 1.67326324235437728481704
SELU_GAMMA = 1.05070098735548049341933
"""Klambauer et al. 2017, equation 14; written on every node because some parsers assume rounded ones."""


SCHEMES_FILE = "fkp-schemes.onnx"
FORMS = {"fp16": in_half, "cpu": blocked}
"""Entry of the card -> how that form of the network follows from `fkp.onnx`; `fkp-<entry>.onnx` holds it."""


def write_weights(net: Net, folder: Path, facts: dict[str, Any], head: SignalHead | None = None) -> None:
    """Write the networks and their card to a folder; `facts` is what the card says beyond the files, or an older card.

    With a `head` the network that the tracker runs tells signals.

    The card comes last, so a folder whose writing was cut short is refused instead of half believed.  Raises SinkError
    when a file cannot be written.
    """
    entries, networks = _shown("fkp", net, head)
    networks[SCHEMES_FILE] = onnx_bytes(served(net, range(len(HEADS))))
    card = {
        "fkp_card": CARD_VERSION,
        "keypoints": list(KEYPOINTS),
        "crop": CROP,
        **entries,
        "schemes": schemes_entry(networks[SCHEMES_FILE]),
    }
    card |= {name: fact for name, fact in facts.items() if name not in card}
    _replace_all({folder / name: content for name, content in (networks | {"fkp.json": _json(card)}).items()})


def add_signals(weights: Weights, net: Net, head: SignalHead, facts: dict[str, Any]) -> Weights:
    """Write finished weights again so that they tell signals; `net` is `held_net` of them.  Their points and sigma stay
    the same to the last bit.

    `facts` is what the card says of the signals.  Raises SinkError when a file cannot be written.
    """
    entries, networks = _shown(weights.path.stem, net, head)
    files = {weights.path.with_name(name): content for name, content in networks.items()}
    card = weights.card | entries | {"signals": facts}
    _replace_all(files | {weights.path.with_suffix(".json"): _json(card)})
    return load(weights.path)


def _shown(stem: str, net: Net, head: SignalHead | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the card says of the network that the tracker runs, and the files of all its forms."""
    shown = served(net, SHOWN)
    telling = shown if head is None else Telling(shown, head).eval()
    content = onnx_bytes(telling)
    entries, forms = _forms(stem, content)
    said = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": parameter_count(telling),
        "macs": mac_count(telling),
        "contract": _contract(telling),
    }
    return said | entries, {f"{stem}.onnx": content} | forms


def _contract(net: Net | Telling) -> dict[str, Any]:
    return CONTRACT if isinstance(net, Net) else WITH_SIGNALS


def add_forms(weights: Weights) -> Weights:
    """Write the other forms of the network beside finished weights and enter them into their card, if they are missing.

    Raises SinkError when a file cannot be written.
    """
    entries, forms = _forms(weights.path.stem, weights.onnx)
    for name, content in forms.items():
        path = weights.path.with_name(name)
        if not path.is_file() or path.read_bytes() != content:
            _replace_all({path: content})
    card = weights.card | entries
    if card != weights.card:
        _replace_all({weights.path.with_suffix(".json"): _json(card)})
    return load(weights.path)


def _forms(stem: str, content: bytes) -> tuple[dict[str, dict[str, str]], dict[str, bytes]]:
    """What the card says of each other form of a network, by kind, and the files of those forms."""
    forms = {kind: derive(content) for kind, derive in FORMS.items()}
    names = {kind: f"{stem}-{kind}.onnx" for kind in forms}
    entries = {kind: {"file": names[kind], "sha256": hashlib.sha256(form).hexdigest()} for kind, form in forms.items()}
    return entries, {names[kind]: form for kind, form in forms.items()}


def schemes_entry(content: bytes) -> dict[str, Any]:
    """What the card says of the network with every scheme's outputs."""
    return {
        "file": SCHEMES_FILE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "heads": [[scheme, KEYPOINTS[keypoint]] for scheme, keypoint in HEADS],
    }


def schemes_of(weights: Weights) -> tuple[Path, bytes]:
    """The file with every scheme's outputs, and its content, checked against the card that lists it.

    Raises WeightsError.
    """
    path = weights.path.with_name(SCHEMES_FILE)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {path}: {reason_of(error)}; it holds the outputs of all schemes; fkp-train writes it"
        ) from error
    if schemes_entry(content) != weights.card.get("schemes"):
        raise WeightsError(
            f"{path} is not the network with {len(HEADS)} outputs that the card of {weights.path} describes; restore "
            "both or run fkp-train again"
        )
    return path, content


def served(net: Net, heads: Sequence[int]) -> Net:
    """A copy of `net` on the CPU with only these outputs and the residual gains folded into their convolutions."""
    net = copy.deepcopy(net).cpu().eval()
    chosen = torch.tensor(list(heads))
    with torch.no_grad():
        for layer in (net.maps, net.doubt):
            assert layer.bias is not None
            layer.weight = nn.Parameter(layer.weight[chosen])
            layer.bias = nn.Parameter(layer.bias[chosen])
        net.spread_weight = nn.Parameter(net.spread_weight[chosen])
        net.offset = net.offset[chosen]
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if isinstance(child, Block):
                    setattr(parent, name, _FoldedBlock(child))
    return net


def onnx_bytes(net: Net | Telling) -> bytes:
    """The network as ONNX: `faces` uint8 (N, 1, 96, 96) -> `points` (N, K, 2), `sigma` (N, K) float32, N free; of one
    that tells signals also `signals` and `signals_sigma` (N, 3)."""
    if net.training:
        raise ValueError("export wants a network in eval mode: dropout must not be part of the graph")
    example = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8)
    with _quiet_exporter():
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            input_names=["faces"],
            output_names=[each["name"] for each in _contract(net)["outputs"]],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _spell_out_selu(model)
    _forget_source_paths(model)
    _name_as_without_signals(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter says of itself: that it uses deprecated parts of torch, and has no torchvision."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.disabled = True
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        registration.disabled = False


class _FoldedBlock(nn.Module):
    """A `Block` without its gain."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.depthwise, self.expand, self.project = block.depthwise, block.expand, block.project
        self.project.weight *= block.gain
        assert self.project.bias is not None
        self.project.bias *= block.gain

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(nn.functional.selu(self.expand(self.depthwise(x))))


def _spell_out_selu(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Selu":
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("alpha", SELU_ALPHA))
            node.attribute.append(onnx.helper.make_attribute("gamma", SELU_GAMMA))


def _name_as_without_signals(model: onnx.ModelProto) -> None:
    """The net's weights are called as in a network that tells no signals."""
    for named in (*model.graph.initializer, *model.graph.value_info):
        named.name = named.name.removeprefix("net.")
    for node in model.graph.node:
        node.input[:] = [name.removeprefix("net.") for name in node.input]


def _forget_source_paths(model: onnx.ModelProto) -> None:
    """The exporter notes file names and stack traces of the machine it ran on."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def _json(card: dict[str, Any]) -> bytes:
    return (json.dumps(card, indent=2, allow_nan=False) + "\n").encode()


def _replace_all(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none is replaced before all are on the disk."""
    partials = {path: path.with_name(path.name + ".partial") for path in contents}
    try:
        for path, partial in partials.items():
            partial.write_bytes(contents[path])
        with undisturbed():
            for path, partial in partials.items():
                move_patiently(partial, path)
    except OSError as error:
        for partial in partials.values():
            with suppress(OSError):  # a file system that is read-only says so of files that are not there too
                partial.unlink()
        raise SinkError(f"cannot write {path}: {reason_of(error)}") from error
