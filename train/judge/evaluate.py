"""Judges weights by labelled faces, and predicts Kaggle's test set.

In: crops (N, 96, 96) uint8 and the folder of weights.  Out: labels as each scheme's labellers would have written them
(crop px), and a `Report`.  Runs in ONNX Runtime, so that what is judged is what ships.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.onnxruntime import open_session
from tracker.backends.weights import Weights, load
from tracker.errors import DataError, WeightsError
from tracker.spec import KEYPOINTS
from train.data.kaggle import SCHEMES, Faces
from train.data.split import hold_out
from train.export.onnx import SCHEMES_FILE, schemes_entry
from train.learn.model import HEADS
from train.learn.targets import labels_from_heads, sigma_from_heads
from train.metrics import Report, report

log = logging.getLogger(__name__)


def evaluate(faces: Faces, weights: Path | None = None) -> Report:
    """Judge weights (a folder, its fkp.onnx, or None for our own) by all `faces` not known to be bad.

    Each row is read by its own scheme's outputs.  Raises DataError when no face is left, and WeightsError.
    """
    good = ~faces.problem
    if not good.any():
        raise DataError(f"all {len(good)} faces of {faces.name} are known to be bad; give data with faces to judge by")
    points, sigma = outputs(faces.images[good], load(weights))
    return judged(points, sigma, faces.points[good], faces.scheme[good])


def held_out(faces: Faces, weights: Weights) -> NDArray[np.bool_]:
    """(N,) which of `faces` `fkp-train` does not train on; a warning says if `weights` were trained on others."""
    if not is_own_data(weights, faces):
        log.warning(
            "%s did not train on %s, or not with this index: rows may be among those it learned from",
            weights.path,
            faces.name,
        )
    return hold_out(faces.group, faces.scheme)


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
    return hashlib.sha256(np.packbits(hold_out(faces.group, faces.scheme)).tobytes()).hexdigest()


def predicted_labels(
    images: NDArray[np.uint8], schemes: Sequence[str], weights: Path | None = None
) -> NDArray[np.float32]:
    """What labellers of the named scheme would write for each of the crops (N, 96, 96): (N, 15, 2) crop px.

    NaN for keypoints which that scheme does not label.  Raises WeightsError.
    """
    points, _ = outputs(images, load(weights))
    return np.concatenate([labels_from_heads(points[i : i + 1], scheme) for i, scheme in enumerate(schemes)])


def judged(
    points: NDArray[np.float32], sigma: NDArray[np.float32], labels: NDArray[np.float32], scheme: NDArray[np.uint8]
) -> Report:
    """Report on outputs (N, 34, 2) and (N, 34), unit space, against labels (N, 15, 2) crop px of `scheme` (N,)."""
    predicted, doubt = read_by_scheme(points, sigma, scheme)
    return report(predicted, labels, scheme, doubt)


def read_by_scheme(
    points: NDArray[np.float32], sigma: NDArray[np.float32], scheme: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Outputs (N, 34, 2) and (N, 34), unit space -> points (N, 15, 2) and sigma (N, 15) of each row's scheme, crop px.

    NaN for keypoints which that scheme does not label.
    """
    predicted = np.full((len(points), len(KEYPOINTS), 2), np.nan, np.float32)
    doubt = np.full(predicted.shape[:2], np.nan, np.float32)
    for i, name in enumerate(SCHEMES):
        rows = scheme == i
        predicted[rows] = labels_from_heads(points[rows], name)
        doubt[rows] = sigma_from_heads(sigma[rows], name)
    return predicted, doubt


def outputs(
    images: NDArray[np.uint8], weights: Weights, batch: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All schemes' outputs for crops (N, 96, 96) uint8: points (N, 34, 2), sigma (N, 34), unit space."""
    session = _open_schemes(weights)
    parts = [
        session.run(["points", "sigma"], {"faces": images[start : start + batch, None]})
        for start in range(0, len(images), batch)
    ]
    points, sigma = (np.concatenate(part) for part in zip(*parts, strict=True))
    return points, sigma


def _open_schemes(weights: Weights) -> ort.InferenceSession:
    """The network with every scheme's outputs, checked against the card that lists it."""
    path = weights.path.with_name(SCHEMES_FILE)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {path}: {error.strerror or error}; schemes are judged by it, fkp-train writes it"
        ) from error
    if schemes_entry(content) != weights.card.get("schemes"):
        raise WeightsError(
            f"{path} is not the network with {len(HEADS)} outputs that the card of {weights.path} describes; restore "
            "both or run fkp-train again"
        )
    return open_session(path, content, threads=0)
