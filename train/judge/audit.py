"""The label audit: which labels no net believes that has not learned from them.

In: Kaggle's faces.  Out: `audit.csv`, one line per label, the most doubtful first, and `audit.png`, the faces at its
head.  Data is never changed: a list is for people to look at.

Every row is judged by a net that never saw it: the rows are dealt into folds, and for each fold one net learns from
the others.  A stopped audit continues from its checkpoints.  Existing weights judge only the hold-out, in seconds.
"""

import io
import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tracker.backends.weights import load
from tracker.errors import DataError
from tracker.spec import KEYPOINTS, SIZE
from tracker.support.atomic import write_whole
from train.data.kaggle import Faces
from train.data.schemes import SCHEMES
from train.data.split import SPLIT_SEED, folds
from train.judge.evaluate import Judged, asking, held_out
from train.learn.calibrate import sigma_scales
from train.learn.loop import Fit, FitConfig
from train.learn.model import HEADS, Net, NetConfig, predicted
from train.learn.targets import kaggle_bank, read_by_scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

TABLE, SHEET = "audit.csv", "audit.png"

SHEET_ROWS, SHEET_COLUMNS = 8, 6
"""Faces on the contact sheet."""

DOUBTFUL = 4.0
"""Distance in sigma beyond which the summary counts a label; of normal errors 0.03 % lie there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """How the nets of an audit are trained."""

    out: Path
    """The folder for finished work."""
    count: int
    device: torch.device
    checkpoint_every: int = 250
    """Steps that a kill can cost."""
    fit: FitConfig
    net: NetConfig = field(default_factory=NetConfig)


@dataclass(frozen=True, eq=False)
class Audit(Judged):
    """Predictions for faces by nets that did not learn from them."""

    position: NDArray[np.int64]
    """(N,) row of the data that was read, counted from 0."""

    @cached_property
    def distance_sigma(self) -> NDArray[np.floating]:
        """(N, 15) `distance_px` over sigma; of normal errors 39 % lie within 1, 86 % within 2 and 98.9 % within 3."""
        return self.distance_px / self.sigma

    @cached_property
    def ranking(self) -> NDArray[np.int64]:
        """(L, 2) face and keypoint of every label, the one farthest off in sigma first."""
        labels = np.argwhere(np.isfinite(self.distance_sigma))
        return labels[np.argsort(-self.distance_sigma[tuple(labels.T)], kind="stable")]

    def __str__(self) -> str:
        faces, first = np.unique(self.ranking[:, 0], return_index=True)
        suspects = faces[np.argsort(first)][: math.ceil(len(faces) / 100)]
        known = np.flatnonzero(self.faces.problem)
        doubtful = int((self.distance_sigma > DOUBTFUL).sum())
        told = f"{doubtful} of {len(self.ranking)} labels lie more than {DOUBTFUL:g} sigma off"
        if not len(known):
            return told
        found = np.isin(known, suspects).sum()
        return f"{told}; {found} of the {len(known)} rows known to be bad are in the most doubtful 1 %"


def audit_by_weights(faces: Faces, weights: Path | None) -> Audit:
    """Judge the hold-out, a tenth of the rows, by weights that never saw it.

    Only true of the data that those weights were trained on; otherwise a warning says so.  Raises WeightsError, and
    DataError if no labelled face is held out.
    """
    judge = load(weights)
    held = held_out(faces, judge) & faces.labelled
    if not held.any():
        raise DataError(f"no labelled face of {faces.name} is held out from training; give more of the data")
    chosen = faces.only(held)
    return Audit(chosen, *read_by_scheme(*asking(judge)(chosen.images), chosen.scheme), np.flatnonzero(held))


def audit_by_folds(faces: Faces, settings: Folds) -> Audit:
    """Judge every row by a net that learned from the other folds.

    Raises DataError when `settings.out` holds folds of other data or settings, SinkError when it cannot be written.
    """
    torch.set_flush_denormal(True)  # threads inherit this, so it comes before any work
    fold_of = folds(faces.group, faces.scheme, settings.count, seed=SPLIT_SEED)
    points = np.empty((len(fold_of), len(HEADS), 2), np.float32)
    sigma = np.empty(points.shape[:2], np.float32)
    for fold in range(settings.count):
        judged = fold_of == fold
        points[judged], sigma[judged] = predicted(_judge(faces, judged, fold, settings), faces.images[judged])
    good = ~faces.problem
    sigma *= sigma_scales(points[good], sigma[good], faces.points[good], faces.scheme[good]).astype(np.float32)
    return Audit(faces, *read_by_scheme(points, sigma, faces.scheme), np.arange(len(fold_of)))


def forget_folds(out: Path) -> None:
    """Remove the checkpoints that an earlier audit left in the folder `out`."""
    for path in out.glob("fold-*-of-*.safetensors"):
        path.unlink()


def write_audit(audit: Audit, out: Path, *, overwrite: bool) -> None:
    """Write `audit.csv` and `audit.png` to the folder `out`.

    Raises SinkError when they exist or cannot be written, ModuleNotFoundError without matplotlib, then after the csv.
    """
    write_whole(out / TABLE, _table(audit).encode(), overwrite=overwrite)
    write_whole(out / SHEET, _sheet(audit), overwrite=overwrite)


def _judge(faces: Faces, judged: NDArray[np.bool_], fold: int, settings: Folds) -> Net:
    """A net that learned from all but the `judged` (N,) faces; its checkpoint stays after the last step, too."""
    path = settings.out / f"fold-{fold + 1}-of-{settings.count}.safetensors"
    torch.manual_seed(settings.fit.seed)
    bank = kaggle_bank(faces, ~judged)
    fit = Fit(Net(settings.net), [bank], settings.fit, settings.device, {"faces": faces.fingerprint})
    told = f"fold {fold + 1} of {settings.count}"
    if path.exists():
        fit.resume(path)
        log.info("%s: %s", told, "done before" if fit.done else f"goes on from step {fit.step_count}")
    while not fit.done:
        try:
            loss = fit.run(settings.checkpoint_every)
        finally:
            fit.save(path)
        log.info("%s: step %d of %d, loss %.3f", told, fit.step_count, fit.config.steps, loss)
    return fit.averaged


def _table(audit: Audit) -> str:
    face, keypoint = labels = tuple(audit.ranking.T)
    (x, y), (u, v) = audit.faces.points[labels].T, audit.predicted[labels].T
    columns = {
        "row": audit.position[face],
        "kaggle_row": audit.faces.row[face],
        "scheme": np.array(SCHEMES)[audit.faces.scheme[face]],
        "keypoint": np.array(KEYPOINTS)[keypoint],
        "label_x": x,
        "label_y": y,
        "predicted_x": u,
        "predicted_y": v,
        "distance_px": audit.distance_px[labels],
        "distance_sigma": audit.distance_sigma[labels],
        "known_problem": np.where(audit.faces.problem[face], "yes", ""),
    }
    return pd.DataFrame(columns).to_csv(index=False, float_format="%.3f", lineterminator="\n")


def _sheet(audit: Audit) -> bytes:
    """The faces with the most doubtful labels as a PNG: rings are labels, dots predictions, the doubted one is red."""
    from matplotlib.figure import Figure

    _, first = np.unique(audit.ranking[:, 0], return_index=True)
    worst = audit.ranking[np.sort(first)][: SHEET_ROWS * SHEET_COLUMNS]
    figure = Figure((2.2 * SHEET_COLUMNS, 2.6 * SHEET_ROWS))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.97, wspace=0.06, hspace=0.3)
    axes = figure.subplots(SHEET_ROWS, SHEET_COLUMNS).ravel()
    for each in axes:
        each.set_axis_off()
    for each, (face, keypoint) in zip(axes, worst, strict=False):
        _show_face(each, audit, face, keypoint)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _show_face(axes: "Axes", audit: Audit, face: int, doubted: int) -> None:
    axes.imshow(audit.faces.images[face], cmap="gray", vmin=0, vmax=255, extent=(0, SIZE, SIZE, 0))
    for keypoint in np.flatnonzero(np.isfinite(audit.distance_px[face])):
        colour = "#ff3030" if keypoint == doubted else "#35e07f"
        (x, y), (u, v) = audit.faces.points[face, keypoint], audit.predicted[face, keypoint]
        axes.plot([x, u], [y, v], color=colour, lw=1)
        axes.plot(x, y, "o", color=colour, fillstyle="none", markersize=6)
        axes.plot(u, v, ".", color=colour, markersize=4)
    axes.set(xlim=(0, SIZE), ylim=(SIZE, 0))
    known = ", known" if audit.faces.problem[face] else ""
    axes.set_title(
        f"row {audit.faces.row[face]} ({SCHEMES[audit.faces.scheme[face]]}{known})\n"
        f"{KEYPOINTS[doubted].replace('_', ' ')}\n"
        f"{audit.distance_sigma[face, doubted]:.1f} sigma, {audit.distance_px[face, doubted]:.1f} px",
        fontsize=8,
    )
