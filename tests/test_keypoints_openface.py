"""OpenFace's CSV: names, units and order that its users' scripts rely on."""

import csv
from dataclasses import replace
from math import radians

import pytest
from test_keypoints_record import HEADER, tracked, write_all

from tracker.sinks.keypoints.openface import IBUG, open_openface
from tracker.spec import INDEX


def written(tmp_path, results):
    write_all(open_openface(tmp_path / "x.csv", HEADER, overwrite=False), results)
    return list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))


def test_a_face_has_its_landmarks_under_ibugs_numbers_and_its_pose_in_mm_and_radians(tmp_path):
    result = tracked(3, 2)
    rows = written(tmp_path, [result])
    assert [(row["frame"], row["face_id"], row["timestamp"], row["success"]) for row in rows] == [
        ("4", "7", "0.1", "1"),
        ("4", "8", "0.1", "1"),
    ]
    second = {name: float(value) for name, value in rows[1].items()}
    assert second["confidence"] == pytest.approx(0.9877)
    for number, name in IBUG.items():
        x, y = result.keypoints[1, INDEX[name]]
        assert (second[f"x_{number}"], second[f"y_{number}"]) == pytest.approx((x, y), abs=6e-4)
    pose = result.poses[1]
    assert [second[f"pose_T{axis}"] for axis in "xyz"] == pytest.approx([pose.x, pose.y, pose.z], abs=0.06)
    turned = [radians(angle) for angle in (pose.pitch, pose.yaw, pose.roll)]
    assert [second[f"pose_R{axis}"] for axis in "xyz"] == pytest.approx(turned, abs=6e-5)


def test_left_and_right_of_a_landmark_are_the_persons():
    """iBUG counts from the picture's left, which is the person's right."""
    assert "right" in IBUG[36]
    assert "left" in IBUG[45]
    assert all(("right" in name) == (number in {17, 21, 36, 39, 48}) for number, name in IBUG.items())


def test_a_frame_without_a_face_is_a_row_of_no_success(tmp_path):
    rows = written(tmp_path, [tracked(0, 0), tracked(1, 1)])
    assert [row["success"] for row in rows] == ["0", "1"]
    assert rows[0].pop("frame") == "1"
    assert {float(value) for value in rows[0].values()} == {0}
    assert len(rows[0]) == 4 + 6 + 26


def test_an_unknown_pose_is_empty_and_pictures_are_named(tmp_path):
    (row, none) = written(tmp_path, [replace(tracked(0, 1, name="a.jpg"), poses=()), tracked(1, 0, name="b.jpg")])
    assert {row[f"pose_{part}"] for part in ("Tx", "Ty", "Tz", "Rx", "Ry", "Rz")} == {""}
    assert [row["image"], none["image"]] == ["a.jpg", "b.jpg"]
