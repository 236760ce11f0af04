"""Files from anywhere: whatever bytes they hold, they are read, or refused in one message of our own.

Hypothesis damages files that are whole and looks for any other exception.  It draws the same damages every time;
`EXAMPLES` is small for that reason, raise it to search.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_keypoints_record import HEADER, tracked, write_all

from tracker.backends.weights import CARD_VERSION, CONTRACT, CROP, load
from tracker.batch.ledger import NAME, open_ledger
from tracker.errors import DataError, WeightsError
from tracker.sinks.keypoints import table
from tracker.sinks.keypoints.registry import FORMATS, format_of
from tracker.spec import COLUMNS, KEYPOINTS
from train.data.faces68 import read_faces68
from train.data.kaggle import read_test, read_training

EXAMPLES = 40

fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HOSTILE = [b"", b"\0", b"\xff\xfe", b"\n", b'"', b",", b"{", b"[", b"null", b"-1", b"0x1", b"1e999", b"NaN", b"9", b"x"]
HOSTILE += [b"\xd9\xa3", b"../", b"PK\x01\x02"]
"""Pieces that readers stumble over; the last but two is a digit that is not ASCII."""

Edits = list[tuple[float, int, bytes, int]]

edits = st.lists(
    st.tuples(
        st.floats(0, 1, allow_subnormal=False),  # ONNX Runtime flushes the others to 0
        st.sampled_from([0, 1, 2, 4, 100, 100_000]),
        st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=8)),
        st.sampled_from([1, 1, 30, 5000, 20_000]),
    ),
    min_size=1,
    max_size=6,
)
"""Where, how many bytes go, what comes, how many times."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def damaged(whole: bytes, edits: Edits) -> bytes:
    """The bytes after some were cut out and others put in their place."""
    content = whole
    for place, gone, come, times in edits:
        at = round(place * len(content))
        content = content[:at] + come * times + content[at + gone :]
    return content


def refused_or_read(read: Callable[[], object], refusal: type[Exception]) -> None:
    """Only `refusal` may be raised, with a message of one line that is no longer than a screen."""
    message = ""
    try:
        read()
    except refusal as error:
        message = str(error)
    assert len(message) < 2000
    assert "\n" not in message


# Keypoint files


@pytest.mark.slow
@pytest.mark.parametrize("suffix", table.READERS)
@fuzzed
@given(edits=edits)
def test_a_damaged_keypoint_file_is_a_table_or_one_message(suffix: str, edits: Edits, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write_all(
        FORMATS[format_of(path, None)].open(path, HEADER, True), [tracked(0, 2), tracked(1, 0), tracked(2, 1, name="a")]
    )
    path.write_bytes(damaged(path.read_bytes(), edits))
    refused_or_read(lambda: table.read(path), DataError)


FACE = {"id": 0, "score": 1, "box": [0] * 4, "points": [[0, 0]] * 15, "sigma": [1] * 15, "pose": None}


@pytest.mark.slow
@fuzzed
@given(key=st.sampled_from(["frame", "time", "faces", "image", *FACE]), value=json_values)
@example(key="frame", value={})
@example(key="frame", value=10**30)
@example(key="points", value=[[0, 0]])
def test_a_keypoint_file_with_other_values_is_a_table_or_one_message(key: str, value: Any, tmp_path: Path) -> None:
    face = FACE | ({key: value} if key in FACE else {})
    frame = {"frame": 0, "time": 0, "faces": [face]} | ({} if key in FACE else {key: value})
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"fkp": 1}}\n{json.dumps(frame)}\n')
    refused_or_read(lambda: table.read(path), DataError)


# The model card


def pair(folder: Path) -> dict[str, Any]:
    """A network in `folder`, and the card that fits it."""
    for name in ("fkp.onnx", "half.onnx", "quick.onnx"):
        (folder / name).write_bytes(name.encode())

    def entry(name: str) -> dict[str, str]:
        return {"file": name, "sha256": hashlib.sha256(name.encode()).hexdigest()}

    about = {"fkp_card": CARD_VERSION, "keypoints": list(KEYPOINTS), "crop": CROP, "contract": CONTRACT}
    return about | {"sha256": entry("fkp.onnx")["sha256"], "fp16": entry("half.onnx"), "cpu": entry("quick.onnx")}


def use(folder: Path) -> None:
    """Read all that a card describes."""
    weights = load(folder)
    weights.for_cpu()
    weights.at("fp16")


@fuzzed
@given(edits=edits)
@example(edits=[(0.0, 100_000, b"[", 100_000)])
def test_a_damaged_card_is_a_card_or_one_message(edits: Edits, tmp_path: Path) -> None:
    (tmp_path / "fkp.json").write_bytes(damaged(json.dumps(pair(tmp_path)).encode(), edits))
    refused_or_read(lambda: use(tmp_path), WeightsError)


@pytest.mark.slow
@fuzzed
@given(key=st.sampled_from(["fkp_card", "keypoints", "crop", "contract", "sha256", "fp16", "cpu"]), value=json_values)
@example(key="cpu", value={"file": "../fkp.onnx"})
@example(key="cpu", value={"file": "a\0b"})
@example(key="fp16", value={})
@example(key="fp16", value={"file": ""})
def test_a_card_with_other_values_is_a_card_or_one_message(key: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "fkp.json").write_text(json.dumps(pair(tmp_path) | {key: value}))
    refused_or_read(lambda: use(tmp_path), WeightsError)


# The record of a batch


@pytest.mark.slow
@fuzzed
@given(edits=edits)
@example(edits=[(0.0, 100_000, b'{"status": "done"}', 1)])
@example(edits=[(0.0, 100_000, b"[", 100_000)])
def test_a_damaged_record_of_a_batch_costs_its_damaged_lines_alone(edits: Edits, tmp_path: Path) -> None:
    entry = {"status": "done", "outputs": ["a.jsonl"], "size": 1, "settings": {}}
    last = json.dumps(entry | {"outputs": ["b.jsonl"]}).encode()
    (tmp_path / NAME).write_bytes(damaged((json.dumps(entry) + "\n").encode() * 3, edits) + b"\n" + last + b"\n")
    (tmp_path / "b.jsonl").touch()
    with open_ledger(tmp_path) as ledger:
        assert ledger.state("b.jsonl", {"size": 1}) == "done"
        ledger.write(entry)


# Training data


TRAINING_CSV = "".join(
    ",".join(row) + "\n" for row in [[*COLUMNS, "Image"], *[[*["48.5"] * len(COLUMNS), " ".join(["128"] * 9216)]] * 2]
).encode()
"""Two faces as Kaggle has them, gray all over."""

FACES68 = {
    "landmarks68.csv": "image,{}\na.pgm,{}\n".format(
        ",".join(f"{axis}_{i}" for i in range(68) for axis in "xy"), ",".join(map(str, range(136)))
    ).encode(),
    "a.pgm": b"P5 8 8 255\n" + bytes(64),
}
"""One picture with 68 landmarks."""


def zipped(content: bytes, name: str, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


@fuzzed
@given(edits=edits)
@example(edits=[(0.99, 0, b"9", 5000)])
def test_a_damaged_training_csv_is_read_or_one_message(edits: Edits, tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    path.write_bytes(damaged(TRAINING_CSV, edits))
    refused_or_read(lambda: read_training(path), DataError)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@fuzzed
@given(edits=edits, nested=st.booleans())
@example(edits=[(0.112, 1, b"\xff", 1)], nested=False)  # the properties of LZMA
def test_a_damaged_zip_is_read_or_one_message(compression: int, edits: Edits, nested: bool, tmp_path: Path) -> None:
    content = zipped(TRAINING_CSV, "training.csv", compression)
    path = tmp_path / "download.zip"
    path.write_bytes(damaged(zipped(content, "training.zip") if nested else content, edits))
    refused_or_read(lambda: read_training(path), DataError)
    refused_or_read(lambda: read_training(tmp_path), DataError)


@fuzzed
@given(edits=edits)
def test_a_damaged_test_csv_is_read_or_one_message(edits: Edits, tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    pixels = " ".join(["128"] * 96 * 96)
    path.write_bytes(damaged(f"ImageId,Image\n1,{pixels}\n2,{pixels}\n".encode(), edits))
    refused_or_read(lambda: read_test(path), DataError)


@fuzzed
@given(edits=edits)
@example(edits=[(0.9, 1, b"9", 30)])
@example(edits=[(0.9, 1, b"9", 5000)])
def test_a_damaged_index_is_read_or_one_message(edits: Edits, tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_bytes(TRAINING_CSV)
    index = tmp_path / "index.csv"
    whole = b"row,kaggle_row,duplicate_group,scheme,known_problem\n0,0,0,A,\n1,1,1,A,\n"
    index.write_bytes(damaged(whole, edits))
    refused_or_read(lambda: read_training(tmp_path, index=index), DataError)


@fuzzed
@example(edits=[(0.9, 0, b"x", 200_000)], name="landmarks68.csv", packed=False)
@example(edits=[(0.603, 0, b"\0", 1)], name="landmarks68.csv", packed=False)
@given(edits=edits, name=st.sampled_from(["landmarks68.csv", "a.pgm"]), packed=st.booleans())
def test_damaged_faces68_are_read_or_one_message(edits: Edits, name: str, packed: bool, tmp_path: Path) -> None:
    files = FACES68 | {name: damaged(FACES68[name], edits)}
    folder = tmp_path / "faces"
    folder.mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    path.write_bytes(damaged(path.read_bytes(), edits) if packed else path.read_bytes())
    for place in (folder, path):
        refused_or_read(lambda place=place: read_faces68(place), DataError)
