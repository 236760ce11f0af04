"""Signals on their way from the network to whoever reads them: named, smoothed, absent where there are none."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.smoothing import PoseAndShape, unsmoothed
from tracker.core.smoothing_offline import offline
from tracker.geometry import MEAN_SHAPE
from tracker.spec import SIGNALS
from tracker.types import Box, Detection, Face, Frame, Points, Region, Signals, Tracked

RATE = 30
OPEN, SIGMA = 0.3, 0.05
REGION = Region(50, 50, 80, 0)


class Backend:
    """Answers with the mean face; its signals count the calls."""

    name = "counts"

    def __init__(self, *, tells: bool) -> None:
        self.tells, self.calls = tells, 0

    def __call__(self, faces: NDArray[np.uint8]) -> Points:
        self.calls += 1
        signals = np.full((len(faces), 6), self.calls, np.float32) + np.arange(len(faces), dtype=np.float32)[:, None]
        points = np.repeat(MEAN_SHAPE[None], len(faces), 0).astype(np.float32)
        return Points(points, np.full((len(faces), 15), 0.01, np.float32), signals if self.tells else None)

    def close(self) -> None:
        pass


def found(*, tells: bool, faces: int = 2) -> Tracked:
    frame = Frame(np.zeros((100, 300, 3), np.uint8), 0, 0.0)
    regions = [Region(50 + 100 * i, 50, 80, 0) for i in range(faces)]
    detections = [Detection(Box(each.x - 30, 20, each.x + 30, 80), 0.9, each) for each in regions]
    return next(track([frame], lambda _: detections, EachAlone(), Locate(Backend(tells=tells)), unsmoothed))


def test_signals_have_the_names_of_the_spec() -> None:
    assert Signals._fields == (*SIGNALS, *(f"{name}_sigma" for name in SIGNALS))


def test_every_face_has_the_signals_of_its_second_look() -> None:
    assert [each.mouth_open for each in found(tells=True).signals] == [2, 3]


def test_a_network_without_signals_tells_none() -> None:
    assert found(tells=False).signals == ()
    assert found(tells=True, faces=0).signals == ()


def test_a_face_whose_signals_overflow_is_no_face(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Backend.__call__

    def overflowing(self: Backend, faces: NDArray[np.uint8]) -> Points:
        points = answer(self, faces)
        points.signals[0, 3] = np.inf if len(faces) == 2 else 1.0
        return points

    monkeypatch.setattr(Backend, "__call__", overflowing)
    assert [each.mouth_open for each in found(tells=True).signals] == [2]


def test_points_are_a_pair_for_whoever_reads_only_points() -> None:
    keypoints, sigma = points = Points(np.zeros((2, 15, 2)), np.ones((2, 15)), np.arange(12.0).reshape(2, 6))
    assert keypoints is points.keypoints
    assert sigma is points.sigma
    assert points.only([1]).signals.tolist() == [[6, 7, 8, 9, 10, 11]]
    assert Points(keypoints, sigma).only([1]).signals is None


def film(values: Sequence[float]) -> list[Tracked]:
    """One still face whose left eye is open so far."""
    face = Face(0, REGION, Box(10, 10, 90, 90), 1.0)
    keypoints = np.array(MEAN_SHAPE[None] * 40 + 50, np.float32)
    return [
        Tracked(
            Frame(np.zeros((1, 1, 3), np.uint8), i, i / RATE),
            (face,),
            keypoints,
            np.ones((1, 15), np.float32),
            signals=(Signals(value, OPEN, 0.0, SIGMA, SIGMA, SIGMA),),
        )
        for i, value in enumerate(values)
    ]


def live(results: Sequence[Tracked]) -> list[Signals]:
    smooth = PoseAndShape()
    told = []
    for each in results:
        raw = Points(each.keypoints, each.sigma, np.array(each.signals, np.float32))
        told.append(Signals(*smooth(each.faces, raw, each.frame.timestamp).signals[0].tolist()))
    return told


def afterwards(results: Sequence[Tracked]) -> list[Signals]:
    return [each.signals[0] for each in offline(results)]


SMOOTHERS = {"live": live, "offline": afterwards}


@pytest.mark.parametrize("smooth", SMOOTHERS.values(), ids=SMOOTHERS)
@pytest.mark.parametrize("frames", [2, 3, 6])
def test_a_blink_of_a_tenth_of_a_second_is_kept(smooth, frames: int) -> None:  # type: ignore[no-untyped-def]
    raw = np.full(60, OPEN)
    raw[30 : 30 + frames] = 0.05
    shown = np.array([each.eye_open_left for each in smooth(film(raw.tolist()))])
    assert shown.min() < 0.05 + 0.15 * (OPEN - 0.05)
    assert abs(int(shown.argmin()) - 30) <= frames
    np.testing.assert_allclose(shown[:25], OPEN, atol=0.01)
    np.testing.assert_allclose(shown[45:], OPEN, atol=0.02)


@pytest.mark.parametrize("smooth", SMOOTHERS.values(), ids=SMOOTHERS)
def test_a_still_eye_trembles_less(smooth) -> None:  # type: ignore[no-untyped-def]
    raw = OPEN + np.random.default_rng(0).normal(0, 0.008, 120)
    shown = smooth(film(raw.tolist()))
    assert np.diff([each.eye_open_left for each in shown]).std() < 0.8 * np.diff(raw).std()
    assert [each.eye_open_left_sigma for each in shown] == pytest.approx([SIGMA] * 120)


def test_smoothing_leaves_signals_out_where_there_are_none() -> None:
    (each,) = film([OPEN])
    smooth = PoseAndShape()
    for time in (0.0, 0.1):
        assert smooth(each.faces, Points(each.keypoints, each.sigma), time).signals is None
