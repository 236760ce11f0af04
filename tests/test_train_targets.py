"""Labels of every scheme to the network's outputs and back, and targets on the pixels they name."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.geometry import MEAN_SHAPE
from tracker.spec import INDEX, KEYPOINTS
from train.data.faces68 import HIDDEN, IBUG, MACHINE, Crops68
from train.data.kaggle import Faces
from train.data.schemes import BEYOND_C, C_KEYPOINTS, SCHEMES
from train.data.split import hold_out
from train.learn.model import HEADS
from train.learn.targets import (
    CANVAS,
    DRAW_CHANCE,
    LABEL_OFFSET_PX,
    SCHEME_SPECIFIC,
    TRUST_68,
    TRUST_COVERED,
    TRUST_SEEN,
    TRUST_SHARED,
    faceless_bank,
    faces68_bank,
    head_targets,
    kaggle_bank,
    read_by_scheme,
    turned_bank,
    unlabelled_bank,
)

A, B, C = range(3)


def faces(*schemes: int, problems: tuple[int, ...] = ()) -> Faces:
    """Random labels on blank images; C faces carry four."""
    count = len(schemes)
    scheme = np.array(schemes, np.uint8)
    points = np.random.default_rng(0).uniform(5, 91, (count, 15, 2)).astype(np.float32)
    points[np.ix_(scheme == C, BEYOND_C)] = np.nan
    rows = np.arange(count)
    images = np.zeros((count, 96, 96), np.uint8)
    images[:] = rows[:, None, None]
    return Faces(
        images, points, scheme, rows, rows, hold_out(rows, scheme), np.isin(rows, problems), "", "training.csv"
    )


def everyone(data: Faces) -> NDArray[np.bool_]:
    return np.ones(len(data.row), np.bool_)


@pytest.mark.parametrize("scheme", [A, B, C])
def test_labels_survive_the_way_to_the_heads_and_back(scheme: int) -> None:
    data = faces(scheme, scheme)
    targets, _ = head_targets(data.points, data.scheme)
    back, _ = read_by_scheme(targets, np.ones(targets.shape[:2]), data.scheme)
    np.testing.assert_allclose(back, data.points, atol=1e-4)  # NaN where the scheme has no label, too


def weighed(weights: NDArray[np.float32], value: float) -> list[tuple[str, str]]:
    """(scheme, keypoint) of the heads that weigh `value`."""
    return [(HEADS[head][0], KEYPOINTS[HEADS[head][1]]) for head in np.flatnonzero(np.isclose(weights, value))]


def test_each_label_counts_fully_for_its_own_schemes_head() -> None:
    data = faces(A, B, C)
    data.points[0, INDEX["left_eye_center"], 1] = np.nan
    targets, weights = head_targets(data.points, data.scheme)
    assert weighed(weights[0], 1) == [("A", name) for name in KEYPOINTS if name != "left_eye_center"]
    assert weighed(weights[1], 1) == [("B", name) for name in KEYPOINTS]
    assert weighed(weights[2], 1) == [("C", name) for name in C_KEYPOINTS]
    assert np.isfinite(targets).all()


def test_a_and_b_lend_each_other_what_both_place_alike_and_c_stays_alone() -> None:
    data = faces(A, B, C)
    targets, weights = head_targets(data.points, data.scheme)
    alike = [name for name in KEYPOINTS if name not in SCHEME_SPECIFIC]
    assert weighed(weights[0], TRUST_SHARED) == [("B", name) for name in alike]
    assert weighed(weights[1], TRUST_SHARED) == [("A", name) for name in alike]
    assert np.count_nonzero(weights[2]) == 4
    own, lent = (HEADS.index((scheme, INDEX["left_eye_center"])) for scheme in "AB")
    np.testing.assert_array_equal(targets[0, lent], targets[0, own])


def test_a_schemes_offset_is_taken_off_before_training() -> None:
    """So that a face and its mirror image agree; without it a label in the middle of the crop is 0 in unit space."""
    for index, scheme in enumerate(SCHEMES):
        targets, weights = head_targets(np.full((1, 15, 2), 48.0), np.array([index], np.uint8))
        expected = -np.array(LABEL_OFFSET_PX[scheme]) / 48
        np.testing.assert_allclose(targets[weights == 1], np.tile(expected, ((weights == 1).sum(), 1)), atol=1e-7)


def test_sigmas_come_back_in_px_of_their_scheme() -> None:
    sigma = np.arange(34, dtype=np.float32)[None] / 48
    _, (fifteen, four) = read_by_scheme(np.zeros((2, 34, 2)), sigma.repeat(2, 0), np.array([B, C], np.uint8))
    np.testing.assert_allclose(fifteen, np.arange(15, 30), rtol=1e-6)
    assert np.flatnonzero(np.isfinite(four)).tolist() == [INDEX[name] for name in C_KEYPOINTS]


def test_rows_known_to_be_bad_or_without_labels_or_not_chosen_are_left_out() -> None:
    data = faces(A, A, B, C, C, problems=(1,))
    data.points[2] = np.nan
    bank = kaggle_bank(data, np.array([True, True, True, True, False]))
    assert bank.images[:, 0, 0, 0].tolist() == [0, 3]
    assert bank.images.shape == (2, 1, 96, 96)
    assert bank.targets.dtype == bank.weights.dtype == bank.chances.dtype == torch.float32


def test_rows_are_drawn_by_their_schemes_chance() -> None:
    data = faces(A, B, C)
    shares = np.diff(kaggle_bank(data, everyone(data)).chances.numpy(), prepend=0)
    expected = np.array([DRAW_CHANCE[scheme] for scheme in SCHEMES])
    np.testing.assert_allclose(shares, expected / expected.sum(), rtol=1e-5)


def test_no_row_left_is_bad_data() -> None:
    data = faces(A, problems=(0,))
    with pytest.raises(DataError, match=r"training\.csv leaves no labelled face"):
        kaggle_bank(data, everyone(data))


def landmarks(*, roll: float, iod: float, at: tuple[float, float]) -> NDArray[np.float32]:
    """(68, 2): the mean face as iBUG would mark it, roughly, with every landmark somewhere on it."""
    unit = np.zeros((68, 2))
    for name, ibug in IBUG.items():
        unit[ibug] = MEAN_SHAPE[INDEX[name]]
    for side, eye in (("left", (42, 43, 44, 45, 46, 47)), ("right", (39, 38, 37, 36, 41, 40))):
        centre, inner, outer = (
            MEAN_SHAPE[INDEX[f"{side}_eye_{x}"]] for x in ("center", "inner_corner", "outer_corner")
        )
        unit[list(eye)] = inner, centre, centre, outer, centre, centre
    unit[33], unit[62], unit[66] = (0, 0.26), (0, 0.55), (0, 0.62)
    cos, sin = np.cos(roll), np.sin(roll)
    return (unit @ np.array([[cos, sin], [-sin, cos]]) * iod * 1.32 + at).astype(np.float32)


def dot_image(at: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(320, 320) black with a soft dot; `at` counts pixel centres, as landmarks do."""
    y, x = np.mgrid[:320, :320]
    return np.uint8(250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 3**2)))


@pytest.mark.parametrize(("roll", "iod"), [(0.0, 64.0), (0.3, 64.0), (-0.2, 40.0)])
@pytest.mark.parametrize(
    ("ibug", "head"),
    [
        (30, ("A", "nose_tip")),
        (33, ("C", "nose_tip")),
        (57, ("A", "mouth_center_bottom_lip")),
        (62, ("B", "mouth_center_top_lip")),
        (66, ("C", "mouth_center_bottom_lip")),
    ],
)
def test_a_canvas_carries_its_targets_on_the_right_pixels(
    ibug: int, head: tuple[str, str], roll: float, iod: float
) -> None:
    marks = landmarks(roll=roll, iod=iod, at=(160, 165))
    bank = faces68_bank([Crops68([dot_image(marks[ibug])], marks[None], ["face.jpg"])])
    assert bank.images.shape == (1, 1, CANVAS, CANVAS)
    moments = cv2.moments(bank.images[0, 0].numpy().astype(np.float32))
    dot = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5  # from pixel centres to edges
    index = HEADS.index((head[0], INDEX[head[1]]))
    target = bank.targets[0, index].numpy() * 48 + CANVAS / 2
    np.testing.assert_allclose(dot, target, atol=0.1)
    assert bank.weights[0, index] == TRUST_68[head[0]]


def test_the_nominal_crop_of_a_canvas_frames_the_face_as_kaggle_does() -> None:
    marks = landmarks(roll=0.3, iod=64, at=(160, 165))
    bank = faces68_bank([Crops68([dot_image(marks[30])], marks[None], ["face.jpg"])])
    np.testing.assert_allclose(bank.targets[0, :15].numpy(), MEAN_SHAPE, atol=0.08)


def test_an_unmarked_landmark_costs_only_the_heads_that_need_it() -> None:
    marks = landmarks(roll=0, iod=64, at=(160, 165))
    marks[66] = np.nan  # inner bottom lip: schemes B and C
    bank = faces68_bank([Crops68([dot_image(marks[30])], marks[None], ["face.jpg"])])
    without = [HEADS[head] for head in np.flatnonzero(bank.weights[0] == 0)]
    assert without == [(scheme, INDEX["mouth_center_bottom_lip"]) for scheme in "BC"]
    assert torch.isfinite(bank.targets).all()


def test_a_face_that_cannot_be_framed_is_left_out() -> None:
    whole, partial = (landmarks(roll=0, iod=64, at=(160, 165)) for _ in range(2))
    partial[40] = np.nan  # of an eye
    image = dot_image(whole[30])
    assert len(faces68_bank([Crops68([image, image], np.array([partial, whole]), ["a", "b"])]).images) == 1
    with pytest.raises(DataError, match="no face of the 68-landmark data"):
        faces68_bank([Crops68([image], partial[None], ["a"])])


def test_faces_without_trusted_landmarks_are_framed_alike_and_ask_for_nothing() -> None:
    marks = landmarks(roll=0.2, iod=64, at=(160, 165))
    crops = Crops68([dot_image(marks[30])], marks[None], ["face.jpg"])
    bank = unlabelled_bank([crops])
    assert torch.equal(bank.images, faces68_bank([crops]).images)
    assert not bank.weights.any()


def test_several_sets_make_one_bank() -> None:
    marks = landmarks(roll=0, iod=64, at=(160, 165))
    one = Crops68([dot_image(marks[30])], marks[None], ["a.jpg"])
    assert len(faces68_bank([one, one, one]).images) == 3


def profile(seen: str, *, yaw: float = 70.0, person: str = "") -> Crops68:
    """One face that looks to the side; `seen` is the table's column `visible`."""
    marks = landmarks(roll=0, iod=64, at=(160, 165))
    marks[:, 0] = 160 + 0.4 * (marks[:, 0] - 160)
    told = np.array([[int(sign) for sign in seen]], np.uint8)
    return Crops68([dot_image(marks[30])], marks[None], ["a.jpg"], told, np.array([yaw]), [person])


def half_seen() -> str:
    """The subject's left half is hidden."""
    return "".join("0" if i in (*range(22, 27), *range(42, 48), 54) else "2" for i in range(68))


def test_hidden_points_of_turned_faces_teach_little_but_sigma_all() -> None:
    bank = turned_bank([profile(half_seen())])
    of = {name: HEADS.index(("A", INDEX[name])) for name in INDEX}
    hidden = [of[name] for name in INDEX if "left" in name]
    assert bank.weights[0, hidden].tolist() == pytest.approx([TRUST_SEEN[HIDDEN]] * len(hidden))
    assert bank.weights[0, [of["nose_tip"], of["right_eye_center"], of["mouth_right_corner"]]].tolist() == [1, 1, 1]
    assert (bank.doubts[0, :15] == 1).all()
    assert not bank.weights[0, 15:].any()  # B and C label no such faces
    assert not bank.doubts[0, 15:].any()


def test_what_a_mask_covers_counts_least_and_a_machines_word_half() -> None:
    bank = turned_bank([profile("".join("0" if i > 47 else "1" for i in range(68)), yaw=0)])
    eye, lip = (HEADS.index(("A", INDEX[name])) for name in ("left_eye_center", "mouth_center_top_lip"))
    assert bank.weights[0, [eye, lip]].tolist() == pytest.approx([TRUST_SEEN[MACHINE], TRUST_COVERED])


def test_turned_faces_are_drawn_more_often() -> None:
    shares = np.diff(turned_bank([profile(half_seen(), yaw=-90), profile(half_seen(), yaw=0)]).chances, prepend=0)
    assert shares[0] == pytest.approx(3 * shares[1])


def test_no_visible_point_of_a_profile_lies_outside_of_its_nominal_crop() -> None:
    bank = turned_bank([profile(half_seen())])
    assert bank.targets[0, :15].abs().max() < 1


def test_crops_without_an_upright_face_ask_for_doubt_and_for_no_point() -> None:
    face = profile(half_seen())
    texture = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)
    bank = faceless_bank([replace(face, images=[texture])] * 20)
    assert bank.images.shape == (20, 1, 96, 96)
    assert not bank.weights.any()
    assert (bank.doubts == -1).all()
    assert len(np.unique(bank.images.numpy(), axis=0)) > 10
