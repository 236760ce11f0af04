"""The One Euro filter: against its authors' published numbers, and what it is for."""

import math

import numpy as np
import pytest

from tracker.locate import Points
from tracker.smooth import OneEuro, unsmoothed
from tracker.types import Box, Face, Region

PUBLISHED = [  # (noisy, filtered) of casiez/OneEuroFilter, groundTruth.csv: 120 Hz, mincutoff 1, beta 0.1, dcutoff 1
    (-0.0385099, -0.0385099),
    (-0.0280664, -0.0379872),
    (0.048622, -0.0334427),
    (0.111498, -0.0252696),
    (0.053026, -0.0207099),
    (0.120548, -0.0119912),
    (0.00972308, -0.0106507),
    (0.074193, -0.00526521),
    (-0.0236801, -0.00641239),
    (0.0462396, -0.00308863),
    (0.0892027, 0.00291027),
    (0.158329, 0.0135545),
    (0.0423086, 0.01552),
    (0.0887203, 0.0206024),
    (0.039102, 0.0218784),
    (0.140277, 0.030313),
    (0.156938, 0.0396331),
    (0.0961089, 0.0438101),
    (0.216881, 0.0572083),
    (0.067538, 0.057997),
]


def face(id: int = 0, side: float = 1.0) -> Face:
    return Face(id, Region(0.0, 0.0, side, 0.0), Box(0, 0, side, side), 1.0)


def points(*values: float) -> Points:
    """For each value a face with all 15 points at (value, 0)."""
    keypoints = np.zeros((len(values), 15, 2), np.float32)
    keypoints[..., 0] = np.array(values, np.float32)[:, None]
    return Points(keypoints, np.ones((len(values), 15), np.float32))


def run(smooth: OneEuro, values: np.ndarray, times: np.ndarray, side: float = 1.0) -> np.ndarray:
    """One face whose points are all at `values` (T,) px at `times` s -> the smoothed values (T,)."""
    who = [face(side=side)]
    return np.array([smooth(who, points(v), t).keypoints[0, 7, 0] for v, t in zip(values, times, strict=True)])


def test_it_gives_the_published_numbers() -> None:
    noisy, filtered = np.array(PUBLISHED).T
    smooth = OneEuro(min_cutoff_hz=1.0, beta=0.1, derivative_cutoff_hz=1.0)
    np.testing.assert_allclose(run(smooth, noisy, np.arange(len(noisy)) / 120), filtered, atol=2e-7)


def test_it_follows_uneven_timestamps_like_the_papers_scalar_filter() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 10], 50))
    values = np.cumsum(rng.normal(0, 0.1, 50))
    expected = [float(values[0])]
    speed = 0.0
    for i in range(1, 50):
        dt = times[i] - times[i - 1]
        speed += ((values[i] - expected[-1]) / dt - speed) / (1 + 1 / (2 * math.pi * 1.5) / dt)
        cutoff = 0.8 + 2.0 * abs(speed)
        expected.append(expected[-1] + (float(values[i]) - expected[-1]) / (1 + 1 / (2 * math.pi * cutoff) / dt))
    smooth = OneEuro(min_cutoff_hz=0.8, beta=2.0, derivative_cutoff_hz=1.5)
    np.testing.assert_allclose(run(smooth, values, times), expected, atol=1e-6)


def test_a_face_behaves_the_same_near_and_far() -> None:
    rng = np.random.default_rng(2)
    values, times = np.cumsum(rng.normal(0, 0.05, 40)), np.arange(40) / 30
    far, near = run(OneEuro(), values * 50, times, side=50), run(OneEuro(), values * 800, times, side=800)
    np.testing.assert_allclose(near / 800, far / 50, atol=1e-5)


def test_no_direction_is_preferred() -> None:
    rng = np.random.default_rng(4)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]], np.float32)
    straight, turned = OneEuro(), OneEuro()
    for i in range(20):
        raw = points(float(rng.normal(0, 0.1)))
        expected = straight([face()], raw, i / 30).keypoints @ turn
        seen = turned([face()], Points(raw.keypoints @ turn, raw.sigma), i / 30).keypoints
        np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_still_points_lose_most_of_their_jitter() -> None:
    rng = np.random.default_rng(3)
    noisy = 300 + rng.normal(0, 0.5, 300)  # 0.5 px on a face of 160 px
    smoothed = run(OneEuro(), noisy, np.arange(300) / 30, side=160)
    assert np.diff(smoothed).std() < np.diff(noisy).std() / 3


def test_a_fast_head_is_shown_less_than_a_frame_late() -> None:
    times = np.arange(60) / 30
    values = 160 * 1.5 * times  # one and a half face widths per second
    smoothed = run(OneEuro(), values, times, side=160)
    assert (values - smoothed)[-1] < 160 * 1.5 / 30


def test_each_face_has_its_own_filter_whatever_its_row() -> None:
    both, alone = OneEuro(), OneEuro()
    for i in range(10):
        moving = i % 2  # its row
        faces, values = [face(3), face(3)], [-5.0, -5.0]
        faces[moving], values[moving] = face(7), 100.0 + i
        smoothed = both(faces, points(*values), i / 30).keypoints[moving]
        np.testing.assert_array_equal(smoothed, alone([face(7)], points(100.0 + i), i / 30).keypoints[0])


def test_a_face_that_was_away_starts_afresh() -> None:
    smooth = OneEuro()
    run(smooth, np.zeros(30), np.arange(30) / 30)
    smooth([], points(), 1.2)
    assert run(smooth, np.array([50.0]), np.array([2.0])) == 50.0


def test_a_short_absence_is_bridged() -> None:
    smooth = OneEuro()
    run(smooth, np.zeros(30), np.arange(30) / 30)
    smooth([], points(), 1.0)
    assert 0 < run(smooth, np.array([0.5]), np.array([1.1]))[0] < 0.5


@pytest.mark.parametrize("second", [0.0, -3.0], ids=["the same time again", "back in time"])
def test_time_that_does_not_advance_starts_afresh(second: float) -> None:
    smooth = OneEuro()
    assert run(smooth, np.array([10.0, 20.0]), np.array([0.0, second])).tolist() == [10.0, 20.0]


def test_a_new_object_remembers_nothing() -> None:
    run(OneEuro(), np.zeros(30), np.arange(30) / 30)
    assert run(OneEuro(), np.array([50.0]), np.array([1.0])) == 50.0


def test_it_forgets_faces_that_are_gone() -> None:
    smooth = OneEuro()
    for i in range(1000):
        smooth([face(i)], points(1.0), i / 30)
    assert len(smooth._states) < 20


def test_no_faces_give_no_points() -> None:
    smoothed = OneEuro()([], points(), 0.0)
    assert smoothed.keypoints.shape == (0, 15, 2)
    assert smoothed.sigma.shape == (0, 15)


def test_the_raw_points_are_left_alone() -> None:
    smooth, raw = OneEuro(), points(5.0)
    smooth([face()], points(0.0), 0.0)
    smooth([face()], raw, 0.03)
    np.testing.assert_array_equal(raw.keypoints[..., 0], 5.0)
    assert unsmoothed([face()], raw, 0.06) is raw
