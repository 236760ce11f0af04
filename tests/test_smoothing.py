"""Live smoothing: One Euro against its authors' published numbers, and heads that neither lag nor tremble."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.core.smoothing import OneEuro, PoseAndShape, unsmoothed
from tracker.geometry import MEAN_SHAPE
from tracker.spec import INDEX
from tracker.types import Box, Face, Points, Region

Array = NDArray[np.float64]

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
RATE = 30
SIDE = 160.0
"""Of the face, px."""
IOD = SIDE * 0.38
MOUTH = [INDEX["mouth_center_bottom_lip"]]
EYES = [INDEX["left_eye_center"], INDEX["right_eye_center"]]
SURE = [1.0] * 15


def filtered(values: Array, times: Array, *settings: float) -> Array:
    """One Euro on `values` (T,) of a single point along x."""
    smooth = OneEuro([complex(values[0])], *settings)
    steps = zip(values[1:].tolist(), np.diff(times).tolist(), strict=True)
    return np.array([values[0], *(smooth([complex(each)], elapsed, [1.0])[0].real for each, elapsed in steps)])


def test_one_euro_gives_the_published_numbers() -> None:
    noisy, expected = np.array(PUBLISHED).T
    times = np.arange(len(noisy)) / 120
    np.testing.assert_allclose(filtered(noisy, times, 1.0, 0.1, 1.0), expected, atol=2e-7)


def test_one_euro_follows_uneven_timestamps_like_the_papers_scalar_filter() -> None:
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
    np.testing.assert_allclose(filtered(values, times, 0.8, 2.0, 1.5), expected, atol=1e-6)


def test_one_euro_prefers_no_direction() -> None:
    rng = np.random.default_rng(4)
    turn = 0.6 + 0.8j
    path = rng.normal(0, 0.1, (20, 15, 2)).view(np.complex128)[..., 0]
    straight, turned = (OneEuro(first.tolist(), 0.5, 30.0, 2.0) for first in (path[0], path[0] * turn))
    for points in path[1:]:
        expected = np.multiply(straight(points.tolist(), 1 / RATE, SURE), turn)
        np.testing.assert_allclose(turned((points * turn).tolist(), 1 / RATE, SURE), expected, atol=1e-12)


def face(id: int = 0, side: float = SIDE) -> Face:
    return Face(id, Region(0.0, 0.0, side, 0.0), Box(0, 0, side, side), 1.0)


def head(x: Array | float = 0.0, y: Array | float = 0.0, *, side: float = SIDE, roll: Array | float = 0.0) -> Array:
    """Mean faces at (x, y) px, turned by `roll` rad: (T, 15, 2), or (15, 2) of numbers."""
    flat = MEAN_SHAPE @ np.array([1, 1j]) * side / 2
    moved = np.multiply.outer(np.exp(1j * np.asarray(roll)), flat) + (np.asarray(x) + 1j * np.asarray(y))[..., None]
    return np.stack([moved.real, moved.imag], -1)


def points(*faces: Array, sigma: float = 1.0) -> Points:
    keypoints = np.array(faces, np.float32).reshape(-1, 15, 2)
    return Points(keypoints, np.full(keypoints.shape[:2], sigma, np.float32))


def run(smooth: PoseAndShape, path: Array, *, side: float = SIDE, rate: float = RATE) -> Array:
    """One face's raw points (T, 15, 2) -> the smoothed ones."""
    return np.array([smooth([face(side=side)], points(raw), i / rate).keypoints[0] for i, raw in enumerate(path)])


def wobble(frames: int, px: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, px, (frames, 15, 2))


def test_a_still_face_loses_most_of_its_jitter() -> None:
    noisy = head(np.full(200, 300.0)) + wobble(200, 0.2)
    assert np.diff(run(PoseAndShape(), noisy), axis=0).std() < np.diff(noisy, axis=0).std() / 2.5


def test_a_head_that_moves_is_neither_late_nor_trembling() -> None:
    times = np.arange(90) / RATE
    truth = head(80 * np.sin(2 * math.pi * times), roll=0.2 * np.sin(4 * times))
    noisy = truth + wobble(90, 0.5)
    error = (run(PoseAndShape(), noisy) - truth)[15:]
    late_px = 80 * 2 * math.pi / RATE / 3  # a third of a frame where it is fastest
    assert np.abs(error).max() < late_px
    assert np.diff(error, axis=0).std() < np.diff(wobble(90, 0.5), axis=0).std() * 0.75


def test_a_mouth_that_opens_moves_nothing_else() -> None:
    path = head(np.zeros(60))
    path[20:, MOUTH, 1] += 0.3 * IOD
    smoothed = run(PoseAndShape(), path)
    others = [i for i in range(15) if i not in MOUTH]
    np.testing.assert_allclose(smoothed[:, others], path[:, others], atol=1e-4)
    opened = (smoothed - path[0])[:, MOUTH[0], 1] / (0.3 * IOD)
    assert opened[22] > 0.8
    assert opened[-1] == pytest.approx(1, abs=0.01)


def test_an_unsure_point_keeps_its_place_in_the_face() -> None:
    path = head(np.linspace(0, 100, 60))
    path[30:, MOUTH, 0] += np.random.default_rng(0).normal(0, 8, (30, 1))
    sure, unsure = PoseAndShape(), PoseAndShape()
    sigma = np.ones((1, 15), np.float32)
    sigma[:, MOUTH] = 0.1 * SIDE
    seen = [
        [
            smooth([face()], Points(np.float32(raw[None]), each), i / RATE).keypoints[0, MOUTH[0], 0]
            for i, raw in enumerate(path)
        ]
        for smooth, each in ((sure, np.ones_like(sigma)), (unsure, sigma))
    ]
    stray = [np.std((np.array(each) - head(np.linspace(0, 100, 60))[:, MOUTH[0], 0])[30:]) for each in seen]
    assert stray[1] < stray[0] / 2


def test_a_face_behaves_the_same_near_and_far() -> None:
    noise = wobble(40, 0.01)
    far, near = (
        run(PoseAndShape(), head(np.linspace(0, side, 40), side=side) + noise * side, side=side) / side
        for side in (50.0, 800.0)
    )
    np.testing.assert_allclose(near, far, atol=1e-4)


def test_a_turned_picture_gives_turned_points() -> None:
    path = head(np.linspace(0, 30, 40)) + wobble(40, 1.0)
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(run(PoseAndShape(), path @ turn), run(PoseAndShape(), path) @ turn, atol=1e-3)


def test_a_head_that_rolls_past_half_a_turn_is_followed() -> None:
    path = head(np.zeros(60), roll=np.linspace(math.pi - 0.5, math.pi + 0.5, 60))
    assert np.abs(run(PoseAndShape(), path) - path)[10:].max() < 1


def test_a_lead_shows_where_a_steady_motion_will_be() -> None:
    path = head(np.arange(60) * 4.0)
    ahead = run(PoseAndShape(lead_s=0.5 / RATE), path)
    np.testing.assert_allclose(ahead[30:], path[30:] + np.array([2.0, 0.0]), atol=0.2)


def test_each_face_has_its_own_filter_whatever_its_row() -> None:
    both, alone = PoseAndShape(), PoseAndShape()
    for i in range(10):
        moving = i % 2  # its row
        faces, seen = [face(3), face(3)], [head(-500.0), head(-500.0)]
        faces[moving], seen[moving] = face(7), head(10.0 * i)
        smoothed = both(faces, points(*seen), i / RATE).keypoints[moving]
        np.testing.assert_array_equal(smoothed, alone([face(7)], points(head(10.0 * i)), i / RATE).keypoints[0])


def test_a_face_that_was_away_starts_afresh() -> None:
    smooth = PoseAndShape()
    run(smooth, head(np.zeros(30)))
    smooth([], points(), 1.2)
    back = points(head(50.0, roll=0.4))
    np.testing.assert_array_equal(smooth([face()], back, 2.0).keypoints, back.keypoints)


def test_a_short_absence_is_bridged() -> None:
    smooth = PoseAndShape()
    run(smooth, head(np.zeros(30)))
    smooth([], points(), 1.0)
    x = smooth([face()], points(head(0.5)), 1.1).keypoints[0, EYES[0], 0] - head()[EYES[0], 0]
    assert 0 < x < 0.5


@pytest.mark.parametrize("second", [0.0, -3.0], ids=["the same time again", "back in time"])
def test_time_that_does_not_advance_starts_afresh(second: float) -> None:
    smooth = PoseAndShape()
    smooth([face()], points(head(10.0)), 0.0)
    jump = points(head(20.0))
    np.testing.assert_array_equal(smooth([face()], jump, second).keypoints, jump.keypoints)


def test_a_new_object_remembers_nothing() -> None:
    run(PoseAndShape(), head(np.zeros(30)))
    first = points(head(50.0))
    np.testing.assert_array_equal(PoseAndShape()([face()], first, 1.0).keypoints, first.keypoints)


def test_it_forgets_faces_that_are_gone() -> None:
    smooth = PoseAndShape()
    for i in range(1000):
        smooth([face(i)], points(head()), i / RATE)
    assert len(smooth._states) < 20


def test_no_faces_give_no_points() -> None:
    smoothed = PoseAndShape()([], points(), 0.0)
    assert smoothed.keypoints.shape == (0, 15, 2)
    assert smoothed.sigma.shape == (0, 15)


def test_the_raw_points_are_left_alone() -> None:
    smooth, raw = PoseAndShape(), points(head(5.0))
    before = raw.keypoints.copy()
    smooth([face()], points(head()), 0.0)
    smooth([face()], raw, 0.03)
    np.testing.assert_array_equal(raw.keypoints, before)
    assert unsmoothed([face()], raw, 0.06) is raw
