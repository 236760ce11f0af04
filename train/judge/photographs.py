"""Judges the whole tracker on faces with 68 landmarks: detector, crop and network together, ours or another's.

In: pictures with one annotated face each (`Crops68`).  Out: errors in % of the distance between the outer eye corners,
or, for faces that turn until those corners coincide, in % of the size of the face's box, by yaw and roll.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.backends.choice import open_backend
from tracker.backends.weights import load
from tracker.bench.mediapipe_baseline import Peer
from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.smoothing import unsmoothed
from tracker.detectors.registry import open_detector
from tracker.errors import DataError
from tracker.geometry import region_from_keypoints
from tracker.spec import INDEX
from tracker.types import Frame, Points
from train.data.faces68 import HIDDEN, HUMAN, IBUG, Crops68, keypoints_from_68, seen_from_68
from train.data.lids import own_ratios, signals_of
from train.learn.signals_fit import reported
from train.metrics import WITHIN, json_ready

Look = Callable[[Frame], Points]
"""A picture -> the keypoints of the faces in it, whatever pictures came before."""

IN_TRACKING = 6
"""So many looks at a face, as in a film: its crop has settled by then."""
YAW_DEG, ROLL_DEG = (0, 30, 45, 60, 75, 180), (0, 10, 20, 30, 180)
"""Borders of the bins."""
LOST_PERCENT, BEYOND_PERCENT = 60.0, 10.0
"""Of the box's size: with a larger error than the first a face was not found, than the second it was found badly."""

EYE_CORNERS = [INDEX["left_eye_outer_corner"], INDEX["right_eye_outer_corner"]]
SHARED = np.array([INDEX[name] for name in IBUG])
SHARED_IBUG = tuple(IBUG.values())
"""The 13 of our keypoints that are iBUG points too, all but the two eye centres, and which those are."""


@dataclass(frozen=True, slots=True)
class Wild:
    """Mean errors over the faces found, % of the outer-eye distance: of the 15 points as scheme A labels them, and of
    the 13 points that are iBUG's too as iBUG labels them, which is the NME of publications, but of 13 points of 68."""

    faces: int
    missed: int
    error_percent: float
    """As measured."""
    error_without_offsets_percent: float
    """After each point's median offset, by which two conventions of labelling differ, is taken off."""
    median_without_offsets_percent: float
    """Of the faces' means."""
    nme_13_percent: float
    """Against iBUG's landmarks as they are; Kaggle's convention lies a little inward of theirs."""
    nme_13_without_offsets_percent: float
    ibug_points: tuple[int, ...] = SHARED_IBUG
    """The 13 of the 68 points, counted from 0."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces turned by `from_deg` to `to_deg`, to either side."""

    from_deg: float
    to_deg: float
    faces: int
    missed: int
    error_percent: float | None
    """Mean over the faces found of their mean error over the points that people labelled, % of sqrt(width x height) of
    the box around the 15 points; None if none was found."""
    beyond_10_percent: float | None
    """Share of the faces found whose error is larger than 10, in %."""


@dataclass(frozen=True, slots=True)
class Turned:
    """How the error grows as heads turn."""

    faces: int
    by_yaw: tuple[Bin, ...]
    by_roll: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a tracker says of the annotated faces of N pictures, each looked at on its own."""

    truth: NDArray[np.float32]
    """(N, 15, 2) what scheme A would have labelled, px of each picture."""
    seen: NDArray[np.uint8]
    """(N, 15) of `HIDDEN`, `MACHINE`, `HUMAN`."""
    crops: Crops68
    keypoints: NDArray[np.float32]
    """(N, 15, 2) px, NaN where the face was not found."""
    sigma: NDArray[np.float32]
    """(N, 15) px, NaN where unknown."""
    signals: NDArray[np.float32]
    """(N, 6), NaN where unknown."""


def ours(weights: Path | None = None, looks: int = 2) -> Look:
    """Our own tracker without its memory, after `looks` looks at each face, each in the crop that the points of the one
    before ask for.  Raises WeightsError."""
    detect, locate = open_detector("yunet"), Locate(open_backend("cpu", load(weights)))

    def look(frame: Frame) -> Points:
        tracked = next(track([frame], detect, EachAlone(), locate, unsmoothed))
        faces, points = tracked.faces, Points(tracked.keypoints, tracked.sigma)
        for _ in range(looks - 2):  # a fresh face was looked at twice
            regions = [region_from_keypoints(each) for each in points.keypoints]
            faces = tuple(replace(face, region=at, fresh=False) for face, at in zip(faces, regions, strict=True))
            points = locate(frame.image, faces)
        return points

    return look


def theirs(peer: Peer) -> Look:
    """Another tracker, which tells no sigma."""

    def look(frame: Frame) -> Points:
        keypoints = peer(frame)
        return Points(keypoints, np.full(keypoints.shape[:2], np.nan, np.float32))

    return look


def judged(crops: Crops68, weights: Path | None, peer: Peer | None) -> dict[str, Any]:
    """All figures of weights, and of a peer, on faces with 68 landmarks, as JSON: by yaw and roll, after as many looks
    as in tracking, if their table says how they are turned.

    Raises WeightsError, and DataError when these faces cannot judge.
    """
    turned = crops.seen is not None
    judge: Callable[[Answers], Turned | Wild] = judge_turned if turned else judge_end_to_end
    tracked = answers(crops, ours(weights, IN_TRACKING))
    result = asdict(judge(tracked if turned else answers(crops, ours(weights))))
    result["within_sigma"] = within_sigma(tracked)
    if not turned and (told := judge_signals(tracked)):
        result["signals"] = json_ready(told)
    if peer:
        result["peer"] = {"name": peer.name} | asdict(judge(answers(crops, theirs(peer))))
    return result


def answers(crops: Crops68, look: Look) -> Answers:
    """Look at every picture that people labelled, for the face nearest to the annotated one.

    Raises DataError when people labelled nothing.
    """
    truth, seen = keypoints_from_68(crops.landmarks, "A"), seen_from_68(crops.placed_by)
    judged = np.isfinite(truth).all((1, 2)) & (seen == HUMAN).any(1)
    if not judged.any():
        raise DataError(f"people labelled none of these {len(truth)} faces, so nothing can judge them")
    crops, truth, seen = crops.only(judged), truth[judged], seen[judged]
    told = [
        _nearest(look(Frame(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 0, 0.0)), points, by == HUMAN)
        for image, points, by in zip(crops.images, truth, seen, strict=True)
    ]
    keypoints, sigma, signals = (np.array(parts, np.float32) for parts in zip(*told, strict=True))
    return Answers(truth, seen, crops, keypoints, sigma, signals)


def _nearest(points: Points, truth: NDArray[np.float32], human: NDArray[np.bool_]) -> tuple[NDArray[np.floating], ...]:
    """Keypoints (15, 2), sigma (15,) and signals (6,) of the face nearest to the annotated one; NaN if it is lost."""
    off = 100 * np.linalg.norm(points.keypoints - truth, axis=2)[:, human].mean(1) / _box_size(truth)
    if not off.size or off.min() > LOST_PERCENT:
        return np.full((15, 2), np.nan), np.full(15, np.nan), np.full(6, np.nan)
    i = off.argmin()
    return points.keypoints[i], points.sigma[i], np.full(6, np.nan) if points.signals is None else points.signals[i]


def _box_size(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """(..., 15, 2) -> (...,) sqrt(width x height) of the box around a face's points."""
    return np.asarray(np.sqrt(np.ptp(points, axis=-2).prod(-1)))


def judge_signals(told: Answers) -> dict[str, Any] | None:
    """How well signals agree with the lids and lips that were labelled; None if the network tells no signals."""
    known = np.isfinite(told.signals).all(1)
    if not known.any():
        return None
    values, sigma = np.hsplit(told.signals[known], 2)
    landmarks = told.crops.landmarks[known]
    sides_px = np.array([region_from_keypoints(points).side for points in told.truth[known]])
    return reported(values, sigma, signals_of(landmarks, sides_px), own_ratios(landmarks))


def within_sigma(told: Answers) -> dict[str, list[float]]:
    """Shares of the coordinates whose error is at most 1 and 2 sigma, of faces found.

    Of the points that people labelled; of the same without each point's median offset, by which two conventions of
    labelling differ; and of the points that were hidden to people.
    """
    error = told.keypoints - told.truth
    kinds = {"labelled": (told.seen == HUMAN, error), "hidden": (told.seen == HIDDEN, error)}
    size = _box_size(told.truth)[:, None, None]
    share = error / size
    unlabelled = np.broadcast_to((told.seen != HUMAN)[..., None], share.shape) | np.isnan(share)
    median = np.ma.median(np.ma.array(share, mask=unlabelled), axis=0).filled(0)  # type: ignore[no-untyped-call]
    kinds["labelled_without_offsets"] = (told.seen == HUMAN, (share - median) * size)
    ratios = {name: (np.abs(off) / told.sigma[..., None])[which] for name, (which, off) in kinds.items()}
    known = {name: ratio[np.isfinite(ratio)] for name, ratio in ratios.items()}
    return {name: [round(float((r <= k).mean()), 4) for k in WITHIN] for name, r in known.items() if len(r)}


def judge_turned(told: Answers) -> Turned:
    """Judge the points that people labelled.  Raises DataError when the table does not say how the heads are turned."""
    yaw = told.crops.yaw
    if told.crops.seen is None or yaw is None:
        raise DataError("the table has no columns visible and yaw; they are needed to judge turned faces")
    roll = np.degrees([region_from_keypoints(points).roll for points in told.truth])
    off = np.linalg.norm(told.keypoints - told.truth, axis=2)
    errors = 100 * np.mean(off, axis=1, where=told.seen == HUMAN) / _box_size(told.truth)
    by_yaw, by_roll = _binned(errors, np.abs(yaw), YAW_DEG), _binned(errors, np.abs(roll), ROLL_DEG)
    return Turned(len(errors), tuple(by_yaw), tuple(by_roll))


def _binned(errors: NDArray[np.floating], degrees: NDArray[np.floating], edges: Sequence[float]) -> Iterator[Bin]:
    """`errors` (N,) NaN if a face was not found, by their `degrees` (N,); bins without a face are left out."""
    for low, high in pairwise(edges):
        within = errors[(degrees >= low) & (degrees < high)]
        found = within[np.isfinite(within)]
        if len(within):
            mean = float(found.mean()) if len(found) else None
            beyond = round(100 * float((found > BEYOND_PERCENT).mean()), 2) if len(found) else None
            yield Bin(low, high, len(within), len(within) - len(found), mean, beyond)


def judge_end_to_end(told: Answers) -> Wild:
    """Compare with what scheme A would have labelled, and with iBUG's labels.  Raises DataError if no face is found."""
    found = np.asarray(np.isfinite(told.keypoints).all((1, 2)))
    if not found.any():
        raise DataError(
            f"none of the {len(found)} annotated faces was found; is every picture a face with its landmarks?"
        )
    predicted, truth, names = told.keypoints[found], told.truth[found], list(compress(told.crops.names, found))
    eyes = np.ptp(truth[:, EYE_CORNERS], axis=1).max(1)
    if eyes.min() < 1:
        raise DataError(f"{names[eyes.argmin()]}: both eyes end at one place; correct that face, or leave it out")
    ibug = truth.copy()
    ibug[:, SHARED] = told.crops.landmarks[found][:, SHARED_IBUG]
    errors, errors_13 = _errors(predicted, truth), _errors(predicted, ibug)[:, SHARED]
    freed, freed_13 = (_sizes(each - np.median(each, axis=0)) for each in (errors, errors_13))
    return Wild(
        faces=len(found),
        missed=int((~found).sum()),
        error_percent=float(np.mean(_sizes(errors))),
        error_without_offsets_percent=float(np.mean(freed)),
        median_without_offsets_percent=float(np.median(freed)),
        nme_13_percent=float(np.mean(_sizes(errors_13))),
        nme_13_without_offsets_percent=float(np.mean(freed_13)),
    )


def _errors(predicted: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Predictions and labels (N, 15, 2) px -> errors (N, 15, 2).

    In % of the distance between the outer eye corners, along and across the line through them.
    """
    x, y = (labels[:, EYE_CORNERS[0]] - labels[:, EYE_CORNERS[1]]).astype(np.float64).T
    along_across = np.array([[x, -y], [y, x]]).transpose(2, 0, 1) / (x**2 + y**2)[:, None, None]
    return np.asarray(100 * (predicted - labels) @ along_across)


def _sizes(errors: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N,) mean distance of the points."""
    return np.asarray(np.linalg.norm(errors, axis=2).mean(1))
