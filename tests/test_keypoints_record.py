"""Keypoint files: the schema other programs rely on, and lines that are whole whatever happens to the process."""

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from programs import no_file_longer_than

from tracker.errors import SinkError
from tracker.sinks.keypoints.csv import open_csv
from tracker.sinks.keypoints.jsonl import open_jsonl
from tracker.sinks.keypoints.record import Header
from tracker.sinks.keypoints.registry import FORMATS
from tracker.spec import COLUMNS, KEYPOINTS, SIGNALS
from tracker.types import Box, Face, Frame, Pose, Region, Signals, Tracked

SIGNAL_COLUMNS = [*SIGNALS, *(f"{name}_sigma" for name in SIGNALS)]
HEADER = Header("talk.mp4", 640, 480, "ab" * 32, "onnxruntime-cpu 1.31.1", "yunet", 65.0)


def tracked(index, faces, *, name=""):
    """A result whose numbers have more digits than a file should keep."""
    random = np.random.default_rng(index)
    image = np.zeros((480, 640, 3), np.uint8)
    return Tracked(
        Frame(image, index, index / 30, name),
        tuple(Face(7 + i, Region(1, 2, 3, 0), Box(10.12345, 20, 110.98765, 140), 0.987654) for i in range(faces)),
        random.uniform(0, 480, (faces, 15, 2)).astype(np.float32),
        random.uniform(0.5, 3, (faces, 15)).astype(np.float32),
        tuple(Pose(1.23456, -2.34567, 3, 10.123, -20, 640.98765) for _ in range(faces)),
        tuple(Signals(0.3123456, 0.25, -0.01, 0.04, 0.05, 0.06) for _ in range(faces)),
    )


def write_all(sink, results):
    for result in results:
        sink.write(result)
    sink.close()


def test_jsonl_begins_with_where_the_keypoints_come_from(tmp_path):
    write_all(open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False), [])
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "fkp": 1,
            "source": "talk.mp4",
            "width": 640,
            "height": 480,
            "keypoints": list(KEYPOINTS),
            "space": "frame px",
            "weights_sha256": "ab" * 32,
            "backend": "onnxruntime-cpu 1.31.1",
            "detector": "yunet",
            "fov_deg": 65.0,
            "mirrored": False,
            "sample_aspect": 1.0,
            "started": None,
            "started_monotonic_s": None,
        }
    ]


def test_jsonl_has_a_line_for_every_frame(tmp_path):
    results = [tracked(0, 2), tracked(1, 0)]
    write_all(open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False), results)
    _, two, none = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert none == {"frame": 1, "time": 0.033333, "faces": []}
    assert list(two) == ["frame", "time", "faces"]
    assert [face["id"] for face in two["faces"]] == [7, 8]
    face = two["faces"][1]
    assert list(face) == ["id", "score", "box", "points", "sigma", "pose", "signals"]
    assert face["score"] == 0.9877
    assert face["box"] == [10.123, 20, 110.988, 140]
    np.testing.assert_allclose(face["points"], results[0].keypoints[1], atol=0.0006)
    np.testing.assert_allclose(face["sigma"], results[0].sigma[1], atol=0.0006)
    assert face["pose"] == {"yaw": 1.23, "pitch": -2.35, "roll": 3, "x": 10.1, "y": -20, "z": 641.0}
    assert list(face["signals"]) == SIGNAL_COLUMNS
    assert list(face["signals"].values()) == [0.3123, 0.25, -0.01, 0.04, 0.05, 0.06]
    assert all(len(str(value)) <= 7 for point in face["points"] for value in point)


def test_a_network_without_signals_leaves_them_out_instead_of_saying_zero(tmp_path):
    results = [replace(tracked(0, 2), signals=())]
    write_all(open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False), results)
    write_all(open_csv(tmp_path / "x.csv", HEADER, overwrite=False), results)
    _, line = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert all("signals" not in face for face in line["faces"])
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text("utf-8").splitlines()))
    assert [[row[name] for name in SIGNAL_COLUMNS] for row in rows] == [[""] * 6] * 2


def test_pictures_are_named_in_both_formats(tmp_path):
    results = [tracked(0, 1, name="grün, laut.jpg"), tracked(1, 0, name="b.jpg")]
    write_all(open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False), results)
    write_all(open_csv(tmp_path / "x.csv", HEADER, overwrite=False), results)
    lines = (tmp_path / "x.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["image"] for line in lines[1:]] == ["grün, laut.jpg", "b.jpg"]
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text("utf-8").splitlines()))
    assert [row["image"] for row in rows] == ["grün, laut.jpg"]


def test_csv_has_kaggles_columns_and_a_row_for_every_face(tmp_path):
    results = [tracked(0, 2), tracked(1, 0), tracked(2, 1)]
    write_all(open_csv(tmp_path / "x.csv", HEADER, overwrite=False), results)
    first, *rows = csv.reader((tmp_path / "x.csv").read_text().splitlines())
    assert first[:49] == ["frame", "time", "face", "score", *COLUMNS, *(f"{name}_sigma" for name in KEYPOINTS)]
    assert first[49:53] == ["box_left", "box_top", "box_right", "box_bottom"]
    assert first[53:] == ["pose_yaw", "pose_pitch", "pose_roll", "pose_x", "pose_y", "pose_z", *SIGNAL_COLUMNS]
    assert [row[:4] for row in rows] == [
        ["0", "0.0", "7", "0.9877"],
        ["0", "0.0", "8", "0.9877"],
        ["2", "0.066667", "7", "0.9877"],
    ]
    np.testing.assert_allclose(np.array(rows[1][4:34], float), results[0].keypoints[1].ravel(), atol=0.0006)
    np.testing.assert_allclose(np.array(rows[1][34:49], float), results[0].sigma[1], atol=0.0006)
    assert rows[1][49:59] == ["10.123", "20.0", "110.988", "140.0", "1.23", "-2.35", "3", "10.1", "-20", "641.0"]
    assert rows[1][59:] == ["0.3123", "0.25", "-0.01", "0.04", "0.05", "0.06"]


def test_a_face_whose_pose_is_not_known_has_null_and_empty_cells(tmp_path):
    results = [replace(tracked(0, 2), poses=()), replace(tracked(1, 1), poses=(None,))]
    write_all(open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False), results)
    write_all(open_csv(tmp_path / "x.csv", HEADER, overwrite=False), results)
    _, *lines = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert [face["pose"] for line in lines for face in line["faces"]] == [None] * 3
    _, *rows = csv.reader((tmp_path / "x.csv").read_text().splitlines())
    assert [row[53:59] for row in rows] == [[""] * 6] * 3


def test_a_csv_without_a_frame_still_has_its_columns(tmp_path):
    write_all(open_csv(tmp_path / "x.csv", HEADER, overwrite=False), [])
    assert (tmp_path / "x.csv").read_text().startswith("frame,time,face,score,left_eye_center_x,")


@pytest.mark.parametrize("name", ["jsonl", "csv", "openface", "coco", "parquet"])
def test_a_run_without_a_frame_replaces_nothing(tmp_path, name):
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    target = tmp_path / "x"
    target.write_text("of a run that had frames")
    FORMATS[name].open(target, HEADER, True).close()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of a run that had frames"]
    write_all(FORMATS[name].open(target, HEADER, True), [tracked(0, 1)])
    assert b"of a run" not in target.read_bytes()


@pytest.mark.parametrize(("open_records", "name"), [(open_jsonl, "x.jsonl"), (open_csv, "x.csv")])
def test_an_existing_file_is_refused_untouched_or_replaced_at_the_end(tmp_path, open_records, name):
    target = tmp_path / name
    target.write_text("precious")
    with pytest.raises(SinkError, match="exists already; add --overwrite"):
        open_records(target, HEADER, overwrite=False)
    sink = open_records(target, HEADER, overwrite=True)
    sink.write(tracked(0, 1))
    assert target.read_text() == "precious"
    sink.close()
    sink.close()
    assert target.read_text() != "precious"
    assert [file.name for file in tmp_path.iterdir()] == [name]


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from itertools import count
from pathlib import Path
from test_keypoints_record import HEADER, tracked
from tracker.sinks.keypoints.registry import FORMATS

sinks = [FORMATS[name].open(Path(sys.argv[2], f"x.{name}"), HEADER, False) for name in sys.argv[3:]]
for index in count():
    for sink in sinks:
        sink.write(tracked(index, 3))
    if index == 50:
        print("fifty", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_leaves_whole_lines_and_no_file_under_its_name(tmp_path):
    formats = ["jsonl", "csv", *(["parquet"] if find_spec("pyarrow") else [])]
    command = [sys.executable, "-c", ENDLESS, str(Path(__file__).parent), str(tmp_path), *formats]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "fifty\n"
        process.kill()
    assert not [path for path in tmp_path.iterdir() if ".partial-" not in path.name]
    jsonl, table = (next(tmp_path.glob(f"x.partial-*{suffix}")).read_text() for suffix in (".jsonl", ".csv"))
    assert jsonl.endswith("\n")
    assert len([json.loads(line) for line in jsonl.splitlines()]) > 51
    assert table.endswith("\n")
    assert {line.count(",") for line in table.splitlines()} == {4 + 30 + 15 + 4 + 6 + 6 - 1}


def test_a_full_disk_is_one_message_and_keeps_the_whole_lines(tmp_path):
    sink = open_jsonl(tmp_path / "x.jsonl", HEADER, overwrite=False)
    told = r"cannot write .*x\.jsonl: .*; everything written before is in .*partial"
    with no_file_longer_than(20_000), pytest.raises(SinkError, match=told):
        write_all(sink, [tracked(index, 1) for index in range(100)])
    sink.close()
    (left,) = tmp_path.iterdir()
    assert len([json.loads(line) for line in left.read_text().splitlines()]) > 10
