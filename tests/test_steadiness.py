"""Steadiness: an error made on purpose gets the number it must have, and the real tracker gets through every path."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import write_film
from numpy.typing import NDArray
from programs import BENCH, run_code

from tracker.backends.choice import open_backend
from tracker.backends.weights import load
from tracker.bench.steadiness import (
    TRADE_OFF,
    VARIANTS,
    Follow,
    Recording,
    Report,
    Steadiness,
    film_jitter,
    follower,
    interocular,
    mapped,
    measure,
    measure_film,
    portrait_of,
    print_report,
    record,
    record_paths,
    steadiness,
    weigh,
)
from tracker.core.smoothing import PoseAndShape
from tracker.detectors.registry import open_detector
from tracker.errors import SourceError
from tracker.geometry import MEAN_SHAPE
from tracker.sources.synthetic import MOTIONS, Motion, Pose, SyntheticCamera, astronaut, fast_pan, still, talking
from tracker.types import Box, Face, Frame, Region, Tracked

MARKED = MEAN_SHAPE * 58 + (224.7, 114.3)
"""(15, 2) portrait px, on the face by eye: any fifteen points would do."""
IOD = interocular(MARKED)
"""Portrait px."""
MOVING = [name for name in MOTIONS if name != "still"]

Error = Callable[[int], "NDArray[np.floating] | float"]
"""Frame index -> what is added to every keypoint, interocular distances of the portrait."""


def camera(motion: Motion, seconds: float = 5.0) -> SyntheticCamera:
    """Small pictures: nobody looks at them here."""
    return SyntheticCamera(astronaut(), motion, seconds=seconds, width=80, height=60, iod=8.0)


def face(id: int) -> Face:
    return Face(id, Region(0.0, 0.0, 20.0, 0.0), Box(0, 0, 20, 20), 1.0)


def see(frame: Frame, *faces: NDArray[np.floating], ids: Iterable[int] = (0, 1)) -> Tracked:
    """What a tracker says that sees faces (15, 2), frame px."""
    keypoints = np.array(faces, np.float32).reshape(-1, 15, 2)
    known = tuple(face(id) for id, _ in zip(ids, faces, strict=False))
    return Tracked(frame, known, keypoints, np.ones((len(faces), 15), np.float32))


def sees(of: SyntheticCamera, *, late_s: float = 0.0, error: Error = lambda index: 0.0) -> Follow:
    """A tracker that knows where everything is, or was `late_s` ago."""

    def follow(frames: Iterable[Frame]) -> Iterator[Tracked]:
        for frame in frames:
            yield see(frame, mapped(MARKED + IOD * error(frame.index), of.matrix_at(frame.timestamp - late_s)))

    return follow


def judged(of: SyntheticCamera, follow: Follow) -> Steadiness:
    recording = record(follow, of, MARKED)
    return steadiness(recording, recording.tracked)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOTIONS)
def test_a_perfect_tracker_has_no_fault(name: str) -> None:
    perfect = camera(MOTIONS[name], seconds=5.0)
    result = judged(perfect, sees(perfect))
    assert result.jitter_pct_iod == pytest.approx(0, abs=1e-4)
    assert result.error_pct_iod == pytest.approx(0, abs=1e-4)
    assert result.lost_frames == 0
    if name != "still":
        assert result.lag_ms == pytest.approx(0, abs=0.01)
    if result.overshoot_pct is not None:
        assert result.overshoot_pct == pytest.approx(0, abs=0.5)  # it turns between two frames


@pytest.mark.slow
@pytest.mark.parametrize(("name", "late_ms"), [*zip(MOVING, [-20.0, 3.3, 40.0, 87.5, 3.3], strict=True)])
def test_the_lag_is_the_delay(name: str, late_ms: float) -> None:
    moving = camera(MOTIONS[name])
    assert judged(moving, sees(moving, late_s=late_ms / 1000)).lag_ms == pytest.approx(late_ms, abs=0.1)


def test_what_does_not_move_has_neither_lag_nor_overshoot() -> None:
    resting = camera(still, seconds=2.0)
    result = judged(resting, sees(resting, late_s=0.04))
    assert result.lag_ms is None
    assert result.overshoot_pct is None


def test_being_late_is_an_error_but_no_jitter() -> None:
    panning = camera(fast_pan, seconds=10 / 3)
    result = judged(panning, sees(panning, late_s=0.04))
    eyes = np.hypot(*np.subtract(panning.portrait.left_eye, panning.portrait.right_eye))  # what poses are counted in
    speed = 2 * np.pi * 0.6 * 1.6 / np.sqrt(2) * eyes / IOD  # RMS, interocular distances per second
    assert result.error_pct_iod == pytest.approx(100 * speed * 0.04, rel=0.01)
    assert result.jitter_pct_iod < 0.01 * result.error_pct_iod


def test_points_that_are_always_off_err_but_do_not_jitter_or_lag() -> None:
    moving = camera(talking)
    off = np.random.default_rng(0).normal(0, 0.03, (15, 2))
    result = judged(moving, sees(moving, late_s=0.02, error=lambda index: off))
    on_time = judged(moving, sees(moving, error=lambda index: off))
    assert on_time.error_pct_iod == pytest.approx(100 * np.sqrt((off**2).sum(axis=1).mean()), rel=1e-4)
    assert on_time.jitter_pct_iod == pytest.approx(0, abs=1e-3)
    assert result.lag_ms == pytest.approx(20, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["still", "talking", "approach"])
def test_white_noise_of_sigma_in_x_and_y_jitters_by_sigma_times_root_two(name: str) -> None:
    moving, random = camera(MOTIONS[name]), np.random.default_rng(0)
    result = judged(moving, sees(moving, error=lambda index: random.normal(0, 0.01, (15, 2))))
    assert result.jitter_pct_iod == pytest.approx(np.sqrt(2), rel=0.03)
    assert result.error_pct_iod == pytest.approx(np.sqrt(2), rel=0.03)


@pytest.mark.parametrize(("hertz", "least", "most"), [(0.5, 0.0, 0.01), (2.4, 0.4, 0.6), (6.0, 0.9, 1.3)])
def test_trembling_is_jitter_and_drifting_is_not(hertz: float, least: float, most: float) -> None:
    resting = camera(still)
    result = judged(resting, sees(resting, error=lambda index: 0.01 * np.sin(2 * np.pi * hertz * index / 30)))
    assert least <= result.jitter_pct_iod <= most  # RMS distance 1 before the high-pass


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "late_s"), [(1.1, 0.05), (0.95, 0.0)])
def test_the_overshoot_is_what_the_motion_is_exaggerated_by_however_late(factor: float, late_s: float) -> None:
    panning = camera(fast_pan)
    exaggerated = replace(panning, motion=lambda t: Pose(right=factor * fast_pan(t).right))
    result = judged(panning, sees(exaggerated, late_s=late_s))
    assert result.overshoot_pct == pytest.approx(100 * (factor - 1), abs=0.5)


@pytest.mark.parametrize(
    ("true", "seen"),
    [(Pose(roll=0.6), Pose(roll=0.63)), (Pose(scale=2.0), Pose(scale=2**1.05))],
    ids=["roll", "scale"],
)
def test_turning_and_coming_near_can_overshoot_too(true: Pose, seen: Pose) -> None:
    def swinging(peak: Pose) -> Motion:
        return lambda t: Pose(scale=peak.scale ** np.sin(2 * t), roll=peak.roll * np.sin(2 * t))

    result = judged(camera(swinging(true), 10.0), sees(camera(swinging(seen), 10.0)))
    assert result.overshoot_pct == pytest.approx(5, abs=0.5)


def test_lost_frames_are_counted_and_the_rest_is_measured() -> None:
    moving = camera(talking)
    watching = sees(moving, late_s=0.04)

    def blinking(frames: Iterable[Frame]) -> Iterator[Tracked]:
        return (see(each.frame) if each.frame.index % 50 == 7 else each for each in watching(frames))

    result = judged(moving, blinking)
    assert result.lost_frames == 3
    assert result.lag_ms == pytest.approx(40, abs=0.1)
    assert result.jitter_pct_iod is not None


def test_a_tracker_that_sees_nothing_has_no_measures() -> None:
    result = judged(camera(talking, seconds=2.0), lambda frames: map(see, frames))
    assert result == Steadiness(None, None, None, None, lost_frames=60)


def test_another_face_in_the_picture_is_not_mistaken_for_the_one_that_moves() -> None:
    moving = camera(talking, seconds=3.0)
    watching = sees(moving)

    def crowded(frames: Iterable[Frame]) -> Iterator[Tracked]:
        return (see(each.frame, each.keypoints[0] + 17, each.keypoints[0]) for each in watching(frames))

    assert judged(moving, crowded).error_pct_iod == pytest.approx(0, abs=1e-4)


def test_a_film_has_jitter_without_truth_in_each_faces_own_size() -> None:
    random = np.random.default_rng(0)

    def seen(index: int) -> Tracked:
        frame = Frame(np.empty((0, 0, 3), np.uint8), index, index / 25)
        near, far = (scale * (MARKED / IOD + random.normal(0, 0.01, (15, 2))) for scale in (100, 20))
        return see(frame, near) if index < 100 else see(frame, far, near + (index - 100) / 5, ids=(5, 0))

    assert film_jitter([seen(index) for index in range(200)]) == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_film_without_faces_or_too_short_has_no_jitter() -> None:
    frames = [Frame(np.empty((0, 0, 3), np.uint8), index, index / 25) for index in range(20)]
    assert film_jitter([see(frame) for frame in frames]) is None
    assert film_jitter([see(frame, MARKED) for frame in frames[:5]]) is None
    assert film_jitter([]) is None


@pytest.fixture(scope="module")
def follow() -> Iterator[Follow]:
    """The tracker itself."""
    with closing(open_backend("cpu", load())) as backend, closing(open_detector("yunet")) as detector:
        yield follower(detector, backend)


@pytest.fixture(scope="module")
def recordings(follow: Follow) -> dict[str, Recording]:
    """Every path, as long as smoothing and jitter need, without the blur, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracker.bench.steadiness.SHUTTER", 0.0)
        patch.setattr("tracker.bench.steadiness.LOOKS", 5)
        return dict(record_paths(follow, astronaut(), frames=24))


@pytest.fixture(scope="module")
def report(recordings: dict[str, Recording], follow: Follow) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracker.bench.steadiness.record_paths", lambda *asked: recordings.items())
        patch.setattr("tracker.bench.steadiness.TRADE_OFF", (TRADE_OFF[0], TRADE_OFF[-1]))
        return measure(follow, astronaut(), frames=24)


@pytest.mark.slow
def test_the_tracker_is_judged_on_every_path_raw_and_smoothed(report: Report) -> None:
    assert list(report.paths) == list(MOTIONS)
    for variants in report.paths.values():
        assert list(variants) == list(VARIANTS) == ["raw", "live", "offline"]
        for result in variants.values():
            assert result.lost_frames == 0
            assert 0 < result.jitter_pct_iod < result.error_pct_iod < 10


@pytest.mark.slow
def test_smoothing_steadies_what_is_still_and_is_later_than_raw(report: Report) -> None:
    assert report.paths["still"]["live"].jitter_pct_iod < report.paths["still"]["raw"].jitter_pct_iod
    assert report.paths["slow"]["live"].lag_ms > report.paths["slow"]["raw"].lag_ms


@pytest.mark.slow
def test_looking_ahead_steadies_without_being_late(report: Report) -> None:
    slow = report.paths["slow"]
    assert slow["offline"].jitter_pct_iod < slow["raw"].jitter_pct_iod
    assert abs(slow["offline"].lag_ms) < slow["live"].lag_ms / 2


@pytest.mark.slow
def test_more_smoothing_is_steadier_and_errs_more_in_motion(report: Report) -> None:
    steady, prompt = report.trade_off[0], report.trade_off[-1]
    assert steady.still_jitter_pct_iod < prompt.still_jitter_pct_iod
    assert steady.moving_error_pct_iod > prompt.moving_error_pct_iod


@pytest.mark.slow
def test_the_trade_off_weighs_the_very_filter_that_smooths(recordings: dict[str, Recording], report: Report) -> None:
    results = {path: variants["live"] for path, variants in report.paths.items()}
    defaults = {name: PoseAndShape.__init__.__kwdefaults__[name] for name in ("surprise", "min_cutoff_hz", "beta")}
    weighed = weigh(recordings, **defaults)
    assert weighed.still_jitter_pct_iod == results["still"].jitter_pct_iod
    assert weighed.longest_lag_ms == max(results[path].lag_ms for path in MOVING)


@pytest.mark.slow
def test_the_table_shows_every_path_and_every_setting(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(asdict(report))
    shown = capsys.readouterr().out
    assert all(word in shown for word in (*MOTIONS, *VARIANTS, "lag ms", "surprise"))


def test_any_picture_of_a_face_can_be_the_portrait(follow: Follow, portrait: NDArray[np.uint8]) -> None:
    found, known = portrait_of(follow, portrait), astronaut()
    apart = np.hypot(*np.subtract(found.left_eye, found.right_eye))
    assert apart == pytest.approx(np.hypot(*np.subtract(known.left_eye, known.right_eye)), rel=0.15)


def test_a_picture_without_a_face_is_refused(follow: Follow) -> None:
    with pytest.raises(SourceError, match="no face"):
        portrait_of(follow, np.full((200, 200, 3), 90, np.uint8))


@pytest.mark.slow
def test_a_still_film_is_steadier_smoothed(follow: Follow) -> None:
    film = SyntheticCamera(astronaut(), still, seconds=1.5, noise=4.0)
    measured = measure_film(follow, (shot.frame for shot in film))
    assert 0 < measured["live"] < measured["raw"]


QUICKLY = "from tracker.bench import steadiness as it; it.SHUTTER, it.LOOKS, it.TRADE_OFF = 0.0, 3, it.TRADE_OFF[:1]"
bench = partial(run_code, f"{QUICKLY}; {BENCH}", "fkp-bench", "--steadiness")


@pytest.mark.slow
def test_the_program_moves_a_picture_and_prints_one_json_object(portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), portrait)
    done = bench(tmp_path / "face.png", "--frames", "11", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["paths", "trade_off", "machine", "settings"]
    assert list(report["paths"]) == list(MOTIONS)
    assert report["paths"]["still"]["live"]["lag_ms"] is None
    assert report["paths"]["fast-pan"]["raw"]["lost_frames"] == 0
    assert report["settings"]["weights_sha256"] == load().sha256


@pytest.mark.slow
def test_the_program_tells_the_jitter_of_a_film(portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    done = bench(write_film(tmp_path / "still.mp4", [portrait] * 24))
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in (*VARIANTS, "jitter"))


def test_a_picture_without_a_face_ends_the_program_with_one_message(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 90, np.uint8))
    done = bench(tmp_path / "wall.png")
    assert done.returncode == SourceError.exit_code
    (message,) = done.stderr.splitlines()
    assert message.startswith("fkp-bench: no face found")
