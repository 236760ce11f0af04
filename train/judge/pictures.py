"""Refuses labels of other pictures: shuffled rows, or pictures that were mirrored or turned since they were labelled.

In: faces and their labels.  Out: nothing, or one DataError that says where they stand.

Such labels look right, and weights that learn from them put the same points into every picture.  The weights that ship
tell faces apart: their error varies by 1 to 2 px, under noise and blur by 3, but by 4 to 14 if pictures are others.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.backends.weights import load
from tracker.errors import DataError
from tracker.geometry import cut, region_from_keypoints, unit_from_frame
from tracker.spec import KEYPOINTS, crop_from_unit
from train.data.faces68 import Crops68, keypoints_from_68
from train.data.kaggle import Faces
from train.judge.evaluate import asking, judged
from train.learn.model import SHOWN

LOOKED_AT = 300
"""Faces, spread over all."""
FEWEST = 20
"""Faces below which chance decides."""
FAR_PX = 3.0
"""An error that varies less is never refused: if all faces are alike, one mean face is nearer than any network."""


def refuse_others_labels(faces: Faces, path: Path) -> None:
    """Raises DataError if labels read from `path` do not follow their pictures."""
    looked_at = _spread(faces.labelled)
    if looked_at.sum() < FEWEST:
        return
    chosen = faces.only(looked_at)
    told = judged(chosen, asking(load(None))(chosen.images))
    _refuse(told.predicted, chosen.points, [f"{path}, line {row + 2}" for row in np.flatnonzero(looked_at)])


def refuse_others_landmarks(crops: Crops68, path: Path) -> None:
    """The same for faces with 68 landmarks."""
    points = keypoints_from_68(crops.landmarks)
    looked_at = _spread(np.asarray(np.isfinite(points).all((1, 2))))
    if looked_at.sum() < FEWEST:
        return
    chosen, points = crops.only(looked_at), points[looked_at]
    regions = [region_from_keypoints(each) for each in points]
    images = [cut(image, [region])[0, 0] for image, region in zip(chosen.images, regions, strict=True)]
    labels = [unit_from_frame(each, region) for each, region in zip(points, regions, strict=True)]
    seen = asking(load(None))(np.array(images))[0][:, SHOWN]
    _refuse(crop_from_unit(seen), crop_from_unit(np.array(labels)), [f"{path}: {name}" for name in chosen.names])


def _spread(usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) which of the `usable` (N,) are looked at."""
    rows = np.flatnonzero(usable)
    chosen = np.zeros_like(usable)
    chosen[rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)]] = True
    return chosen


def _refuse(seen: NDArray[np.floating], points: NDArray[np.floating], places: Sequence[str]) -> None:
    """`seen` and `points` (N, 15, 2) crop px, NaN where unlabelled.

    Constant offsets of a keypoint are left out, because by those conventions of labelling differ.
    """
    labels = np.ma.masked_invalid(points)
    off = seen - labels
    off -= off.mean(0)
    error, of_mean = (np.sqrt((each**2).mean()) for each in (off, labels - labels.mean(0)))
    if error > max(FAR_PX, of_mean):
        distance = np.ma.hypot(off[..., 0], off[..., 1]).filled(0)
        i, keypoint = np.unravel_index(distance.argmax(), distance.shape)
        (x, y), (u, v) = points[i, keypoint], seen[i, keypoint]
        raise DataError(
            f"{places[i]}: {KEYPOINTS[keypoint]} is labelled at ({x:.0f}, {y:.0f}) px of the face's crop, but seen "
            f"near ({u:.0f}, {v:.0f}); over {len(places)} faces, labels are {error:.1f} px off what their pictures "
            f"show, and one mean face for all would be {of_mean:.1f} px off; do labels and pictures belong together, "
            "or were the pictures mirrored or turned since?"
        )
