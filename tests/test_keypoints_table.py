"""Keypoint files read back: one table whatever the format, and one message for what is no file of ours."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_keypoints_record import HEADER, tracked, write_all

from tracker.errors import DataError
from tracker.sinks.keypoints import table
from tracker.sinks.keypoints.record import TABLE
from tracker.sinks.keypoints.registry import FORMATS

SUFFIXES = tuple(table.READERS)


def written(folder, suffix, results):
    path = folder / f"x{suffix}"
    write_all(FORMATS[suffix[1:]].open(path, HEADER, True), results)
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
    assert read["image"].isna().all()


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
        ("x.jsonl", b"", "first line is no header"),
        ("x.jsonl", b"[]\n", "first line is no header"),
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
        ("x.xlsx", b"", "does not end in one of .jsonl, .csv, .parquet"),
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
    assert "pip install 'fkp[table]'" in done.stderr.splitlines()[-1]
