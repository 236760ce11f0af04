"""Judges the whole tracker on faces with 68 landmarks: detector, crop and network together, ours or another's.

In: pictures with one annotated face each (`Crops68`).  Out: errors in % of the distance between the outer eye corners.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.backends.registry import open_backend
from tracker.backends.weights import load
from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.smoothing import unsmoothed
from tracker.detectors.registry import open_detector
from tracker.errors import DataError
from tracker.spec import INDEX
from tracker.types import Frame
from train.data.faces68 import Crops68, keypoints_from_68

Look = Callable[[Frame], NDArray[np.float32]]
"""A picture -> the keypoints of the faces in it, (N, 15, 2) frame px, whatever pictures came before."""

FAR_OFF_PERCENT = 50.0
"""A face whose nearest prediction is further off than this was not found."""


@dataclass(frozen=True, slots=True)
class Wild:
    """Mean errors of the 15 points (scheme A) over the faces found, % of the outer-eye distance."""

    faces: int
    missed: int
    error_percent: float
    """As measured."""
    error_without_offsets_percent: float
    """After each point's median offset, by which two conventions of labelling differ, is taken off."""
    median_without_offsets_percent: float
    """Of the faces' means."""

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`."""
        return asdict(self)


def ours(weights: Path | None = None) -> Look:
    """Our own tracker without its memory.  Raises WeightsError."""
    detect, locate = open_detector("yunet"), Locate(open_backend("cpu", load(weights)))
    return lambda frame: next(track([frame], detect, EachAlone(), locate, unsmoothed)).keypoints


def judge_end_to_end(crops: Crops68, look: Look) -> Wild:
    """Look at every picture on its own and compare with what scheme A would have labelled.

    Raises DataError when no face is found.
    """
    truth = keypoints_from_68(crops.landmarks, "A")
    errors = []
    for image, points in zip(crops.images, truth, strict=True):
        predictions = look(Frame(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 0, 0.0))
        errors += [error for error in _errors(predictions, points) if _size(error) < FAR_OFF_PERCENT][:1]
    if not errors:
        raise DataError(
            f"none of the {len(truth)} annotated faces was found; is every picture a face with its landmarks?"
        )
    freed = [_size(error) for error in np.array(errors) - np.median(errors, axis=0)]
    return Wild(
        faces=len(truth),
        missed=len(truth) - len(errors),
        error_percent=float(np.mean([_size(error) for error in errors])),
        error_without_offsets_percent=float(np.mean(freed)),
        median_without_offsets_percent=float(np.median(freed)),
    )


def _errors(predictions: NDArray[np.float32], truth: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Predictions (N, 15, 2) and truth (15, 2), px -> N errors (15, 2), smallest first.

    In % of the distance between the outer eye corners, along and across the line through them.
    """
    outer = truth[INDEX["left_eye_outer_corner"]] - truth[INDEX["right_eye_outer_corner"]]
    along_across = np.array([[outer[0], -outer[1]], [outer[1], outer[0]]]) / float(outer @ outer)
    return sorted((100 * (points - truth) @ along_across for points in predictions), key=_size)


def _size(error: NDArray[np.float64]) -> float:
    """Mean distance of the 15 points."""
    return float(np.linalg.norm(error, axis=1).mean())
