"""NVIDIA's own parser and builder, which TensorRT-RTX brings for machines without a GPU, on the networks that ship."""

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from faces import cut_faces
from numpy.typing import NDArray

from tracker.backends.settings import Precision
from tracker.backends.tensorrt import compile_ahead
from tracker.backends.tensorrt.build import BATCHES, Recipe, build, engine, listener_of, parse
from tracker.backends.tensorrt.cache import Cache, cached_in
from tracker.backends.tensorrt.guard import Gpu, import_package
from tracker.backends.weights import load
from tracker.errors import BackendUnavailable
from tracker.spec import SIZE
from train.export.fp16_form import in_half
from train.export.onnx import SELU_ALPHA, SELU_GAMMA

ONE = (1,)
"""The fewest batches, for tests that only want some engine."""


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra `rtx`")
    return import_package("tensorrt-rtx")


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """(16, 1, 96, 96)"""
    return cut_faces(16).images[:, None]


def recipe(trt: ModuleType, precision: Precision = "fp32", **changes: Any) -> Recipe:
    return Recipe(trt, "tensorrt-rtx", load().at(precision), precision, None, ONE)._replace(**changes)


def parsed(trt: ModuleType, content: bytes) -> Any:
    listener = listener_of(trt)
    builder = trt.Builder(listener.logger)
    network = parse(trt, builder, content, listener)
    return network, builder  # the builder must outlive its network


def layers(trt: ModuleType, network: Any, kind: str) -> list[Any]:
    found = [network.get_layer(i) for i in range(network.num_layers)]
    return [layer for layer in found if layer.type == getattr(trt.LayerType, kind)]


def quantized(crops: NDArray[np.uint8], tmp_path: Path) -> bytes:
    """The network that ships with its convolutions in int8, as ONNX Runtime's quantizer writes it for TensorRT."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Faces(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter([{"faces": crops}])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self._rest, None)

    quantize_static(
        load().path,
        tmp_path / "int8.onnx",
        Faces(),
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QInt8,
        per_channel=True,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    return (tmp_path / "int8.onnx").read_bytes()


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_network_that_ships_compiles_for_every_batch(trt: ModuleType, precision: Precision) -> None:
    assert len(build(recipe(trt, precision, batches=BATCHES))) > len(load().onnx)


def test_a_quantized_network_compiles_too(trt: ModuleType, crops: NDArray[np.uint8], tmp_path: Path) -> None:
    content = quantized(crops, tmp_path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {
        node.op_type for node in onnx.load_from_string(content).graph.node
    }
    assert build(recipe(trt, onnx=content))


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_parser_sees_the_inputs_and_outputs_of_the_contract(trt: ModuleType, precision: Precision) -> None:
    network, _builder = parsed(trt, load().at(precision))
    (faces,) = (network.get_input(i) for i in range(network.num_inputs))
    assert (faces.name, faces.dtype, tuple(faces.shape)) == ("faces", trt.DataType.UINT8, (-1, 1, SIZE, SIZE))
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert {each.name: tuple(each.shape) for each in outputs} == {
        name: (-1, *shape) for name, shape in load().outputs.items()
    }
    assert {each.dtype for each in outputs} == {trt.DataType.FLOAT}


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_parser_reads_selu_with_our_constants(trt: ModuleType, precision: Precision) -> None:
    network, _builder = parsed(trt, load().at(precision))
    activations = layers(trt, network, "ACTIVATION")
    for layer in activations:
        layer.__class__ = trt.IActivationLayer  # the parser hands out its base class
    selus = [layer for layer in activations if layer.type == trt.ActivationType.SELU]
    assert len(selus) == sum(node.op_type == "Selu" for node in onnx.load_from_string(load().onnx).graph.node) > 0
    for layer in selus:
        assert (layer.alpha, layer.beta) == (pytest.approx(SELU_ALPHA, abs=1e-7), pytest.approx(SELU_GAMMA, abs=1e-7))


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "FLOAT"), ("fp16", "HALF")])
def test_convolutions_are_in_the_precision_of_the_file(trt: ModuleType, precision: Precision, kind: str) -> None:
    network, _builder = parsed(trt, load().at(precision))
    convolutions = layers(trt, network, "CONVOLUTION")
    assert convolutions
    assert {layer.get_input(0).dtype for layer in convolutions} == {getattr(trt.DataType, kind)}


def test_half_precision_moves_no_keypoint_by_more_than_a_hundredth_of_a_pixel(crops: NDArray[np.uint8]) -> None:
    answers = [
        ort.InferenceSession(load().at(precision), providers=["CPUExecutionProvider"]).run(["points"], {"faces": crops})
        for precision in get_args(Precision)
    ]
    moved_px = np.linalg.norm(answers[0][0] - answers[1][0], axis=-1) * SIZE / 2
    assert 0 < moved_px.max() < 0.01


def test_the_half_network_that_ships_is_made_of_the_one_that_ships() -> None:
    weights = load()
    assert weights.at("fp16") == in_half(weights.onnx)


def test_a_network_that_the_parser_does_not_know_is_refused_in_its_words(trt: ModuleType) -> None:
    with pytest.raises(BackendUnavailable, match=r"cannot read the network: .*; --backend auto takes what runs here"):
        build(recipe(trt, onnx=b"no network"))


def test_a_network_of_another_input_is_refused_in_the_builders_words(trt: ModuleType) -> None:
    model = onnx.load_from_string(load().onnx)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    with pytest.raises(BackendUnavailable, match=r"cannot (read|compile) the network: (?!it does not say)"):
        build(recipe(trt, onnx=model.SerializeToString()))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tensorrt_rtx", "tensorrt-rtx is not installed"),
        ("tensorrt_rtx_libs", "tensorrt-rtx is installed but does not load"),
    ],
)
def test_a_package_that_is_not_whole_is_one_message(trt: ModuleType, tmp_path: Path, missing: str, said: str) -> None:
    """Nothing of it, or NVIDIA's Python part alone."""
    for part in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        shutil.copytree(Path(trt.__file__).parents[1] / part, tmp_path / part)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})  # out of reach of the libraries beside the installed ones
sys.modules[{missing!r}] = None
from tracker.backends.tensorrt.guard import import_package
from tracker.errors import BackendUnavailable
try:
    import_package("tensorrt-rtx")
except BackendUnavailable as refusal:
    print(refusal)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)
    assert 'pip install "fkp[rtx]"' in done.stdout


def test_an_engine_is_built_once_and_then_kept(
    trt: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first = engine(recipe(trt), Cache(tmp_path), bytes)
        assert "builds an engine" in caplog.text
        caplog.clear()
        assert engine(recipe(trt), Cache(tmp_path), bytes) == first
    assert caplog.text == ""
    ((path, told),) = cached_in(tmp_path)
    assert path.name == f"{load().sha256[:12]}-fp32-tensorrt-rtx-any-RTX.compiled"
    assert f"runtime tensorrt-rtx {trt.__version__}" in told


def test_another_version_of_the_runtime_makes_it_stale(
    trt: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine(recipe(trt), Cache(tmp_path), bytes)
    (path,) = tmp_path.glob("*.compiled")
    path.write_bytes(path.read_bytes().replace(trt.__version__.encode(), b"0.9", 1))
    engine(recipe(trt), Cache(tmp_path), bytes)
    assert (
        f"is stale: runtime was tensorrt-rtx 0.9, is tensorrt-rtx {trt.__version__}; compiling it again" in caplog.text
    )
    assert [trt.__version__ in told for _, told in cached_in(tmp_path)] == [True]


def test_of_two_that_want_the_same_engine_at_once_one_builds_it(
    trt: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: engine(recipe(trt), Cache(tmp_path), bytes), range(2))
    assert first == second
    assert caplog.text.count("builds an engine") == 1


def test_an_engine_that_the_runtime_refuses_is_built_again_once(
    trt: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = engine(recipe(trt), Cache(tmp_path), bytes)
    seen: list[bytes] = []

    def refuse_the_kept_one(content: bytes) -> bytes | None:
        seen.append(content)
        return None if len(seen) == 1 else content

    assert engine(recipe(trt), Cache(tmp_path), refuse_the_kept_one)
    assert seen[0] == first
    assert "the runtime refuses the cached" in caplog.text
    assert "does not load: it does not say why" in caplog.text
    with pytest.raises(BackendUnavailable, match="does not load the engine it built: it does not say why"):
        engine(recipe(trt), Cache(None), lambda _: None)


def test_the_real_runtime_says_why_it_takes_no_engine(trt: ModuleType) -> None:
    loader = trt.Runtime(listener_of(trt).logger)
    with pytest.raises(BackendUnavailable, match=r"does not load the engine it built: (?!it does not say why)"):
        engine(recipe(trt), Cache(None), lambda content: loader.deserialize_cuda_engine(content[:100]))


def test_compiling_ahead_with_another_interface_is_refused_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a finished training does last."""
    other = ModuleType("tensorrt_rtx")
    other.__version__ = "99.0"  # type: ignore[attr-defined]
    monkeypatch.setattr("tracker.backends.tensorrt.installed", lambda _flavour: True)
    monkeypatch.setattr("tracker.backends.tensorrt.import_package", lambda _flavour: other)
    with pytest.raises(BackendUnavailable, match=r"99\.0 fp32 does not run here"):
        compile_ahead(load(), "fp32", Cache(None))


def test_one_listener_serves_all_builds_of_a_process(trt: ModuleType) -> None:
    assert listener_of(trt) is listener_of(trt)


def test_engines_for_different_gpus_do_not_replace_each_other(trt: ModuleType) -> None:
    """The full TensorRT's are each for one GPU and driver, an RTX engine is for all."""
    card, older, other = Gpu("Card 1", (8, 9), (13, 0)), Gpu("Card 1", (8, 9), (12, 8)), Gpu("Card 2", (9, 0), (13, 0))
    full = [recipe(trt, flavour="tensorrt", gpu=gpu) for gpu in (card, older, other)]
    assert full[0].name == full[1].name != full[2].name
    assert full[0].facts != full[1].facts
    rtx = [recipe(trt, gpu=gpu) for gpu in (None, card, other)]
    assert rtx[0].facts == rtx[1].facts == rtx[2].facts
    assert rtx[0].name == rtx[1].name == rtx[2].name
