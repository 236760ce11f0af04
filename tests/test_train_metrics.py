"""Error figures worked out by hand."""

import json
import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from tracker.spec import INDEX
from train import metrics
from train.data.schemes import BEYOND_C

A, B, C = 0, 1, 2


def faces(*schemes: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """(predicted, labels, scheme) of perfect predictions; C faces carry four labels."""
    labels = np.random.default_rng(0).uniform(10, 86, (len(schemes), 15, 2)).astype(np.float32)
    predicted = labels.copy()
    scheme = np.array(schemes, np.uint8)
    labels[np.ix_(scheme == C, BEYOND_C)] = np.nan
    return predicted, labels, scheme


def test_rmse_counts_coordinates_and_only_labelled_ones() -> None:
    predicted, labels, _ = faces(A, C)
    predicted[0, 0, 0] += 3
    predicted[1, BEYOND_C] += 100
    assert metrics.rmse(predicted, labels) == pytest.approx(3 / math.sqrt(30 + 8), rel=1e-5)


def test_rmse_of_nothing_is_nan() -> None:
    predicted, labels, _ = faces(A)
    assert math.isnan(metrics.rmse(predicted, np.full_like(labels, np.nan)))


def test_kaggle_weighting_pools_a_and_b_by_value() -> None:
    predicted, labels, scheme = faces(A, A, A, B, C, C)
    predicted[3] += 2  # MSE of A and B: 4 / 4 = 1
    predicted[4:] += 3  # MSE of C: 9
    assert metrics.kaggle_weighted(predicted, labels, scheme) == pytest.approx(math.sqrt(0.65 + 0.35 * 9), rel=1e-5)


def test_rmse_is_told_apart_by_scheme_and_keypoint() -> None:
    predicted, labels, scheme = faces(A, C)
    predicted[1, INDEX["nose_tip"]] += 4
    assert metrics.rmse_by_scheme(predicted, labels, scheme) == {"A": 0, "C": pytest.approx(2, rel=1e-5)}
    by_keypoint = metrics.rmse_by_keypoint(predicted[1:], labels[1:])
    assert by_keypoint["nose_tip"] == pytest.approx(4, rel=1e-5)
    assert len(by_keypoint) == 4


def test_worst_faces_are_left_out_by_their_own_mean_error() -> None:
    predicted, labels, _ = faces(*[A] * 150, *[C] * 50)
    predicted[7] += 5
    predicted[160] += 6
    predicted[12, 0] += 9  # one point of fifteen: 9 / sqrt(15) = 2.3
    keep = metrics.without_worst(predicted, labels)
    assert np.flatnonzero(~keep).tolist() == [7, 160]


def test_few_faces_are_all_kept() -> None:
    predicted, labels, _ = faces(A, A, A)
    assert metrics.without_worst(predicted + 1, labels).all()


def test_nme_is_in_percent_of_the_outer_eye_distance_of_complete_faces() -> None:
    predicted, labels, _ = faces(A, C)
    labels[0, INDEX["left_eye_outer_corner"]] = 70, 40
    labels[0, INDEX["right_eye_outer_corner"]] = 20, 40
    predicted[0] = labels[0] + [0.3, 0.4]  # every point 0.5 px off, 1 % of 50 px
    assert metrics.nme_percent(predicted, labels) == pytest.approx(1, rel=1e-4)
    assert math.isnan(metrics.nme_percent(predicted[1:], labels[1:]))


def test_calibration_of_a_normal_error_is_that_of_the_normal_distribution() -> None:
    random = np.random.default_rng(0)
    sigma = random.uniform(0.5, 3, (20_000, 15))
    labels = np.full((20_000, 15, 2), 40.0)
    labels[:, 3] = np.nan
    predicted = labels + random.normal(size=labels.shape) * sigma[..., None]
    shares = metrics.calibration(predicted, labels, sigma)
    assert shares["all"] == pytest.approx((0.683, 0.954), abs=0.005)
    assert shares["nose_tip"] == pytest.approx((0.683, 0.954), abs=0.01)
    assert len(shares) == 1 + 14


def test_report_holds_every_figure_and_survives_json() -> None:
    predicted, labels, scheme = faces(A, B, C)
    report = metrics.report(predicted + np.array([0.9, 1.1]), labels, scheme, np.ones((3, 15)))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["faces"] == 3
    assert data["faces_by_scheme"] == {"A": 1, "B": 1, "C": 1}
    assert data["kaggle_weighted"] == pytest.approx(math.sqrt((0.81 + 1.21) / 2), rel=1e-5)
    assert data["by_scheme_trimmed"].keys() == {"A", "B", "C"}
    assert data["by_keypoint"]["C"].keys() == {
        "left_eye_center",
        "right_eye_center",
        "nose_tip",
        "mouth_center_bottom_lip",
    }
    assert len(data["calibration"]["all"]) == 2
    assert data["calibration_by_scheme"].keys() == {"A", "B", "C"}
    assert data["calibration_by_scheme"]["C"]["nose_tip"] == [0.5, 1.0]
    assert "mouth_left_corner" not in data["calibration_by_scheme"]["C"]


def test_report_of_one_scheme_has_no_kaggle_figure() -> None:
    predicted, labels, scheme = faces(C, C)
    data = metrics.report(predicted, labels, scheme, np.ones((2, 15))).to_json()
    assert data["kaggle_weighted"] is None
    assert data["nme_percent"] is None
    json.dumps(data, allow_nan=False)


def test_table_shows_schemes_keypoints_and_what_the_figure_is_in_80_columns() -> None:
    predicted, labels, scheme = faces(A, B, C)
    console = Console(width=80)
    for off in (1, 30):  # one digit before the point, and two
        with console.capture() as capture:
            console.print(metrics.report(predicted + off, labels, scheme, np.ones((3, 15))).table())
        text = capture.get()
        assert re.search("A +[┃|] +B +[┃|] +C +[┃|] weighted [┃|] in 1, 2 sigma", text)
    assert "nose_tip" in text
    assert "not a Kaggle score" in text
