"""Labels that are numbers but no keypoints are one message that names file, line and value."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faces import write_training_csv
from numpy.typing import NDArray
from programs import fkp_train

from tracker.errors import DataError
from tracker.geometry import MEAN_SHAPE
from tracker.spec import INDEX, MIRROR
from train.data.kaggle import read_training
from train.data.sanity import refuse_no_faces, refuse_nonsense

Labels = NDArray[np.float64]


def labels(count: int = 60) -> Labels:
    """(N, 15, 2) crop px: faces of all sizes, some with four points."""
    random = np.random.default_rng(0)
    sizes = random.uniform(0.75, 1.2, (count, 1, 1))
    points = 48 + 48 * sizes * MEAN_SHAPE + random.normal(0, 1.5, (count, 15, 2))
    points[::3, 2:10] = np.nan
    return points


def missing_as(value: float) -> Callable[[Labels], Labels]:
    return lambda points: np.nan_to_num(points, nan=value)


def filled(points: Labels) -> Labels:
    """As pandas does with fillna(mean())."""
    return np.where(np.isnan(points), np.nanmean(points, 0), points)


def carried_forward(points: Labels) -> Labels:
    """Four points in the last two thirds, and the others' as in the last row that has them."""
    points[20:, 2:10] = points[19, 2:10]
    return points


def in_part(rows: int, spoil: Callable[[Labels], Labels]) -> Callable[[Labels], Labels]:
    return lambda points: np.concatenate([spoil(points[:rows]), points[rows:]])


def swapped(points: Labels) -> Labels:
    return points[:, list(MIRROR)]


def written_twice(points: Labels) -> Labels:
    points[:, INDEX["left_eye_inner_corner"]] = points[:, INDEX["left_eye_center"]]
    return points


def of_two_faces(points: Labels) -> Labels:
    points[7, INDEX["left_eye_outer_corner"]] = points[7, INDEX["right_eye_outer_corner"]]
    return points


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing_as(0), r"line 2: left_eye_inner_corner is at \(0, 0\), as are 160 labels; .* leave both fields empty"),
        (missing_as(-1), r"line 2: left_eye_inner_corner is at \(-1, -1\)"),
        (missing_as(96), r"line 2: left_eye_inner_corner is at \(96, 96\)"),
        (lambda points: points / 96, r"line 2: left_eye_center_x is 0\.\d+, .* multiply coordinates from 0 to 1 by 96"),
        (lambda points: points / 48 - 1, r"those from -1 to 1 by 48, then add 48"),
        (in_part(3, lambda points: points / 96), r"line 2: left_eye_center_x is .* in 3 rows .* from 0 to 1 by 96"),
        (
            in_part(1, lambda points: points / 48 - 1),
            r"line 2: left_eye_center_x is .* in 1 rows .* from -1 to 1 by 48",
        ),
        (lambda points: points * [1, 1 / 96], r"line 2: left_eye_center_y is 0\.\d+, .* in 60 rows"),
        (swapped, r"line 2: left_eye_center lies left of right_eye_center .* in 60 of 60 rows"),
        (in_part(2, swapped), r"in 2 of 60 rows; .* exchange left and right in those rows"),
        (in_part(4, lambda points: points * [-1, 1] + [96, 0]), r"left is the subject's own left"),
        (in_part(8, lambda points: points[..., ::-1]), r"line \d: .* lies left of .* in \d of 60 rows"),
        (in_part(8, lambda points: points * 1.4), r"the eyes are \d+ px apart around .* 8 of 60 rows are so"),
        (lambda points: points / 2, r"line 2: the eyes are 1\d px apart around \(2\d, \d+\), in Kaggle's"),
        (in_part(20, lambda points: points / 2), r"line 2: the eyes are 1\d px apart around .* 20 of 60 rows are so"),
        (lambda points: points * 1.4 - 4, r"the eyes are \d+ px apart"),
        (lambda points: points[..., ::-1], r"of the 96x96 image, counted from its top left corner|lies left of"),
        (lambda points: points * [1, -1] + [0, 96], r"counted from its top left corner"),
        (in_part(20, lambda points: points * [1, -1] + [0, 96]), r"counted from its top left corner"),
        (lambda points: points - 48, r"counted from its top left corner"),
        (filled, r"line 2: left_eye_inner_corner is at \(\d.*, as are 20 labels; .* placeholder"),
        (carried_forward, r"line 21: left_eye_inner_corner is at .* placeholder"),
        (written_twice, r"line 2: left_eye_center and left_eye_inner_corner are both at .* written twice"),
        (of_two_faces, r"line 9: left_eye_outer_corner and right_eye_outer_corner are both at .* correct that row"),
    ],
)
def test_labels_that_are_no_keypoints_are_refused(spoil: Callable[[Labels], Labels], said: str) -> None:
    with pytest.raises(DataError, match=rf"training\.csv.*{said}"):
        refuse_nonsense(spoil(labels()), "training.csv")


def test_faces_of_all_sizes_with_gaps_and_a_mistake_are_taken() -> None:
    points = labels()
    points[:1] = swapped(points[:1])  # one row swapped is for the audit to find
    points[5:10] = points[5:10] / 2
    points[4] = np.nan
    points[11] = np.nan
    points[11, INDEX["right_eye_center"]] = 0.7, 1.6
    refuse_nonsense(points, "training.csv")
    refuse_nonsense(points[:0], "training.csv")
    refuse_nonsense(np.full((3, 15, 2), np.nan), "training.csv")


def test_a_training_on_such_labels_ends_before_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_training_csv(tmp_path / "training.csv", "ABCC")
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.replace(",,", ",0,").replace(",,", ",0,") for row in rows)]) + "\n")
    for command in (["--out", tmp_path / "out"], ["evaluate"], ["audit", "--out", tmp_path / "out"]):
        assert fkp_train(*command, "--data", path) == 7
        assert "looks like a placeholder for a missing label" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["missing_as_zero", "coords_0_to_1", "left_right_swapped"])
def test_given_cases_are_refused(shared: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"training\.csv, line \d+: "):
        read_training(shared / "cases" / "training" / f"{name}.zip")


def landmarks(count: int = 30) -> Labels:
    """(N, 68, 2) px of pictures of 200 by 100 pixels."""
    random = np.random.default_rng(0)
    points = random.uniform((60, 20), (140, 80), (count, 68, 2))
    points[:, 36, 0], points[:, 45, 0] = 70, 130
    points[::3, :17] = np.nan
    return points


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing_as(0), r"line 2: 17 landmarks are at \(0, 0\); .* leave both fields empty"),
        (in_part(1, missing_as(-1)), r"line 2: 17 landmarks are at \(-1, -1\)"),
        (lambda points: points * 0 + 50, r"line 2: 51 landmarks are at \(50, 50\)"),
        (
            lambda points: points / [200, 100],
            r"line 2: the face reaches from \(0\.3\d*, .* in a picture of 200x100 pixels",
        ),
        (in_part(1, lambda points: points / 100 - 1), r"line 2: the face reaches from \(-0\.\d+, "),
        (lambda points: points * 3, r"line 2: the face reaches from .* expected pixels of that picture"),
        (lambda points: points - [200, 0], r"line 2: the face reaches from \(-1\d\d, "),
        (lambda points: points * [-1, 1] + [200, 0], r"line 2: the subject's left eye lies left .* in 30 of 30 faces"),
    ],
)
def test_landmarks_that_are_no_faces_are_refused(spoil: Callable[[Labels], Labels], said: str) -> None:
    lines = [f"landmarks68.csv, line {i + 2}" for i in range(30)]
    with pytest.raises(DataError, match=said):
        refuse_no_faces(spoil(landmarks()), [(200, 100)] * 30, lines)


def test_landmarks_of_turned_faces_with_gaps_are_taken() -> None:
    points = landmarks()
    points[:4] = points[:4] * [-1, 1] + [200, 0]
    points[4] = np.nan
    points[5, 6:] = np.nan
    points[6, 42:48] = points[6, 42]  # all that is known of an eye is where it is
    refuse_no_faces(points, [(200, 100)] * 30, ["here"] * 30)
    refuse_no_faces(points[:0], [], [])
