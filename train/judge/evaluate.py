"""Judges weights by labelled faces, and predicts Kaggle's test set.

In: crops (N, 96, 96) uint8 and the folder of weights.  Out: labels as each scheme's labellers would have written them
(crop px), and a `Report`.  Runs in ONNX Runtime, so that it judges exactly the network that ships.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.backends.onnxruntime import open_session
from tracker.backends.weights import Weights, load
from tracker.errors import DataError
from tracker.geometry import cut, frame_from_units, region_from_keypoints, unit_from_frame
from tracker.spec import SIZE
from tracker.types import Region
from train.data.kaggle import Faces
from train.export.onnx import schemes_of
from train.learn.model import SHOWN
from train.learn.targets import read_by_scheme
from train.metrics import Report, report

log = logging.getLogger(__name__)

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""All schemes' points (N, 34, 2) and sigma (N, 34), unit space."""
Ask = Callable[[NDArray[np.uint8]], Outputs]
"""Crops (N, 96, 96) uint8 -> outputs."""

WHOLE = Region((SIZE - 1) / 2, (SIZE - 1) / 2, SIZE, 0.0)
"""The region that a Kaggle picture shows, in px of the picture."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What a network says of labelled faces."""

    faces: Faces
    """N of them."""
    predicted: NDArray[np.float32]
    """(N, 15, 2) crop px, what a labeller of each face's scheme would have written; NaN where that scheme has none."""
    sigma: NDArray[np.float32]
    """(N, 15) crop px."""

    @cached_property
    def report(self) -> Report:
        return report(self.predicted, self.faces.points, self.faces.scheme, self.sigma)

    @cached_property
    def distance_px(self) -> NDArray[np.floating]:
        """(N, 15) from label to prediction, NaN where unlabelled."""
        return np.linalg.norm(self.predicted - self.faces.points, axis=2)


def judged(faces: Faces, answers: Outputs) -> Judged:
    """A network's outputs for `faces`, each read by its own scheme."""
    return Judged(faces, *read_by_scheme(*answers, faces.scheme))


def judged_twice(faces: Faces, ask: Ask) -> tuple[Report, Report]:
    """The outputs for `faces`, and those after a second look."""
    first = ask(faces.images)
    return judged(faces, first).report, judged(faces, second_look(faces.images, first, ask)).report


def evaluate(faces: Faces, weights: Path | None = None) -> tuple[Report, Report]:
    """Judge weights (a folder, its fkp.onnx, or None for our own) by all `faces` that can judge.

    Each row is read by its own scheme's outputs, once and then with a second look.  Raises DataError and WeightsError.
    """
    return judged_twice(judges(faces), asking(load(weights)))


def judges(faces: Faces) -> Faces:
    """Those that are labelled and not known to be bad.  Raises DataError if there are none."""
    chosen = faces.labelled & ~faces.problem
    if not chosen.any():
        raise DataError(
            f"no face of {faces.name} can judge: of {len(faces.row)} chosen, none is both labelled and not known to be "
            "bad; give more of the data"
        )
    return faces.only(chosen)


def held_out(faces: Faces, weights: Weights) -> NDArray[np.bool_]:
    """(N,) which of `faces` `fkp-train` does not train on; a warning says if `weights` were trained on others."""
    if not is_own_data(weights, faces):
        log.warning(
            "%s did not train on %s, or not with this index: it may have learned from some of these rows",
            weights.path,
            faces.name,
        )
    return faces.held


def is_own_data(weights: Weights, faces: Faces) -> bool:
    """Whether the card names these faces, dealt like this, as what the weights were trained on.

    Another file, or the same with another index, is dealt into another hold-out, some of whose rows the weights may
    have learned from.
    """
    data = weights.noted("training", "data")
    if data.get("sha256_of_csv") != faces.sha256:
        return False
    return "sha256_of_hold_out" not in data or data["sha256_of_hold_out"] == hold_out_sha256(faces)


def hold_out_sha256(faces: Faces) -> str:
    """Tells one hold-out of a file from another."""
    return hashlib.sha256(np.packbits(faces.held).tobytes()).hexdigest()


def predicted_labels(
    images: NDArray[np.uint8], scheme: NDArray[np.uint8], weights: Path | None = None
) -> NDArray[np.float32]:
    """What labellers of `scheme` (N,) would write for each of the crops (N, 96, 96): (N, 15, 2) crop px.

    Each is looked at twice.  NaN for keypoints which that scheme does not label.  Raises WeightsError.
    """
    ask = asking(load(weights))
    return read_by_scheme(*second_look(images, ask(images), ask), scheme)[0]


def second_look(images: NDArray[np.uint8], first: Outputs, ask: Ask) -> Outputs:
    """What the network says of whole pictures (N, 96, 96), averaged with what it says of the crops that those points
    ask for; each answer counts by the inverse of its variance.

    Kaggle's squares scatter around their faces by 7 % of the side; trackers cut the crop that the network knows best.
    """
    if not len(images):
        return first
    points, sigma = first
    regions = [region_from_keypoints(each) for each in frame_from_units(points[:, SHOWN], [WHOLE] * len(images))]
    crops = [cut(image, [region])[0, 0] for image, region in zip(images, regions, strict=True)]
    again, doubt = ask(np.array(crops))
    again = unit_from_frame(frame_from_units(again, regions), WHOLE)
    doubt = doubt * np.array([[region.side / WHOLE.side] for region in regions], np.float32)
    share = doubt**2 / (sigma**2 + doubt**2)
    return points * share[..., None] + again * (1 - share[..., None]), sigma * share + doubt * (1 - share)


def asking(weights: Weights, batch: int = 64) -> Ask:
    """Opens the network with every scheme's outputs."""
    session = open_session(*schemes_of(weights), threads=0)

    def ask(images: NDArray[np.uint8]) -> Outputs:
        parts = [
            session.run(["points", "sigma"], {"faces": images[start : start + batch, None]})
            for start in range(0, len(images), batch)
        ]
        points, sigma = (np.concatenate(part) for part in zip(*parts, strict=True))
        return points, sigma

    return ask
