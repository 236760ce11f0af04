"""Detector, crop and network together on photographs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tracker.errors import DataError
from tracker.spec import INDEX
from tracker.types import Frame, Points
from train.cli import main
from train.data.faces68 import HIDDEN, HUMAN, Crops68, keypoints_from_68, read_faces68
from train.judge.photographs import (
    IN_TRACKING,
    SHARED,
    SHARED_IBUG,
    Answers,
    _errors,
    answers,
    judge_end_to_end,
    judge_turned,
    ours,
    within_sigma,
)

try:
    import mediapipe
except ImportError:
    mediapipe = None


def told(crops: Crops68, *keypoints: np.ndarray) -> Answers:
    """A tracker's answers, (N, 15, 2) for each picture."""
    following = iter(keypoints)

    def look(_: Frame) -> Points:
        faces = np.float32(next(following))
        return Points(faces, np.full(faces.shape[:2], np.nan, np.float32))

    return answers(crops, look)


def test_errors_are_in_percent_of_the_outer_eyes_and_turn_with_the_face() -> None:
    """Both faces have outer eye corners 50 px apart and predictions 1 px further along that line."""
    level = np.zeros((15, 2), np.float32)
    level[3], level[5] = (50, 0), (0, 0)
    faces = np.stack([level, level[:, ::-1]])
    errors = _errors(faces + np.float32([[[1, 0]], [[0, 1]]]), faces)
    np.testing.assert_allclose(errors, np.tile([2.0, 0.0], (2, 15, 1)), atol=1e-5)


def test_a_face_whose_eye_corners_coincide_has_no_error_in_percent() -> None:
    truth = np.random.default_rng(0).uniform(0, 50, (2, 15, 2)).astype(np.float32)
    truth[1, 3] = truth[1, 5]
    crops = Crops68([np.zeros((50, 50), np.uint8)] * 2, np.zeros((2, 68, 2), np.float32), ["a.png", "b.png"])
    sigma, signals = np.ones((2, 15), np.float32), np.full((2, 6), np.nan, np.float32)
    with pytest.raises(DataError, match=r"b\.png: both eyes end at one place; correct that face"):
        judge_end_to_end(Answers(truth, np.full((2, 15), HUMAN, np.uint8), crops, truth, sigma, signals))


def test_shares_within_sigma_are_of_the_faces_found_by_kind_of_point() -> None:
    """Labelled points are 1 sigma to the right and every second one 0.5 sigma down, hidden ones 3 sigma off."""
    truth = np.random.default_rng(0).uniform(0, 50, (4, 15, 2)).astype(np.float32)
    seen = np.full((4, 15), HUMAN, np.uint8)
    seen[:, 0] = HIDDEN
    off = np.zeros((4, 15, 2), np.float32)
    off[..., 0], off[:2, :, 1], off[:, 0] = 0.99, 0.5, 3
    keypoints = truth + off
    keypoints[3] = np.nan
    crops = Crops68([], np.empty((0, 68, 2), np.float32), [])
    shares = within_sigma(Answers(truth, seen, crops, keypoints, np.ones((4, 15), np.float32), np.empty((4, 6))))
    assert shares == {"labelled": [1.0, 1.0], "hidden": [0.0, 0.0], "labelled_without_offsets": [1.0, 1.0]}
    unsure = Answers(truth, seen, crops, keypoints, np.full((4, 15), 0.6, np.float32), np.empty((4, 6)))
    assert within_sigma(unsure)["labelled"] == [0.5, 1.0]


def test_pictures_without_a_face_are_missed_and_nothing_but_them_is_refused(shared: Path) -> None:
    afw = read_faces68(shared / "data/faces68/afw.zip")
    few = Crops68(afw.images[:30], afw.landmarks[:30], afw.names[:30])
    dark = replace(few, images=[np.zeros_like(few.images[0]), *few.images[1:]])
    judged = judge_end_to_end(answers(dark, ours()))
    assert (judged.faces, judged.missed) == (30, 1)
    assert 1.0 < judged.error_without_offsets_percent < judged.error_percent < 5.0
    assert 1.0 < judged.nme_13_without_offsets_percent < judged.nme_13_percent < 6.0
    with pytest.raises(DataError, match="none of the 30"):
        judge_end_to_end(answers(replace(few, images=[np.zeros_like(image) for image in few.images]), ours()))


def test_nme_is_of_the_13_points_that_ibug_labels_too(shared: Path) -> None:
    """Each of them 3 % of the outer-eye distance off iBUG's label, the eye centres anywhere."""
    afw = read_faces68(shared / "data/faces68/afw.zip")
    few = Crops68(afw.images[:4], afw.landmarks[:4], afw.names[:4])
    points = keypoints_from_68(few.landmarks)
    points[:, SHARED] = few.landmarks[:, SHARED_IBUG]
    outer = points[:, INDEX["left_eye_outer_corner"]] - points[:, INDEX["right_eye_outer_corner"]]
    points[:, SHARED] += 0.03 * outer[:, None]
    points[:, INDEX["left_eye_center"]] += 0.2 * outer
    judged = judge_end_to_end(told(few, *points[:, None]))
    assert judged.nme_13_percent == pytest.approx(3, abs=1e-3)
    assert judged.nme_13_without_offsets_percent == pytest.approx(0, abs=1e-3)
    assert len(set(judged.ibug_points)) == 13


def turned(afw: Crops68, yaw: float) -> Crops68:
    """AFW's first faces as a table with `visible` and `yaw` would give them."""
    seen = np.full((4, 68), HUMAN, np.uint8)
    seen[:, 42:48] = HIDDEN
    return Crops68(afw.images[:4], afw.landmarks[:4], afw.names[:4], seen, np.float32([yaw, -yaw, 10, 80]), [""] * 4)


def test_turned_faces_are_judged_by_yaw_and_roll_over_what_people_labelled(shared: Path) -> None:
    crops = turned(read_faces68(shared / "data/faces68/afw.zip"), yaw=35)

    def too_far_right(points: np.ndarray) -> np.ndarray:
        """By 4 % of the face's size, but a hidden eye lies anywhere."""
        size = np.sqrt(np.prod(points.max(0) - points.min(0)))
        off = points + np.array([0.04 * size, 0])
        off[INDEX["left_eye_center"]] = 0
        return np.stack([off, off + 5 * size])

    judged = judge_turned(told(crops, *map(too_far_right, keypoints_from_68(crops.landmarks))))
    assert [(each.from_deg, each.faces, each.missed) for each in judged.by_yaw] == [(0, 1, 0), (30, 2, 0), (75, 1, 0)]
    assert [each.error_percent for each in judged.by_yaw] == pytest.approx([4, 4, 4], abs=1e-3)
    assert [each.beyond_10_percent for each in judged.by_yaw] == [0, 0, 0]
    assert sum(each.faces for each in judged.by_roll) == 4


def test_turned_faces_that_are_not_found_or_badly_are_counted(shared: Path) -> None:
    crops = turned(read_faces68(shared / "data/faces68/afw.zip"), yaw=50)
    truth = keypoints_from_68(crops.landmarks)
    off = np.empty((0, 15, 2)), truth[1:2] * 3, truth[2:3], truth[3:4] + 0.2 * np.ptp(truth[3], axis=0)
    near, mid, far = judge_turned(told(crops, *off)).by_yaw
    assert (near.missed, near.error_percent) == (0, 0)
    assert (mid.faces, mid.missed, mid.error_percent, mid.beyond_10_percent) == (2, 2, None, None)
    assert far.beyond_10_percent == 100


def test_in_tracking_a_face_is_looked_at_in_the_crop_of_its_own_points(shared: Path) -> None:
    afw = read_faces68(shared / "data/faces68/afw.zip")
    crops = replace(turned(afw, yaw=0), yaw=np.zeros(4, np.float32))
    (judged,) = judge_turned(answers(crops, ours(looks=IN_TRACKING))).by_yaw
    assert judged.missed == 0
    assert 1 < judged.error_percent < 6
    with pytest.raises(DataError, match="no columns visible and yaw"):
        judge_turned(told(replace(crops, seen=None), *keypoints_from_68(crops.landmarks)[:, None]))


def wild(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """`fkp-train wild ...`: its exit code."""
    monkeypatch.setattr("sys.argv", ["fkp-train", "wild", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.skipif(hasattr(mediapipe, "solutions"), reason="mediapipe is installed with its models")
def test_a_peer_that_cannot_be_used_is_told(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wild(monkeypatch, "--faces", shared / "data/faces68/afw.zip", "--peer", "mediapipe") == 5
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "mediapipe" in err


@pytest.mark.skipif(not hasattr(mediapipe, "solutions"), reason="needs mediapipe 0.10.21 or older")
def test_a_peer_looks_at_the_same_pictures(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wild(monkeypatch, "--faces", shared / "data/faces68/afw.zip", "--peer", "mediapipe") == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["peer"]["name"].endswith("FaceMesh with attention")
    assert judged["peer"]["faces"] == judged["faces"] == 337
    assert judged["error_without_offsets_percent"] < judged["peer"]["error_without_offsets_percent"] < 4.5
