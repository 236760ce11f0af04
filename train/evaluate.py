"""Judges weights by labelled faces, and predicts Kaggle's test set.

In: crops (N, 96, 96) uint8 and the folder of weights.  Out: labels as each scheme's labellers would have written them
(crop px), and a `Report`.  Runs in ONNX Runtime, so that what is judged is what ships.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.onnxruntime import quiet_session_options
from tracker.errors import WeightsError
from tracker.spec import KEYPOINTS
from tracker.weights import Weights, load
from train.data import SCHEMES, Faces
from train.metrics import Report, report
from train.model import HEADS
from train.split import hold_out
from train.targets import labels_from_heads, sigma_from_heads


def evaluate(faces: Faces, weights: Path | None = None) -> Report:
    """Judge weights (a folder, its fkp.onnx, or None for our own) by all `faces` not known to be bad.

    Each row is read by its own scheme's outputs.  Raises WeightsError.
    """
    good = ~faces.problem
    points, sigma = outputs(faces.images[good], load(weights))
    return judged(points, sigma, faces.points[good], faces.scheme[good])


def held_out(faces: Faces) -> Faces:
    """The rows of `faces` that `fkp-train` never trains on."""
    return faces.only(hold_out(faces.group, faces.scheme))


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
    predicted = np.full(labels.shape, np.nan, np.float32)
    doubt = np.full(labels.shape[:2], np.nan, np.float32)
    for i, name in enumerate(SCHEMES):
        rows = scheme == i
        predicted[rows] = labels_from_heads(points[rows], name)
        doubt[rows] = sigma_from_heads(sigma[rows], name)
    return report(predicted, labels, scheme, doubt)


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
    entry = weights.card.get("schemes", {})
    path = weights.path.with_name(str(entry.get("file", "fkp-schemes.onnx")))
    expected_heads = [[scheme, KEYPOINTS[keypoint]] for scheme, keypoint in HEADS]
    if entry.get("heads") != expected_heads:
        raise WeightsError(f"the card of {weights.path} lists other scheme outputs than this fkp knows; train again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; evaluation of schemes needs it") from error
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise WeightsError(f"{path} is not the file that the card of {weights.path} describes; restore the pair")
    return ort.InferenceSession(content, quiet_session_options(0), providers=["CPUExecutionProvider"])
