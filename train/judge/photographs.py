"""Judges the whole tracker on faces with 68 landmarks: detector, crop and network together, ours or another's.

In: pictures with one annotated face each (`Crops68`).  Out: errors in % of the distance between the outer eye corners,
or, for faces that turn until those corners coincide, in % of the size of the face's box, by yaw and roll.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.backends.choice import open_backend
from tracker.backends.weights import load
from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.smoothing import unsmoothed
from tracker.detectors.registry import open_detector
from tracker.errors import DataError
from tracker.geometry import region_from_keypoints
from tracker.spec import INDEX
from tracker.types import Frame, Points
from train.data.faces68 import HUMAN, IBUG, Crops68, keypoints_from_68, seen_from_68
from train.data.lids import own_ratios, signals_of
from train.learn.signals_fit import reported

Look = Callable[[Frame], NDArray[np.float32]]
"""A picture -> the keypoints of the faces in it, (N, 15, 2) frame px, whatever pictures came before."""

YAW_DEG, ROLL_DEG = (0, 30, 45, 60, 75, 180), (0, 10, 20, 30, 180)
"""Borders of the bins."""
LOST_PERCENT, BEYOND_PERCENT = 60.0, 10.0
"""Of the box's size: further off, a face was not found; and was found, but badly."""

FOUND_SIDES = 0.15
"""Mean error of the points, sides of the face's region, up to which a face counts as found."""
FAR_OFF_PERCENT = 50.0
"""A face whose nearest prediction is further off than this was not found."""


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

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces turned by `from_deg` to `to_deg`, to either side."""

    from_deg: float
    to_deg: float
    faces: int
    missed: int
    error_percent: float | None
    """Mean over the faces found of their mean error over the points that people labelled, % of sqrt(width x height) of
    the box around the 15 points; None where none was found."""
    beyond_10_percent: float | None
    """Share of the faces found whose error is larger than 10, in %."""


@dataclass(frozen=True, slots=True)
class Turned:
    """How the error grows as heads turn."""

    faces: int
    by_yaw: tuple[Bin, ...]
    by_roll: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`."""
        return asdict(self)


def ours(weights: Path | None = None) -> Look:
    """Our own tracker without its memory.  Raises WeightsError."""
    detect, locate = open_detector("yunet"), Locate(open_backend("cpu", load(weights)))
    return lambda frame: next(track([frame], detect, EachAlone(), locate, unsmoothed)).keypoints


def ours_in_tracking(weights: Path | None = None, looks: int = 6) -> Look:
    """Our own tracker as it sees a face some frames later: in the crop that its own points asked for each time."""
    answer = answers_in_tracking(weights, looks)
    return lambda frame: answer(frame).keypoints


def answers_in_tracking(weights: Path | None = None, looks: int = 6) -> Callable[[Frame], Points]:
    """The same with all that the network says, its signals too."""
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


def judge_signals(crops: Crops68, answer: Callable[[Frame], Points]) -> dict[str, Any] | None:
    """Look at every picture on its own; judge the signals of the faces found by the lids and lips that were labelled.

    None where the network tells no signals.
    """
    told, truth = [], []
    for i, points in enumerate(keypoints_from_68(crops.landmarks, "A")):
        seen = answer(Frame(cv2.cvtColor(crops.images[i], cv2.COLOR_GRAY2BGR), 0, 0.0))
        off_px = np.linalg.norm(seen.keypoints - points, axis=2).mean(1)
        if seen.signals is not None and (off_px < FOUND_SIDES * region_from_keypoints(points).side).any():
            told.append(seen.signals[np.argmin(off_px)])
            truth.append(i)
    if not told:
        return None
    values, sigma = np.hsplit(np.array(told), 2)
    landmarks = crops.landmarks[truth]
    sides_px = np.array([region_from_keypoints(points).side for points in keypoints_from_68(landmarks, "A")])
    return reported(values, sigma, signals_of(landmarks, sides_px), own_ratios(landmarks))


def judge_turned(crops: Crops68, look: Look) -> Turned:
    """Look at every picture on its own; judge the points that people labelled by what scheme A would have labelled.

    Raises DataError when the table says nothing of what is visible, or nothing was labelled by people.
    """
    if crops.seen is None or crops.yaw is None:
        raise DataError("the table has no columns visible and yaw; they are needed to judge turned faces")
    truth, human = keypoints_from_68(crops.landmarks, "A"), seen_from_68(crops.seen) == HUMAN
    judged = np.isfinite(truth).all((1, 2)) & human.any(1)
    if not judged.any():
        raise DataError(f"none of these {len(truth)} faces was labelled by people")
    errors = np.array(
        [
            _turned_error(look(Frame(cv2.cvtColor(crops.images[i], cv2.COLOR_GRAY2BGR), 0, 0.0)), truth[i], human[i])
            for i in np.flatnonzero(judged)
        ]
    )
    roll = np.degrees([region_from_keypoints(points).roll for points in truth[judged]])
    return Turned(
        len(errors),
        tuple(_binned(errors, np.abs(crops.yaw[judged]), YAW_DEG)),
        tuple(_binned(errors, np.abs(roll), ROLL_DEG)),
    )


def _turned_error(predictions: NDArray[np.float32], truth: NDArray[np.float32], human: NDArray[np.bool_]) -> float:
    """The nearest prediction's mean error over the points that people labelled, % of the box's size; NaN for none."""
    size = math.sqrt(float(np.prod(truth.max(0) - truth.min(0))))
    off = 100 * np.linalg.norm(predictions - truth, axis=2)[:, human].mean(1) / size
    return float(off.min()) if off.size and off.min() < LOST_PERCENT else math.nan


def _binned(errors: NDArray[np.float64], degrees: NDArray[np.floating], edges: Sequence[float]) -> Iterator[Bin]:
    """`errors` (N,) NaN where a face was not found, by their `degrees` (N,); bins without a face are left out."""
    for low, high in pairwise(edges):
        within = errors[(degrees >= low) & (degrees < high)]
        found = within[np.isfinite(within)]
        if len(within):
            mean = float(found.mean()) if len(found) else None
            beyond = round(100 * float((found > BEYOND_PERCENT).mean()), 2) if len(found) else None
            yield Bin(low, high, len(within), len(within) - len(found), mean, beyond)


def judge_end_to_end(crops: Crops68, look: Look) -> Wild:
    """Look at every picture on its own and compare with what scheme A would have labelled.

    Raises DataError when no face is found.
    """
    truth = keypoints_from_68(crops.landmarks, "A")
    ibug = truth.copy()
    ibug[:, SHARED] = crops.landmarks[:, SHARED_IBUG]
    errors, errors_13 = [], []
    for image, points, landmarks in zip(crops.images, truth, ibug, strict=True):
        predictions = look(Frame(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 0, 0.0))
        found = _errors(predictions, points)
        if found and _size(found[0]) < FAR_OFF_PERCENT:
            errors.append(found[0])
            errors_13.append(_errors(predictions, landmarks)[0][SHARED])
    if not errors:
        raise DataError(
            f"none of the {len(truth)} annotated faces was found; is every picture a face with its landmarks?"
        )
    freed, freed_13 = ([_size(x) for x in np.array(each) - np.median(each, axis=0)] for each in (errors, errors_13))
    return Wild(
        faces=len(truth),
        missed=len(truth) - len(errors),
        error_percent=float(np.mean([_size(error) for error in errors])),
        error_without_offsets_percent=float(np.mean(freed)),
        median_without_offsets_percent=float(np.median(freed)),
        nme_13_percent=float(np.mean([_size(error) for error in errors_13])),
        nme_13_without_offsets_percent=float(np.mean(freed_13)),
    )


def _errors(predictions: NDArray[np.float32], truth: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Predictions (N, 15, 2) and truth (15, 2), px -> N errors (15, 2), smallest first.

    In % of the distance between the outer eye corners, along and across the line through them.
    """
    outer = truth[INDEX["left_eye_outer_corner"]] - truth[INDEX["right_eye_outer_corner"]]
    along_across = np.array([[outer[0], -outer[1]], [outer[1], outer[0]]]) / float(outer @ outer)
    return sorted((100 * (points - truth) @ along_across for points in predictions), key=_size)


def _size(error: NDArray[np.float64]) -> float:
    """Mean distance of the points."""
    return float(np.linalg.norm(error, axis=1).mean())
