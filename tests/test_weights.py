"""Weights are believed only when file, card and tracker agree; what does not is named."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from faces import cut_faces

from tracker.backends.choice import open_backend
from tracker.backends.weights import CARD_VERSION, CONTRACT, CROP, DEFAULT_DIR, WITH_SIGNALS, load
from tracker.errors import WeightsError
from tracker.spec import KEYPOINTS, SIZE
from train.export.cpu_form import blocked

CONTENT = b"any bytes will do: loading looks at the hash, not into the network"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pair of files in order."""
    (tmp_path / "fkp.onnx").write_bytes(CONTENT)
    write_card(tmp_path)
    return tmp_path


def write_card(folder: Path, **changes: Any) -> None:
    card = {
        "fkp_card": CARD_VERSION,
        "sha256": hashlib.sha256((folder / "fkp.onnx").read_bytes()).hexdigest(),
        "keypoints": list(KEYPOINTS),
        "crop": CROP,
        "contract": CONTRACT,
    }
    (folder / "fkp.json").write_text(json.dumps(card | changes))


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as refused:
        load(path)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_a_pair_in_order_is_loaded_by_folder_and_by_file(folder: Path) -> None:
    for path in (folder, folder / "fkp.onnx"):
        weights = load(path)
        assert weights.onnx == CONTENT
        assert weights.sha256 == weights.card["sha256"]
        assert weights.path == folder / "fkp.onnx"


def test_a_pair_may_have_another_name(folder: Path) -> None:
    for suffix in (".onnx", ".json"):
        (folder / f"fkp{suffix}").rename(folder / f"mine{suffix}")
    assert load(folder / "mine.onnx").onnx == CONTENT


@pytest.mark.parametrize("name", ["fkp.onnx", "fkp.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refusal(folder)
    assert str(folder / name) in message
    assert ".json card beside it" in message


def test_one_changed_byte_of_the_network_is_noticed(folder: Path) -> None:
    (folder / "fkp.onnx").write_bytes(CONTENT.replace(b"any", b"amy"))
    message = refusal(folder)
    assert str(folder / "fkp.json") in message
    assert "fkp.onnx is not the file its card describes" in message
    assert "run fkp-train" in message


def test_the_form_for_processors_is_the_file_that_the_card_describes(folder: Path) -> None:
    assert load(folder).for_cpu() == CONTENT
    (folder / "quick.onnx").write_bytes(b"quick")
    write_card(folder, cpu={"file": "quick.onnx", "sha256": hashlib.sha256(b"quick").hexdigest()})
    assert load(folder).for_cpu() == b"quick"
    assert load(folder).onnx == CONTENT
    (folder / "quick.onnx").write_bytes(b"quack")
    with pytest.raises(WeightsError, match=r"quick\.onnx: sha256 is .*not what its card describes"):
        load(folder).for_cpu()


def test_a_pair_whose_form_for_processors_was_left_behind_still_runs(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_card(folder, cpu={"file": "quick.onnx", "sha256": "0"})
    with caplog.at_level(logging.INFO, "tracker.backends.weights"):
        assert load(folder).for_cpu() == CONTENT
    assert "has no form for processors" in caplog.text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"keypoints": list(reversed(KEYPOINTS))}, "keypoints is "),
        ({"crop": {"side_iod": 3.0, "eye_midpoint_unit": [0.0, -0.22]}}, 'crop is {"side_iod": 3.0'),
        ({"contract": {**CONTRACT, "input": {}}}, "contract is "),
        ({"fkp_card": 2}, "fkp_card is 2, expected 1"),
        ({"fkp_card": None}, "fkp_card is null, expected 1"),
        ({"sha256": None}, "sha256 is null, expected "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_card_of_another_tracker_is_refused(folder: Path, changes: dict[str, Any], named: str) -> None:
    write_card(folder, **changes)
    message = refusal(folder)
    assert message.startswith(f"{folder / 'fkp.json'}: {named}")
    assert "restore the pair or run fkp-train" in message


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "is not a JSON model card"),
        (b'{"fkp_card": 1', "is not a JSON model card"),
        (b"\xff\xfe\x00", "is not a JSON model card"),
        (b"[]", "holds a JSON list, expected an object"),
        (b"null", "holds a JSON NoneType, expected an object"),
    ],
)
def test_what_is_no_card_is_refused(folder: Path, content: bytes, named: str) -> None:
    (folder / "fkp.json").write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{folder / 'fkp.json'} {named}")
    assert "restore" in message


def test_a_card_that_vouches_for_garbage_fails_at_the_runtime(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot load .*fkp\.onnx .*run fkp-train again"):
        open_backend("cpu", load(folder))


def test_our_own_weights_are_in_order_and_keep_the_contract() -> None:
    weights = load()
    session = ort.InferenceSession(weights.onnx, providers=["CPUExecutionProvider"])
    described_all = [
        described(session.get_inputs()[0], "tensor(uint8)", "uint8"),
        *(described(output, "tensor(float)", "float32") for output in session.get_outputs()),
    ]
    contract = weights.card["contract"]
    assert contract == WITH_SIGNALS
    promised = [contract["input"], *contract["outputs"]]
    assert described_all == [{key: each[key] for key in ("name", "dtype", "shape")} for each in promised]


def test_our_own_form_for_processors_is_the_same_network() -> None:
    weights, crops = load(), cut_faces(20).images[:, None]
    assert weights.for_cpu() == blocked(weights.onnx)
    native, for_cpu = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(["points", "sigma"], {"faces": crops})
        for content in (weights.onnx, weights.for_cpu())
    )
    np.testing.assert_allclose(for_cpu[0] * SIZE / 2, native[0] * SIZE / 2, atol=0.02)
    np.testing.assert_allclose(for_cpu[1], native[1], rtol=0.005)


def described(value: ort.NodeArg, dtype: str, name: str) -> dict[str, Any]:
    assert value.type == dtype
    return {"name": value.name, "dtype": name, "shape": value.shape}


def test_the_folder_of_weights_is_small_and_holds_no_pickle() -> None:
    files = [path for path in DEFAULT_DIR.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5e6
    kinds = {path.suffix for path in files}
    assert kinds <= {".onnx", ".json", ".tflite", ".txt", ".md", ".py"}
