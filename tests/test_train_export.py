"""The exported files: what ONNX Runtime answers is what torch answers, and nothing but whole weights is believed."""

import errno
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from faces import cut_faces
from numpy.typing import NDArray

from tracker.backends.weights import CONTRACT, DEFAULT_DIR, load
from tracker.errors import SinkError
from tracker.spec import SIZE
from train.export.onnx import SELU_ALPHA, SELU_GAMMA, add_forms, onnx_bytes, served, write_weights
from train.learn.model import HEADS, Net, NetConfig, mac_count, parameter_count

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

FILES = {"fkp.onnx": 15, "fkp-schemes.onnx": 34}
"""Name -> outputs."""
TINY = NetConfig(stem=4, widths=(4, 6), depths=(0, 0), up_depths=(0,))


def shaken(config: NetConfig, *, seed: int) -> Net:
    """A net in which no weight is what it starts as, so that none can be lost unnoticed."""
    torch.manual_seed(seed)
    net = Net(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return net


@pytest.fixture(scope="module")
def net() -> Net:
    return shaken(NetConfig(), seed=0)


@pytest.fixture(scope="module")
def folder(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_weights(net, folder, {"name": "test", "metrics": {"kaggle_weighted": None}})
    return folder


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """(7, 1, 96, 96)"""
    return cut_faces(7).images[:, None]


def run(path: Path, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["points", "sigma"], {"faces": crops})


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("name", FILES)
def test_onnx_runtime_answers_as_torch_does(
    folder: Path, net: Net, crops: NDArray[np.uint8], name: str, batch: int
) -> None:
    with torch.no_grad():
        expected = net(torch.from_numpy(crops[:batch]))
    for answer, wanted in zip(run(folder / name, crops[:batch]), expected, strict=True):
        np.testing.assert_allclose(answer, wanted[:, : FILES[name]], atol=1e-5, rtol=0)


def test_serving_leaves_the_net_itself_as_it_was(net: Net) -> None:
    before = [parameter.clone() for parameter in net.parameters()]
    served(net, range(15))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


def described(value: onnx.ValueInfoProto) -> dict[str, object]:
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
    }


def test_the_network_has_the_inputs_and_outputs_of_the_contract(folder: Path) -> None:
    graph = onnx.load(folder / "fkp.onnx").graph
    assert [described(value) for value in graph.input] == [CONTRACT["input"]]
    outputs = [{**described(value), "space": "unit"} for value in graph.output]
    assert outputs == CONTRACT["outputs"]


@pytest.mark.parametrize("name", FILES)
def test_selu_spells_out_its_constants(folder: Path, name: str) -> None:
    nodes = [node for node in onnx.load(folder / name).graph.node if node.op_type == "Selu"]
    assert len(nodes) == 7  # the stem and six blocks
    for node in nodes:
        values = {attribute.name: attribute.f for attribute in node.attribute}
        assert values == {"alpha": pytest.approx(SELU_ALPHA, abs=1e-7), "gamma": pytest.approx(SELU_GAMMA, abs=1e-7)}


@pytest.mark.parametrize("batch", [1, 7])
def test_the_form_for_processors_answers_the_same_within_hundredths_of_a_pixel(
    folder: Path, crops: NDArray[np.uint8], batch: int
) -> None:
    native, for_cpu = (run(folder / name, crops[:batch]) for name in ("fkp.onnx", "fkp-cpu.onnx"))
    off = SIZE / 2 * np.abs(for_cpu[0] - native[0])
    assert np.sqrt(np.square(off).mean()) < 0.01
    assert off.max() < 0.05
    np.testing.assert_allclose(for_cpu[1], native[1], rtol=0.01)


def test_the_form_for_processors_standardises_a_crop_in_one_step_and_keeps_no_weight_in_vain(folder: Path) -> None:
    graph = onnx.load(folder / "fkp-cpu.onnx").graph
    assert [node.op_type for node in graph.node][:3] == ["Cast", "InstanceNormalization", "Conv"]
    assert {value.name for value in graph.initializer} <= {name for node in graph.node for name in node.input}


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_the_form_for_processors_answers_a_crop_without_any_contrast_alike(folder: Path, gray: int) -> None:
    blank = np.full((1, 1, SIZE, SIZE), gray, np.uint8)
    native, for_cpu = (run(folder / name, blank) for name in ("fkp.onnx", "fkp-cpu.onnx"))
    np.testing.assert_allclose(for_cpu[0], native[0], atol=1e-3)


def test_nothing_leaves_the_blocks_between_the_first_convolution_and_the_maps(folder: Path, tmp_path: Path) -> None:
    """On processors with blocked kernels; elsewhere ONNX Runtime reorders nothing at all."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that this file is for this processor alone
    ort.InferenceSession(folder / "fkp-cpu.onnx", options, providers=["CPUExecutionProvider"])
    reorderings = [node for node in onnx.load(tmp_path / "optimised.onnx").graph.node if "Reorder" in node.op_type]
    assert len(reorderings) <= 2  # out of the blocks: the deepest features, and the maps


@pytest.mark.parametrize("name", FILES)
def test_the_file_tells_nothing_of_the_machine_that_wrote_it(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for trace in (b".py", b"File ", b"site-packages", b"stack_trace", str(Path.home()).encode(), b"/train/"):
        assert trace not in content, trace


def test_export_says_nothing_and_repeats_itself(
    folder: Path, net: Net, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings are errors here; stdout, stderr and the log are looked at."""
    assert onnx_bytes(served(net, range(15))) == (folder / "fkp.onnx").read_bytes()
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_net_in_training_is_not_exported() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        onnx_bytes(Net(TINY).train())


def test_the_tracker_accepts_the_folder_and_the_card_counts_what_is_served(folder: Path, net: Net) -> None:
    card = load(folder).card
    shown = served(net, range(15))
    assert (card["macs"], card["parameters"]) == (mac_count(shown), parameter_count(shown))
    assert card["macs"] <= 12e6
    assert card["parameters"] <= 350e3
    assert card["name"] == "test"
    assert len(card["schemes"]["heads"]) == len(HEADS)
    json.loads((folder / "fkp.json").read_text(), parse_constant=pytest.fail)
    networks = ["fkp-cpu.onnx", "fkp-fp16.onnx", "fkp-schemes.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == [*networks, "fkp.json", "fkp.onnx"]


@pytest.mark.parametrize("form", ["fp16", "cpu"])
def test_a_form_that_is_missing_is_added_to_finished_weights_and_nothing_else_changes(
    folder: Path, tmp_path: Path, form: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "weights"))
    for path in sorted(copy.glob(f"*{form}*")):
        path.unlink()
    card = json.loads((copy / "fkp.json").read_text())
    del card[form]
    (copy / "fkp.json").write_text(json.dumps(card))
    assert add_forms(load(copy)).card == load(folder).card
    for path in folder.glob("*.onnx"):
        assert (copy / path.name).read_bytes() == path.read_bytes()


def test_weights_on_a_read_only_file_system_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    copy = Path(shutil.copytree(DEFAULT_DIR, tmp_path / "weights"))
    (copy / "fkp-fp16.onnx").unlink()
    monkeypatch.setattr(Path, "write_bytes", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(SinkError, match=r"cannot write .*fkp-fp16\.onnx: Read-only file system"):
        add_forms(load(copy))


@pytest.mark.parametrize("blocked", ["fkp-schemes.onnx", "fkp.json"])
def test_weights_that_cannot_all_be_written_replace_none(
    folder: Path, tmp_path: Path, blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New networks that need no export: those that ship."""
    exported = [(DEFAULT_DIR / name).read_bytes() for name in FILES]
    monkeypatch.setattr("train.export.onnx.onnx_bytes", lambda _: exported.pop(0))
    copy = Path(shutil.copytree(folder, tmp_path / "weights"))
    before = load(copy).sha256
    original = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == f"{blocked}.partial":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match=f"cannot write .*{blocked}: No space"):
        write_weights(Net(TINY).eval(), copy, {})
    assert not exported
    assert not list(copy.glob("*.partial*"))
    assert load(copy).sha256 == before
