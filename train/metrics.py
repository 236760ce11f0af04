"""How far predictions are from labels.  NumPy only.

In: predicted and labelled points (N, 15, 2) in the same crop px (Kaggle's own coordinates for a Kaggle figure), NaN
where unlabelled; each face predicted by its own scheme.  Out: numbers, gathered in a `Report`.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tracker.spec import INDEX, KEYPOINTS
from train.data.schemes import SCHEMES, C

C_SHARE = 0.35
"""Part of Kaggle's score that falls on four-point images: 9,532 of the 27,124 values."""

WORST_SHARE = 0.01

WITHIN = (1, 2)
"""Multiples of sigma at which calibration is read."""

NORMAL = (0.683, 0.954)
"""Share of normally distributed errors that lie within them."""

TOLERANCE = (0.05, 0.03)
"""How far a network's shares may be off those."""

Points = NDArray[np.floating]


def rmse(predicted: Points, labels: Points) -> float:
    """Root of the mean squared error over all labelled coordinates, px; NaN if none is labelled."""
    labelled = ~np.isnan(labels)
    squares = (predicted[labelled].astype(np.float64) - labels[labelled]) ** 2
    return math.sqrt(squares.mean()) if squares.size else math.nan


def rank_auc(high: NDArray[np.floating], low: NDArray[np.floating]) -> float:
    """The chance that one of `high` (M,) is above one of `low` (K,), ties counting half; NaN without either."""
    if not len(high) or not len(low):
        return math.nan
    ranked = np.sort(low)
    below = np.searchsorted(ranked, high, "left") + np.searchsorted(ranked, high, "right")
    return float(below.mean() / 2 / len(low))


def kaggle_weighted(predicted: Points, labels: Points, scheme: NDArray[np.uint8]) -> float:
    """sqrt(0.65 MSE(A and B pooled) + 0.35 MSE(C)), px: comparable to Kaggle's score, but on a hold-out."""
    fifteen = scheme != C
    mse_fifteen = rmse(predicted[fifteen], labels[fifteen]) ** 2
    mse_four = rmse(predicted[~fifteen], labels[~fifteen]) ** 2
    return math.sqrt((1 - C_SHARE) * mse_fifteen + C_SHARE * mse_four)


def rmse_by_scheme(predicted: Points, labels: Points, scheme: NDArray[np.uint8]) -> dict[str, float]:
    """Scheme -> RMSE of its faces, px, for the schemes that occur."""
    return {SCHEMES[s]: rmse(predicted[scheme == s], labels[scheme == s]) for s in np.unique(scheme)}


def rmse_by_keypoint(predicted: Points, labels: Points) -> dict[str, float]:
    """Keypoint -> RMSE over its labelled coordinates, px, for the keypoints that are labelled."""
    each = {name: rmse(predicted[:, i], labels[:, i]) for i, name in enumerate(KEYPOINTS)}
    return {name: value for name, value in each.items() if not math.isnan(value)}


def face_rmse(predicted: Points, labels: Points) -> NDArray[np.float64]:
    """(N,) RMSE of each face over its own labelled coordinates, px; 0 for a face without labels."""
    labelled = ~np.isnan(labels)
    squares = np.where(labelled, predicted - labels, 0.0).astype(np.float64) ** 2
    return np.asarray(np.sqrt(squares.sum((1, 2)) / np.maximum(labelled.sum((1, 2)), 1)))


def without_worst(predicted: Points, labels: Points) -> NDArray[np.bool_]:
    """(N,) bool: all faces but the 1 % (rounded to whole faces) of largest `face_rmse`, schemes together."""
    keep = np.ones(len(labels), np.bool_)
    dropped = round(WORST_SHARE * len(labels))
    keep[np.argsort(face_rmse(predicted, labels), kind="stable")[len(labels) - dropped :]] = False
    return keep


def nme_percent(predicted: Points, labels: Points) -> float:
    """Mean distance of the 15 points in % of the distance between the labelled outer eye corners.

    Mean over points, then over the faces that have all 15 labelled; NaN if none has.
    """
    complete = ~np.isnan(labels).any((1, 2))
    if not complete.any():
        return math.nan
    distance = np.linalg.norm(predicted[complete] - labels[complete], axis=2).mean(1)
    eyes = labels[complete, INDEX["left_eye_outer_corner"]] - labels[complete, INDEX["right_eye_outer_corner"]]
    return float(100 * np.mean(distance / np.linalg.norm(eyes, axis=1)))


def calibration(predicted: Points, labels: Points, sigma: NDArray[np.floating]) -> dict[str, tuple[float, ...]]:
    """Keypoint -> share of its labelled coordinates whose error is at most 1 and 2 `sigma` (N, 15) px.

    "all" pools every keypoint; keypoints without labels are left out.
    """
    ratio = np.abs(predicted - labels) / sigma[..., None]
    columns = {"all": ratio} | {name: ratio[:, i] for i, name in enumerate(KEYPOINTS)}
    shares = {}
    for name, column in columns.items():
        labelled = column[~np.isnan(column)]
        if labelled.size:
            shares[name] = tuple(float((labelled <= k).mean()) for k in WITHIN)
    return shares


def reliability(
    error: NDArray[np.floating], sigma: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """|error| (N, 15, 2) and sigma (N, 15), px -> shares (99,) that a normal error promises, shares (99,) seen.

    The k-th pair belongs to the interval about the prediction that holds k % of normal errors.
    """
    promised = np.arange(1, 100) / 100
    reach = np.array([NormalDist().inv_cdf((1 + share) / 2) for share in promised])
    ratio = error / sigma[..., None]
    labelled = np.sort(ratio[~np.isnan(ratio)])
    return promised, np.searchsorted(labelled, reach, side="right") / max(len(labelled), 1)


@dataclass(frozen=True, slots=True)
class Report:
    """All results of an evaluation.  Errors in px of the 96 px crop; NaN if the data does not allow a value."""

    faces: int
    faces_by_scheme: dict[str, int]
    kaggle_weighted: float
    rmse: float
    """Over all labelled coordinates alike, for data in which a scheme is missing."""
    kaggle_weighted_trimmed: float
    """Without the worst 1 % of faces."""
    by_scheme: dict[str, float]
    by_scheme_trimmed: dict[str, float]
    """Without the worst 1 % of faces, which are picked over all schemes together."""
    by_keypoint: dict[str, dict[str, float]]
    """Scheme -> keypoint -> RMSE."""
    nme_percent: float
    """Of the faces with all 15 points, % of the outer-eye distance."""
    calibration: dict[str, tuple[float, ...]]
    """Keypoint or "all" -> share of errors within 1 and 2 sigma; empty if no sigma was given."""
    calibration_by_scheme: dict[str, dict[str, tuple[float, ...]]]
    """Scheme -> the same of its own faces."""

    def to_json(self) -> dict[str, Any]:
        """A dict for `json.dumps(..., allow_nan=False)`: values that are not finite become None."""
        return {name: json_ready(getattr(self, name)) for name in self.__slots__}

    def table(self) -> Table:
        """For a terminal: one row per scheme and the Kaggle-weighted figure, then one row per keypoint."""
        schemes = list(self.by_scheme)
        table = Table(title=f"RMSE in px by label scheme, {self.faces} faces", caption=self._caption())
        table.add_column("", no_wrap=True)
        for scheme in schemes:
            table.add_column(scheme, justify="right")
        table.add_column("weighted", justify="right", no_wrap=True, min_width=8)
        table.add_column("in 1, 2 sigma", justify="right", no_wrap=True)
        table.add_row("faces", *(str(self.faces_by_scheme[s]) for s in schemes))
        table.add_row(
            "all points", *(_px(self.by_scheme[s]) for s in schemes), _px(self.kaggle_weighted), self._within("all")
        )
        table.add_row(
            "without the worst 1 %",
            *(_px(self.by_scheme_trimmed.get(s)) for s in schemes),
            _px(self.kaggle_weighted_trimmed),
            end_section=True,
        )
        for name in KEYPOINTS:
            cells = [_px(self.by_keypoint[s].get(name)) for s in schemes]
            if any(cells):
                table.add_row(name, *cells, "", self._within(name))
        return table

    def _within(self, name: str) -> str:
        return ", ".join(f"{share:.0%}" for share in self.calibration.get(name, ()))

    def _caption(self) -> str:
        weighting = f"Weighted: sqrt({1 - C_SHARE:.2f} MSE(A, B) + {C_SHARE:.2f} MSE(C)); not a Kaggle score."
        if math.isnan(self.nme_percent):
            return weighting
        return f"{weighting}\nMean error of the 15 points: {self.nme_percent:.2f} % of the outer-eye distance."


def report(predicted: Points, labels: Points, scheme: NDArray[np.uint8], sigma: NDArray[np.floating]) -> Report:
    """Judge predictions (N, 15, 2) and their sigma (N, 15) by labels (N, 15, 2) of schemes (N,); crop px."""
    keep = without_worst(predicted, labels)
    rows = {SCHEMES[s]: scheme == s for s in np.unique(scheme)}
    return Report(
        faces=len(labels),
        faces_by_scheme={name: int(own.sum()) for name, own in rows.items()},
        kaggle_weighted=kaggle_weighted(predicted, labels, scheme),
        rmse=rmse(predicted, labels),
        kaggle_weighted_trimmed=kaggle_weighted(predicted[keep], labels[keep], scheme[keep]),
        by_scheme=rmse_by_scheme(predicted, labels, scheme),
        by_scheme_trimmed=rmse_by_scheme(predicted[keep], labels[keep], scheme[keep]),
        by_keypoint={name: rmse_by_keypoint(predicted[own], labels[own]) for name, own in rows.items()},
        nme_percent=nme_percent(predicted, labels),
        calibration=calibration(predicted, labels, sigma),
        calibration_by_scheme={
            name: calibration(predicted[own], labels[own], sigma[own]) for name, own in rows.items()
        },
    )


def figure(report: Report) -> str:
    """A report in a few words; not weighted like Kaggle's test set if a scheme is missing."""
    schemes = " ".join(f"{name} {value:.2f}" for name, value in report.by_scheme.items() if math.isfinite(value))
    if math.isfinite(report.kaggle_weighted):
        return f"{report.kaggle_weighted:.3f} px ({schemes})"
    return f"{report.rmse:.3f} px over {schemes} only" if math.isfinite(report.rmse) else "without a label"


def json_ready(value: Any) -> Any:
    """For `json.dumps(..., allow_nan=False)`: NaN and infinity become None, also within dicts and tuples."""
    if isinstance(value, dict):
        return {key: json_ready(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [json_ready(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _px(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"
