"""Keypoint files read back: one table whatever the format, and one message for what is no file of ours."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_keypoints_record import HEADER, tracked, write_all

from tracker.errors import DataError
from tracker.sinks.keypoints import table
from tracker.sinks.keypoints.record import TABLE
from tracker.sinks.keypoints.registry import FORMATS
from tracker.types import Signals

SUFFIXES = (".jsonl", ".csv", ".parquet", ".coco.json")
"""The formats that hold everything."""


def written(folder, suffix, results):
    path = folder / f"x{suffix}"
    write_all(FORMATS[suffix.split(".")[1]].open(path, HEADER, True), results)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_row_is_a_face_in_a_frame(tmp_path, suffix):
    results = [tracked(0, 2), tracked(1, 0), tracked(2, 1)]
    read = table.read(written(tmp_path, suffix, results))
    assert list(read.columns) == list(TABLE)
    assert read["frame"].tolist() == [0, 0, 2]
    assert read["face"].tolist() == [7, 8, 7]
    np.testing.assert_allclose(
        read["nose_tip_x"], [*results[0].keypoints[:, 10, 0], *results[2].keypoints[:, 10, 0]], atol=6e-4
    )
    assert read["pose_yaw"].tolist() == [1.23] * 3
    assert read["mouth_open"].tolist() == [-0.01] * 3
    assert read["eye_open_left_sigma"].tolist() == [0.04] * 3
    assert read["image"].isna().all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_from_before_there_were_signals_is_read_without_them(tmp_path, suffix):
    """Text and tables lose the columns; records of JSON are what they were where a network tells no signals."""
    path = written(tmp_path, suffix, [replace(tracked(0, 2), signals=())])
    if suffix == ".csv":
        pd.read_csv(path).drop(columns=[*Signals._fields]).to_csv(path, index=False)
    elif suffix == ".parquet":
        pd.read_parquet(path).drop(columns=[*Signals._fields]).to_parquet(path)
    else:
        assert "signals" not in path.read_text()
    read = table.read(path)
    assert list(read.columns) == list(TABLE)
    assert read[[*Signals._fields]].isna().all(axis=None)
    assert read["nose_tip_x"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "results",
    [
        [tracked(0, 2), tracked(1, 0), tracked(2, 1)],
        [tracked(0, 1, name="a.jpg"), tracked(1, 2, name="b.jpg")],
        [replace(tracked(0, 1), poses=()), tracked(1, 1)],
        [replace(tracked(0, 2), poses=(None, None))],
        [tracked(0, 0)],
        [],
    ],
    ids=["a film", "pictures", "a pose missing", "no pose at all", "no face", "no frame"],
)
def test_the_table_is_the_same_from_every_format(tmp_path, results):
    first, *others = (table.read(str(written(tmp_path, suffix, results))) for suffix in SUFFIXES)
    assert {name: str(kind) for name, kind in first.dtypes.items()} == {
        name: {"frame": "int64", "face": "int64", "image": "string"}.get(name, "float64") for name in TABLE
    }
    for other in others:
        pd.testing.assert_frame_equal(first, other)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", b"", "first line is not a header"),
        ("x.jsonl", b"[]\n", "first line is not a header"),
        ("x.jsonl", b'{"fkp": 2}\n', 'expected|no header with "fkp": 1'),
        ("x.jsonl", b'{"fkp": 1}\n{"frame": 0}\n', "line 2"),
        ("x.jsonl", b'{"fkp": 1}\n{"frame": 0, "time"', "line 2"),
        ("x.jsonl", b'{"fkp": 1}\n' + b"[" * 200_000, "not a keypoint file"),
        ("x.jsonl", b'{"fkp": 1}\n\xff\xfe\n', "not a keypoint file"),
        ("x.jsonl", b"\x1f\x8b", "not a keypoint file"),
        ("x.csv", b"", "not a keypoint file"),
        ("x.csv", b"frame,face_id\n1,2\n", "no column time"),
        ("x.csv", b'a,b\n"1', "not a keypoint file"),
        ("x.csv", b"\xff\x00\xff", "not a keypoint file"),
        ("x.parquet", b"", "not a keypoint file"),
        ("x.parquet", b"PAR1" + bytes(100), "not a keypoint file"),
        ("x.xlsx", b"", r"does not end in one of .*\.jsonl, .*\.csv, .*\.parquet"),
        ("x.coco.json", b"{}", "does not have our 15 keypoints"),
        ("x.coco.json", b"[1", "not a keypoint file"),
        ("x.openface.csv", b"frame,face\n", "as OpenFace's files have"),
    ],
)
def test_what_is_no_file_of_ours_is_one_message(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        table.read(tmp_path / name)


@pytest.mark.parametrize(
    "face",
    [
        '{"id": 1}',
        '{"id": 1, "score": 1, "box": [1, 2, 3], "points": [], "sigma": [], "pose": null}',
        '{"id": 1, "score": 1, "box": [1, 2, 3, 4], "points": [[1, 2]], "sigma": [1], "pose": [1]}',
        "7",
    ],
)
def test_a_face_that_is_not_whole_is_named_by_its_line(tmp_path, face):
    (tmp_path / "x.jsonl").write_text(f'{{"fkp": 1}}\n{{"frame": 0, "time": 0, "faces": [{face}]}}\n')
    with pytest.raises(DataError, match="line 2"):
        table.read(tmp_path / "x.jsonl")


def parts(value):
    """Every object and list in a JSON document."""
    if isinstance(value, dict | list):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from parts(each)


def test_a_coco_file_without_one_of_its_values_is_a_table_or_one_message(tmp_path):
    path = written(tmp_path, ".coco.json", [tracked(0, 1)])
    whole = path.read_text()
    refused = set()
    for i, part in enumerate(parts(json.loads(whole))):
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            document = json.loads(whole)
            del list(parts(document))[i][key]
            path.write_text(json.dumps(document))
            try:
                table.read(path)
            except DataError:
                refused.add(key)
    assert {"annotations", "bbox", "score", "track_id", "image_id", "file_name", 0} <= refused


def test_numbers_that_are_none_are_one_message(tmp_path):
    text = written(tmp_path, ".jsonl", [tracked(0, 1)]).read_text().replace('"frame":0', '"frame":"x"')
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataError, match="not a keypoint file"):
        table.read(tmp_path / "x.jsonl")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_is_one_message(tmp_path, suffix):
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        table.read(tmp_path / f"nowhere{suffix}")


@pytest.mark.parametrize(("module", "suffix"), [("pandas", ".csv"), ("pyarrow", ".parquet")])
def test_a_missing_extra_is_named(tmp_path, module, suffix):
    path = written(tmp_path, suffix, [tracked(0, 1)])
    code = f"import sys; sys.modules[{module!r}] = None; from tracker import table; table.read({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "fkp[table]"' in done.stderr.splitlines()[-1]


def changed(tmp_path, **values):
    """A JSON Lines file of one face whose record has other values."""
    path = written(tmp_path, ".jsonl", [tracked(0, 1)])
    header, record = (json.loads(line) for line in path.read_text().splitlines())
    for name, value in values.items():
        place = header if name in header else record if name in record else record["faces"][0]
        place[name] = value(place[name]) if callable(value) else value
    path.write_text("".join(json.dumps(each) + "\n" for each in (header, record)))
    return path


def test_json_is_read_by_name_whatever_the_order_of_its_keys(tmp_path):
    before = table.read(path := written(tmp_path, ".jsonl", [tracked(0, 2), tracked(1, 1)]))
    lines = [json.dumps(json.loads(line), sort_keys=True) + "\n" for line in path.read_text().splitlines()]
    path.write_text("".join(lines))
    pd.testing.assert_frame_equal(table.read(path), before)


def test_the_headers_order_of_keypoints_counts(tmp_path):
    before = table.read(written(tmp_path, ".jsonl", [tracked(0, 1)]))
    turned = changed(tmp_path, keypoints=lambda it: it[::-1], points=lambda it: it[::-1], sigma=lambda it: it[::-1])
    pd.testing.assert_frame_equal(table.read(turned), before)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"keypoints": ["nose"] * 15}, "its keypoints are nose"),
        ({"space": "crop px"}, "in crop px, expected frame px"),
        ({"points": lambda it: [*it, [1, 2]], "sigma": lambda it: it[:13]}, "line 2"),
        ({"points": lambda it: [[*it[0], 3.0], *it[1:]]}, "line 2"),
        ({"sigma": lambda it: it[1:]}, "line 2"),
        ({"frame": 1.5}, "has frame 1.5, expected a whole number"),
        ({"id": "7"}, "line 2"),
        ({"score": float("nan")}, "line 2"),
        ({"pose": {"yaw": 1}}, "line 2"),
    ],
)
def test_what_does_not_fit_is_refused_not_shifted(tmp_path, values, says):
    with pytest.raises(DataError, match=says):
        table.read(changed(tmp_path, **values))


@pytest.mark.parametrize("suffix", [".csv", ".openface.csv", ".jsonl"])
def test_a_file_cut_in_mid_line_is_refused(tmp_path, suffix):
    path = written(tmp_path, suffix, [tracked(0, 1), tracked(1, 1)])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"cut off|line 3"):
        table.read(path)


def test_a_line_without_all_its_values_is_refused(tmp_path):
    path = written(tmp_path, ".csv", [tracked(0, 1), tracked(1, 1)])
    path.write_text(path.read_text().rsplit(",", 40)[0] + "\n")
    with pytest.raises(DataError, match="line 3 has no "):
        table.read(path)


def test_openfaces_layout_gives_what_it_holds(tmp_path):
    everything = table.read(written(tmp_path, ".csv", [tracked(0, 2), tracked(1, 0), tracked(2, 1)]))
    read = table.read(written(tmp_path, ".openface.csv", [tracked(0, 2), tracked(1, 0), tracked(2, 1)]))
    held = ["frame", "time", "face", "score", "nose_tip_x", "mouth_center_top_lip_y"]
    pd.testing.assert_frame_equal(read[held], everything[held])
    np.testing.assert_allclose(read["pose_yaw"], everything["pose_yaw"], atol=0.01)
    assert read["left_eye_center_x"].isna().all()


def test_a_small_parquet_file_does_not_fill_the_memory(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    rows = 300_000
    column = pa.array(np.zeros(rows))
    whole = pa.array(np.zeros(rows, np.int64))
    names = [name for name in TABLE if name != "image"]
    values = [whole if name in ("frame", "face") else column for name in names]
    pq.write_table(pa.Table.from_arrays(values, names), tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(DataError, match="claim to be 300,000 rows"):
        table.read(tmp_path / "x.parquet")


def test_a_folder_is_one_table_with_a_column_for_the_film(tmp_path):
    for number, place in enumerate(("a", "b", "p1/a", "p2/a")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        made = written(tmp_path, (".jsonl", ".csv", ".parquet", ".coco.json")[number], [tracked(0, number + 1)])
        made.rename(tmp_path / f"{place}{made.name[1:]}")
    (tmp_path / "fkp-batch.ndjson").write_text('{"film": "p2/a.MOV", "outputs": ["p2/a.coco.json"]}\n{"torn')
    read = table.read(tmp_path)
    assert list(read.columns) == ["film", *TABLE]
    assert read["film"].value_counts().to_dict() == {"a": 1, "b": 2, "p1/a": 3, "p2/a.MOV": 4}
    assert str(read["film"].dtype) == "string"


def test_a_folder_with_two_formats_of_a_film_or_none_is_one_message(tmp_path):
    with pytest.raises(DataError, match="contains no keypoint file"):
        table.read(tmp_path)
    for suffix in (".csv", ".jsonl"):
        written(tmp_path, suffix, [tracked(0, 1)])
    with pytest.raises(DataError, match=r"x\.csv and .*x\.jsonl come from the same film"):
        table.read(tmp_path)


@pytest.mark.parametrize("make", [lambda path: path.write_text("[" * 100_000), os.mkfifo, Path.mkdir])
@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_a_record_that_no_batch_wrote_costs_the_names_of_films_only(tmp_path, make):
    written(tmp_path, ".jsonl", [tracked(0, 1)])
    make(tmp_path / table.LEDGER)
    assert table.read(tmp_path)["film"].tolist() == ["x"]
