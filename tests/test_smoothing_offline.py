"""Smoothing that looks ahead: no lag, less noise, and whatever moves is left to move."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tracker.core.smoothing_offline import MOST_PENDING, offline
from tracker.types import Box, Face, Frame, Region, Tracked

SIDE = 160.0
NOISE_PX = 0.0005 * SIDE
IMAGE = np.zeros((1, 1, 3), np.uint8)


def tracked(index: int, time: float, **positions: float) -> Tracked:
    """Faces by id (`f3=`), all 15 points of each at (position, 0)."""
    ids = [int(name[1:]) for name in positions]
    keypoints = np.zeros((len(ids), 15, 2), np.float32)
    keypoints[..., 0] = np.reshape(list(positions.values()), (-1, 1))
    faces = tuple(Face(id, Region(0, 0, SIDE, 0), Box(0, 0, SIDE, SIDE), 1.0) for id in ids)
    return Tracked(Frame(IMAGE, index, time), faces, keypoints, np.ones((len(ids), 15), np.float32))


def smoothed(path: Sequence[float] | np.ndarray, times: Sequence[float] | np.ndarray) -> np.ndarray:
    """One face whose points are all at `path` (T,) px at `times` s -> where they are after smoothing (T,)."""
    film = (tracked(i, t, f0=x) for i, (x, t) in enumerate(zip(path, times, strict=True)))
    return np.array([each.keypoints[0, 7, 0] for each in offline(film)])


def noise(count: int) -> np.ndarray:
    """The two coordinates of real points have it each; here one has that of both, because the other is still."""
    return np.random.default_rng(0).normal(0, NOISE_PX, count)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("rate", [15, 25, 30, 60])
def test_a_still_face_loses_most_of_its_noise_at_any_frame_rate(rate: int) -> None:
    raw = 300 + noise(10 * rate)
    assert np.diff(smoothed(raw, np.arange(10 * rate) / rate)).std() < 0.5 * np.diff(raw).std()


@pytest.mark.parametrize("sides_per_s", [0.1, 1.0, 4.0])
def test_a_face_that_moves_is_shown_where_it_is(sides_per_s: float) -> None:
    times = np.arange(90) / 30
    path = SIDE * sides_per_s * times
    shown = smoothed(path + noise(90), times)
    assert abs(np.mean(shown - path)) < 0.001 * SIDE * sides_per_s
    assert rms(shown - path) < 0.8 * NOISE_PX


def test_a_head_that_shakes_is_followed_better_than_the_raw_points_do() -> None:
    times = np.arange(120) / 30
    path = 0.5 * SIDE * np.sin(2 * math.pi * 1.0 * times)
    raw = path + noise(120)
    assert rms(smoothed(raw, times) - path) < rms(raw - path)


def test_a_blink_keeps_its_depth_and_its_moment() -> None:
    times = np.arange(90) / 30
    path = np.zeros(90)
    path[40:44] = [2.0, 6.0, 5.0, 2.0]
    shown = smoothed(path + noise(90), times)
    assert shown.argmax() == 41
    assert shown[40:44] == pytest.approx(path[40:44], abs=0.3)


def test_a_cut_is_a_cut() -> None:
    path = np.where(np.arange(60) < 30, 100.0, 180.0)
    shown = smoothed(path, np.arange(60) / 30)
    np.testing.assert_allclose(shown, path, atol=0.1)


def test_uneven_times_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.choice([0.02, 0.033, 0.1], 90))
    path = 80 * times + 200 * times**2
    np.testing.assert_allclose(smoothed(path, times), path, rtol=1e-4, atol=0.01)


def test_times_that_all_but_coincide_are_averaged_over() -> None:
    """As damaged films have them; noise must not become a slope."""
    raw = 300 + noise(40)
    for step_s in (1e-9, 1e-6):
        assert np.abs(smoothed(raw, 7 + step_s * np.arange(40)) - 300).max() < np.abs(raw - 300).max()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_face_seen_only_a_few_times_stays_where_it_was(count: int) -> None:
    path = np.array([100.0, 140.0, 90.0])[:count]
    assert smoothed(path, np.arange(count) / 30).tolist() == path.tolist()


def test_the_first_and_the_last_frames_are_smoothed_too() -> None:
    runs = [np.random.default_rng(seed).normal(0, NOISE_PX, 60) for seed in range(20)]
    shown = [smoothed(raw, np.arange(60) / 30) for raw in runs]
    for end in (0, -1):
        assert rms(np.array([each[end] for each in shown])) < rms(np.array([each[end] for each in runs]))


def test_faces_do_not_touch_one_another_whatever_their_rows() -> None:
    rng = np.random.default_rng(2)
    here, there = rng.normal(100, 0.1, 60), rng.normal(500, 0.1, 60)
    film = [
        tracked(i, i / 30, f4=here[i], f9=there[i]) if i % 3 else tracked(i, i / 30, f9=there[i], f4=here[i])
        for i in range(60)
    ]
    alone = smoothed(here, np.arange(60) / 30)
    for each, expected in zip(offline(film), alone, strict=True):
        row = [face.id for face in each.faces].index(4)
        assert each.keypoints[row, 0, 0] == pytest.approx(expected)


def test_a_face_that_comes_back_elsewhere_is_shown_there() -> None:
    film = [tracked(i, i / 30, f0=100.0) for i in range(20)]
    film += [tracked(i, i / 30) for i in range(20, 24)]
    film += [tracked(i, i / 30, f0=160.0) for i in range(24, 44)]
    shown = [each.keypoints[0, 0, 0] for each in offline(film) if each.faces]
    np.testing.assert_allclose(shown, [100.0] * 20 + [160.0] * 20, atol=0.2)


def test_every_frame_comes_once_in_order_with_its_faces() -> None:
    film = [tracked(i, i / 30, **({"f1": 5.0} if i % 4 else {})) for i in range(50)]
    for before, after in zip(film, offline(film), strict=True):
        assert after.frame is before.frame
        assert after.faces is before.faces
        assert after.keypoints.shape == before.keypoints.shape
        assert after.keypoints.dtype == np.float32
        assert after.sigma is before.sigma
    assert list(offline([])) == []


def test_the_raw_points_are_left_alone() -> None:
    film = [tracked(i, i / 30, f0=i % 2) for i in range(30)]
    list(offline(film))
    assert [each.keypoints[0, 0, 0] for each in film] == [0, 1] * 15


@pytest.mark.parametrize(("rate", "ahead"), [(10, 3), (30, 9), (240, MOST_PENDING)])
def test_it_looks_ahead_no_further_than_it_says(rate: int, ahead: int) -> None:
    taken = 0

    def film() -> Iterator[Tracked]:
        nonlocal taken
        for taken in range(1, 5 * rate):
            yield tracked(taken, taken / rate, f0=0.0)

    held = [taken - shown for shown, _ in enumerate(offline(film()), 1) if shown < 3 * rate]
    assert set(held) <= {ahead, ahead + 1}  # of times that are no binary fractions


def test_a_failure_of_the_source_is_passed_on() -> None:
    def broken() -> Iterator[Tracked]:
        yield tracked(0, 0.0, f0=1.0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        list(offline(broken()))
