"""How steady, how late and how right keypoints are, measured against exact truth.

A synthetic camera moves a portrait along known paths.  The reference is the tracker's own answer on the unmoved
portrait, so that only the effects of motion, noise, blur and compression count; the truth of a frame is the frame's
known map applied to the reference.  Each path is tracked once, and every smoother starts from the same raw points, so
that the comparison is paired.

Errors are measured in HEAD space: frame px mapped back through the truth, so that origin, axes and unit move with the
head.  The unit is the interocular distance (IOD) of the reference; results are % of it.  In head space the truth stands
still, and a prediction minus the reference is its error, the same for near and far heads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tracker.backends.contract import Backend
from tracker.core.association import Identity
from tracker.core.landmarks import Locate
from tracker.core.loop import Smooth, track
from tracker.core.schedule import schedule_of
from tracker.core.smoothing import PoseAndShape, unsmoothed
from tracker.core.smoothing_offline import offline
from tracker.detectors.contract import Detector
from tracker.detectors.search import Search
from tracker.errors import SourceError
from tracker.sources.synthetic import MOTIONS, Portrait, Pose, SyntheticCamera
from tracker.spec import INDEX, KEYPOINTS
from tracker.types import Frame, Points, Tracked

Array = NDArray[np.floating]
Follow = Callable[[Iterable[Frame]], Iterable[Tracked]]
"""A tracker, new for every call: frames -> raw keypoints, one `Tracked` per frame."""
Variant = Callable[[Iterable[Tracked]], Iterable[Tracked]]
"""A smoother, new for every call: raw -> smoothed keypoints, frame by frame, with the same faces."""

SECONDS = {"still": 4.0, "slow": 10.0, "talking": 10.0, "fast-pan": 10 / 3, "rolling": 4.0, "approach": 10.0}
"""Length of each path of `synthetic.MOTIONS`: whole periods of its main motion."""
NOISE, SHUTTER, JPEG_QUALITY = 3.0, 0.25, 85
"""Settings of the camera: a webcam in a dim room that exposes a quarter of the time.  See `SyntheticCamera`."""
RATE = 30.0
"""Frames per second."""
LONGEST = round(max(SECONDS.values()) * RATE)
"""Frames of the longest path."""
LOOKS = 30
"""Number of pictures whose mean is the reference."""
NEAR_IOD = 1.0
"""A face that is further than this from the head is a different face."""

JITTER_WINDOW_S = 0.5
"""Half of a swing at 2.4 Hz passes as jitter, 1 % of one at 0.8 Hz."""
DELAYS_S = np.arange(-10, 26) / 100
"""Lags tried; a parabola finds the best one between them."""
ON_TIME = int(np.flatnonzero(DELAYS_S == 0)[0])
TURN_WINDOW_S = 0.3
"""A prediction may turn this much earlier or later than the truth."""
TRADE_OFF = tuple((surprise, 0.5, 20.0) for surprise in (0.032, 0.016, 0.008, 0.004, 0.002, 0.001))
"""Settings of `PoseAndShape`, from steady to prompt: surprise, min_cutoff_hz, beta."""
LEAST_AMPLITUDE = 0.1
"""Parts of a motion smaller than this have no usable turning points: IOD, rad, or logarithm of the scale."""

EYES = [INDEX["left_eye_center"], INDEX["right_eye_center"]]
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """One path, one smoother.  Values are None if the face was lost for too long."""

    jitter_pct_iod: float | None
    lag_ms: float | None
    """None if nothing moves."""
    overshoot_pct: float | None
    """None if nothing turns."""
    error_pct_iod: float | None
    """RMS distance from the truth."""
    lost_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """Settings of `PoseAndShape`, and their effect over all paths."""

    surprise: float
    min_cutoff_hz: float
    beta: float
    still_jitter_pct_iod: float | None
    longest_lag_ms: float | None
    moving_error_pct_iod: float | None
    """Root mean square over the paths that move."""


@dataclass(frozen=True, slots=True)
class Report:
    """All results of the synthetic camera."""

    paths: dict[str, dict[str, Steadiness]]
    """Path -> variant."""
    trade_off: list[TradeOff]
    """One per row of `TRADE_OFF`, from steady to prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One path and what the tracker saw of it."""

    reference: Array
    """(15, 2) head space."""
    tracked: Sequence[Tracked]
    """T frames with raw keypoints and without images."""
    rate: float
    """Frames per second."""
    from_head: Array
    """(T, 2, 3) head space -> frame px."""
    to_head: Array
    """(D, T, 2, 3) frame px -> head space as it was `DELAYS_S` before each frame."""

    @property
    def truth(self) -> Array:
        """(T, 15, 2) frame px."""
        return mapped(self.reference, self.from_head)

    @property
    def iod_px(self) -> float:
        """Mean interocular distance, frame px."""
        return float(np.hypot(*self.from_head[:, :, 0].T).mean())


def follower(detector: Detector, backend: Backend, detect_every: int | Literal["auto"] = 1) -> Follow:
    """The tracker without its smoothing."""

    def follow(frames: Iterable[Frame]) -> Iterator[Tracked]:
        return track(frames, Search(detector), Identity(), Locate(backend), unsmoothed, schedule_of(detect_every))

    return follow


def online(fresh: Callable[[], Smooth]) -> Variant:
    """The smoothing stage that `fresh` makes, as a variant."""

    def smoothed(tracked: Iterable[Tracked]) -> Iterator[Tracked]:
        smooth = fresh()
        for each in tracked:
            points = smooth(each.faces, Points(each.keypoints, each.sigma), each.frame.timestamp)
            yield Tracked(each.frame, each.faces, *points)

    return smoothed


VARIANTS: dict[str, Variant] = {"raw": online(lambda: unsmoothed), "live": online(PoseAndShape), "offline": offline}


def measure(follow: Follow, portrait: Portrait, frames: int = LONGEST) -> Report:
    """Every variant on every path, each cut to `frames`.  Raises SourceError when no face is found."""
    recordings = dict(record_paths(follow, portrait, frames))
    paths = {
        path: {name: steadiness(recording, variant(recording.tracked)) for name, variant in VARIANTS.items()}
        for path, recording in recordings.items()
    }
    return Report(paths, [weigh(recordings, *settings) for settings in TRADE_OFF])


def measure_film(follow: Follow, frames: Iterable[Frame]) -> dict[str, float | None]:
    """Variant -> jitter of a film's faces, % of IOD.  Without a truth: everything faster than heads move."""
    tracked = [_without_image(each) for each in follow(frames)]
    return {name: film_jitter(list(variant(tracked))) for name, variant in VARIANTS.items()}


def weigh(recordings: Mapping[str, Recording], surprise: float, min_cutoff_hz: float, beta: float) -> TradeOff:
    """The effect of these settings of `PoseAndShape` on the paths of `MOTIONS`."""
    settings = {"surprise": surprise, "min_cutoff_hz": min_cutoff_hz, "beta": beta}
    smoothed = online(lambda: PoseAndShape(**settings))
    results = {path: steadiness(recording, smoothed(recording.tracked)) for path, recording in recordings.items()}
    jitter, moving = results.pop("still").jitter_pct_iod, results.values()
    errors = [each.error_pct_iod for each in moving if each.error_pct_iod is not None]
    return TradeOff(
        **settings,
        still_jitter_pct_iod=jitter,
        longest_lag_ms=max((each.lag_ms for each in moving if each.lag_ms is not None), default=None),
        moving_error_pct_iod=float(np.sqrt(np.mean(np.square(errors)))) if errors else None,
    )


def portrait_of(follow: Follow, image: NDArray[np.uint8]) -> Portrait:
    """The largest face of a picture, BGR (H, W, 3).  Raises SourceError if there is none."""
    (tracked,) = follow([Frame(image, 0, 0.0)])
    if not tracked.faces:
        raise SourceError("no face found in the picture; give one with a larger face that looks at the camera")
    left, right = max(tracked.keypoints, key=interocular)[EYES].tolist()
    return Portrait(image, tuple(left), tuple(right))


def record_paths(follow: Follow, portrait: Portrait, frames: int = LONGEST) -> Iterator[tuple[str, Recording]]:
    """Track every path of `MOTIONS`, cut to `frames`."""
    camera = SyntheticCamera(portrait, at_rest, RATE, noise=NOISE, shutter=SHUTTER, jpeg=JPEG_QUALITY)
    keypoints = look(follow, replace(camera, seconds=LOOKS / camera.rate, shutter=0.0, seed=1))
    for path, motion in MOTIONS.items():
        seconds = min(SECONDS[path], frames / camera.rate)
        yield path, record(follow, replace(camera, motion=motion, seconds=seconds), keypoints)


def at_rest(t: float) -> Pose:
    """A pose within a few pixels of rest, so that the reference does not depend on one placement of the crop."""
    right, down, scale, roll = np.sin(np.multiply(1000 * t, (1, 2**0.5, 3**0.5, 5**0.5))).tolist()
    return Pose(0.1 * right, 0.1 * down, 1.05**scale, 0.05 * roll)


def look(follow: Follow, camera: SyntheticCamera) -> Array:
    """(15, 2) portrait px: the mean of the tracker's answers for the frames of `camera`, each tracked separately."""
    tracked = [_without_image(each) for shot in camera for each in follow([shot.frame])]
    from_portrait = np.array([camera.matrix_at(index / camera.rate) for index in range(len(camera))])
    seen = series(tracked, mapped(np.array([camera.portrait.left_eye, camera.portrait.right_eye]), from_portrait))
    if np.isnan(seen).all():
        raise SourceError("the tracker loses the portrait's face; give a picture with one clear face")
    mean: Array = np.nanmean(mapped(seen, _inverse(from_portrait)), axis=0)
    return mean


def record(follow: Follow, camera: SyntheticCamera, keypoints: Array) -> Recording:
    """Track the frames of `camera`; `keypoints` (15, 2) portrait px are the reference."""
    tracked = [_without_image(each) for each in follow(shot.frame for shot in camera)]
    times = np.arange(len(camera)) / camera.rate
    iod = float(interocular(keypoints))
    from_head = np.array([[camera.matrix_at(at) for at in times - delay] for delay in DELAYS_S])
    from_head[..., :2] *= iod
    return Recording(keypoints / iod, tracked, camera.rate, from_head[ON_TIME], _inverse(from_head))


def steadiness(recording: Recording, tracked: Iterable[Tracked]) -> Steadiness:
    """Judge a variant's result for the recording."""
    truth, reference = recording.truth, recording.reference
    points = series(tracked, truth[:, EYES])
    error = 100 * (mapped(points, recording.to_head[ON_TIME]) - reference)
    seen_pose, true_pose = (pose(each, reference, recording.iod_px) for each in (points, truth))
    return Steadiness(
        jitter_pct_iod=jitter(error, recording.rate),
        lag_ms=lag_ms(points, recording.to_head),
        overshoot_pct=overshoot_pct(seen_pose, true_pose, recording.rate),
        error_pct_iod=rms_distance(error),
        lost_frames=int(np.isnan(points[:, 0, 0]).sum()),
    )


def series(tracked: Iterable[Tracked], eyes: Array) -> Array:
    """(T, 15, 2) frame px: in each frame the face whose eyes are nearest to `eyes` (T, 2, 2); NaN if there is none."""
    found = np.full((len(eyes), len(KEYPOINTS), 2), np.nan)
    for row, each, true in zip(found, tracked, eyes, strict=True):
        if not each.faces:
            continue
        away = np.hypot(*(each.keypoints[:, EYES] - true).mean(axis=1).T)
        if away.min() <= NEAR_IOD * np.hypot(*np.subtract(*true)):
            row[:] = each.keypoints[away.argmin()]
    return found


def rms_distance(error: Array) -> float | None:
    """Root mean squared length of (..., 2) without NaN; None if there is nothing else."""
    squared = np.square(error).sum(axis=-1)
    return None if np.isnan(squared).all() else float(np.sqrt(np.nanmean(squared)))


def jitter(error: Array, rate: float) -> float | None:
    """RMS distance of the high-passed error (T, K, 2), in its unit, at `rate` frames per second.

    Each frame minus the parabola that fits `JITTER_WINDOW_S` around it best (Savitzky and Golay 1964), scaled so that
    white noise keeps its strength: independent errors of sigma in x and in y give sigma * sqrt(2).  A parabola, because
    the residue of a moving mean would count a late prediction as jitter.  None if no face stays that long.
    """
    weights = _high_pass(max(5, 2 * int(JITTER_WINDOW_S * rate / 2) + 1))
    if len(error) < len(weights):
        return None
    return rms_distance(sliding_window_view(error, len(weights), axis=0) @ weights)


def lag_ms(points: Array, to_head: Array) -> float | None:
    """The lag of the points (T, K, 2), frame px: the delay at which they move least, seen from the head as it was then.

    This is the shift of the truth that fits the points best by least squares; constant errors of a point do not count.
    None if the head does not move.  `to_head` (D, T, 2, 3) as in `Recording`, which also limits the lags.
    """
    seen = ~np.isnan(points[:, 0, 0])
    if not seen.any() or np.array_equal(to_head[0], to_head[-1]):
        return None
    unrest = mapped(points[seen], to_head[:, seen]).var(axis=1).sum(axis=(1, 2))
    best = int(np.clip(unrest.argmin(), 1, len(DELAYS_S) - 2))
    before, at, after = unrest[best - 1 : best + 2]
    step = DELAYS_S[1] - DELAYS_S[0]
    return 1000 * float(DELAYS_S[best] + step * (before - after) / (2 * (before - 2 * at + after)))


def pose(points: Array, reference: Array, iod_px: float) -> Array:
    """(T, 4): the similarity that fits `reference` (K, 2), head space, to `points` (T, K, 2), frame px, best.

    The centroid's x and y in `iod_px`, the natural logarithm of the scale, the roll in rad: equal steps of each move
    the points of a face about equally far.
    """
    seen, shape = points @ (1, 1j), reference @ (1, 1j)
    shape -= shape.mean()
    centroid = seen.mean(axis=1) / iod_px
    half = seen @ shape.conj() / np.sum(np.abs(shape) ** 2)
    return np.column_stack([centroid.real, centroid.imag, np.log(np.abs(half)), np.angle(half)])


def overshoot_pct(pose: Array, truth: Array, rate: float) -> float | None:
    """How far `pose` goes beyond the turning points of the true pose (T, 4), mean, % of the motion's amplitude.

    The furthest point within `TURN_WINDOW_S` counts, so that lag has no effect.  Negative: it falls short.
    """
    reach = round(TURN_WINDOW_S * rate)
    beyond = []
    for seen, true in zip(pose.T, truth.T, strict=True):
        amplitude = np.ptp(true) / 2
        if amplitude < LEAST_AMPLITUDE:
            continue
        for turn in _turning_points(true, reach):
            outward = np.sign(true[turn] - true[turn - 1])
            around = outward * seen[turn - reach : turn + reach + 1]
            if not np.isnan(around).any():
                beyond.append(100 * (around.max() - outward * true[turn]) / amplitude)
    return float(np.mean(beyond)) if beyond else None


def film_jitter(tracked: Sequence[Tracked]) -> float | None:
    """RMS distance of the high-passed keypoints, % of each face's mean IOD; None if no face stays long enough."""
    if len(tracked) < 2:
        return None
    rate = (len(tracked) - 1) / (tracked[-1].frame.timestamp - tracked[0].frame.timestamp)
    faces: dict[int, Array] = {}
    for row, each in enumerate(tracked):
        for face, keypoints in zip(each.faces, each.keypoints, strict=True):
            faces.setdefault(face.id, np.full((len(tracked), *keypoints.shape), np.nan))[row] = keypoints
    in_iod = [100 * points / np.nanmean(interocular(points)) for points in faces.values()]
    return jitter(np.concatenate(in_iod, axis=1), rate) if in_iod else None


def interocular(keypoints: Array) -> Array:
    """(..., 15, 2) -> (...): the distance between the eye centres."""
    across: Array = np.subtract(*np.moveaxis(keypoints[..., EYES, :], -2, 0))
    return np.hypot(across[..., 0], across[..., 1])


def mapped(points: Array, matrices: Array) -> Array:
    """(T, K, 2) or (K, 2) points through (..., T, 2, 3) affine maps: (..., T, K, 2)."""
    return points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2]


def _inverse(matrices: Array) -> Array:
    """(..., 2, 3) affine maps -> their inverses."""
    turn = np.linalg.inv(matrices[..., :2])
    return np.concatenate([turn, -turn @ matrices[..., 2:]], axis=-1)


def _high_pass(frames: int) -> Array:
    """(frames,): weights of norm 1 for the middle frame minus a fitted parabola."""
    offsets = np.arange(frames) - frames // 2
    explained = np.vander(offsets, 3) @ np.linalg.pinv(np.vander(offsets, 3))
    weights: Array = np.eye(frames)[frames // 2] - explained[frames // 2]
    return weights / np.linalg.norm(weights)


def _turning_points(signal: Array, reach: int) -> NDArray[np.intp]:
    """Frames where (T,) turns back, except those within `reach` of either end."""
    steps = np.diff(signal)
    turns = np.flatnonzero((steps[:-1] != 0) & (steps[:-1] * steps[1:] <= 0)) + 1
    return turns[(turns >= reach) & (turns < len(signal) - reach)]


def _without_image(tracked: Tracked) -> Tracked:
    """Drops the image: a minute of frames is 1.6 GB."""
    return replace(tracked, frame=replace(tracked.frame, image=NO_IMAGE))


def print_report(results: dict[str, Any]) -> None:
    """Print tables on stdout: `asdict(Report)`, or a film's jitter as `film_jitter_pct_iod`."""
    console = Console()
    if "film_jitter_pct_iod" in results:
        table = Table("smoothing", "jitter %")
        for name, jitter_pct in results["film_jitter_pct_iod"].items():
            table.add_row(name, _cell(jitter_pct))
        console.print(table, "% of the interocular distance")
        return
    table = Table("path", "smoothing", "jitter %", "lag ms", "overshoot %", "error %", "lost frames")
    for path, variants in results["paths"].items():
        for name, row in variants.items():
            table.add_row(path, name, *map(_cell, row.values()))
    curve = Table("surprise", "min cutoff Hz", "beta", "jitter % (still)", "lag ms (longest)", "error % (moving)")
    for row in results["trade_off"]:
        curve.add_row(*map(_cell, row.values()))
    console.print(
        table, curve, "jitter and error in % of the interocular distance, overshoot of the motion's amplitude"
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
