"""A training's report: one HTML page that shows how well the weights learned, where they fail and what they were shown.

In: a folder of weights (with `history.jsonl` beside them if the run left one) and Kaggle's faces.  Out: `report.html`.
Everything lies within that file, pictures too, so that it can be mailed or moved without losing half of itself; it
refers to nothing on the network.  Charts are SVG and follow the browser's light or dark theme.
"""

import base64
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tracker.backends.weights import Weights, load
from tracker.errors import FkpError
from tracker.spec import KEYPOINTS, SIZE, crop_from_unit
from tracker.support.atomic import write_whole
from train import metrics
from train.data.kaggle import Faces
from train.data.schemes import SCHEMES
from train.judge import charts
from train.judge.evaluate import Judged, asking, held_out, is_own_data, judged, judges
from train.learn.augment import Augmentation, draw
from train.learn.model import HEADS
from train.learn.targets import kaggle_bank

log = logging.getLogger(__name__)

FILE = "report.html"
HISTORY = "history.jsonl"

WORST = 40
AUGMENTED = 32
"""Faces shown."""


def write_report(path: Path, faces: Faces, out: Path, *, overwrite: bool) -> Path:
    """Write `report.html` on the weights at `path` to the folder `out`; returns its name.

    `faces` are all of the data, from which the hold-out is taken.  Raises WeightsError, DataError when there is no
    hold-out, SinkError when the file exists or cannot be written, ModuleNotFoundError without matplotlib.
    """
    weights = load(path)
    page = _page(weights, faces, judge_hold_out(weights, faces))
    return write_whole(out / FILE, page.encode(), overwrite=overwrite)


def try_report(folder: Path, faces: Faces) -> None:
    """Write the report on a run that just ended, or say in one line why not.

    The weights are safe by then: whatever keeps the report from being written must not fail the training.
    """
    try:
        log.info("report in %s", write_report(folder, faces, folder, overwrite=True))
    except ModuleNotFoundError as error:
        log.warning('no report: %s; pip install "fkp[train]", then fkp-train report %s', error, folder)
    except (FkpError, OSError, ValueError) as error:
        log.warning("no report: %s; then fkp-train report %s", error, folder)


def judge_hold_out(weights: Weights, faces: Faces) -> Judged:
    """What the exported network says of the hold-out.  Raises DataError when that is empty, and WeightsError."""
    held = judges(faces.only(held_out(faces, weights)))
    return judged(held, asking(weights)(held.images))


def _page(weights: Weights, faces: Faces, judged: Judged) -> str:
    report, held = judged.report, judged.faces
    worst = np.argsort(-metrics.face_rmse(judged.predicted, held.points), kind="stable")[:WORST]
    settings, known = _augmentation(weights.noted("training", "fit", "augmentation"))
    template = Template(Path(__file__).with_name(FILE).read_text(encoding="utf-8"))
    return template.substitute(
        title=f"Training report: {escape(str(weights.card.get('name', weights.path.stem)))}",
        origin=_origin(weights, judged),
        warning=_warning(weights, faces),
        tiles=_tiles(weights.card, report),
        learning=_learning(weights),
        errors=charts.keypoint_errors(report),
        published=charts.published_scores(report),
        shares=charts.shares_within_sigma(report),
        reliability=charts.reliability_curves(judged.predicted, held.points, judged.sigma, held.scheme),
        worst="\n".join(_worst_face(judged, i) for i in worst),
        augmentation="the settings of this run" if known else "today's default settings (the card names others)",
        augmented="\n".join(_augmented_faces(faces, settings)),
    )


def _origin(weights: Weights, judged: Judged) -> str:
    training = weights.noted("training")
    words = [str(training["command"])] if "command" in training else []
    words += [f"{training['minutes']} minutes on {training['on']}"] if {"minutes", "on"} <= training.keys() else []
    counts = ", ".join(f"{count} {scheme}" for scheme, count in judged.report.faces_by_scheme.items())
    words += [f"hold-out of {judged.report.faces} faces ({counts})", f"sha256 {weights.sha256[:12]}"]
    return " · ".join(map(escape, words))


def _warning(weights: Weights, faces: Faces) -> str:
    if is_own_data(weights, faces):
        return ""
    return (
        f'<p class="warning">{escape(faces.name)} is not the file that these weights were trained on, so some of the '
        "faces below may have been among those that they learned from.</p>"
    )


def _tiles(card: Mapping[str, Any], report: metrics.Report) -> str:
    one, two = report.calibration["all"]
    facts = {
        "px, Kaggle-weighted": _px(report.kaggle_weighted),
        "px without the worst 1 %": _px(report.kaggle_weighted_trimmed),
        **{f"px, scheme {scheme}": _px(error) for scheme, error in report.by_scheme.items()},
        "within 1 sigma": f"{one:.1%}",
        "within 2 sigma": f"{two:.1%}",
        "parameters": f"{card['parameters'] / 1e3:.0f} k" if _is_number(card.get("parameters")) else "?",
        "multiply-adds": f"{card['macs'] / 1e6:.1f} M" if _is_number(card.get("macs")) else "?",
    }
    return "".join(f'<div class="tile"><b>{value}</b>{name}</div>' for name, value in facts.items())


def _learning(weights: Weights) -> str:
    path, steps = weights.path.with_name(HISTORY), weights.noted("training").get("steps")
    if not path.exists():
        return "<p>There is no history.jsonl beside these weights.</p>"
    history = list(_noted(path))
    if not any((line["stage"], line["step"]) == ("net", steps) for line in history):
        return "<p>The history.jsonl beside these weights is not that of their training.</p>"
    return charts.learning_curves(history)


def _noted(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a history; not those that a full disk cut, to which the resumed run added its next one."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and {"stage", "step", "loss"} <= entry.keys():
                yield entry


def _worst_face(judged: Judged, i: int) -> str:
    faces, distance, sigma = judged.faces, judged.distance_px[i], judged.sigma[i]
    marks = [
        _missed(KEYPOINTS[k], faces.points[i, k], judged.predicted[i, k], float(sigma[k]))
        for k in np.flatnonzero(np.isfinite(distance))
    ]
    farthest = int(np.nanargmax(distance))
    rmse = metrics.face_rmse(judged.predicted[i : i + 1], faces.points[i : i + 1])[0]
    caption = (
        f"<b>{rmse:.2f} px</b> · row {faces.row[i]} · {SCHEMES[faces.scheme[i]]}<br>"
        f"{KEYPOINTS[farthest].replace('_', ' ')} {distance[farthest]:.1f} px, σ {sigma[farthest]:.1f}"
    )
    return f"<figure>{_picture(faces.images[i], marks)}<figcaption>{caption}</figcaption></figure>"


def _missed(name: str, label: NDArray[np.floating], guess: NDArray[np.floating], sigma: float) -> str:
    """A label and its prediction, crop px, as SVG that tells its figures when pointed at."""
    (x, y), (u, v) = label.tolist(), guess.tolist()
    off = np.hypot(x - u, y - v)
    return (
        f"<g><title>{name.replace('_', ' ')}: {off:.2f} px off, sigma {sigma:.2f} px</title>"
        f'<circle class="sigma" cx="{u:.2f}" cy="{v:.2f}" r="{sigma:.2f}"/>'
        f'<line class="miss" x1="{x:.2f}" y1="{y:.2f}" x2="{u:.2f}" y2="{v:.2f}"/>'
        f'<circle class="truth" cx="{x:.2f}" cy="{y:.2f}" r="1.3"/>'
        f'<circle class="guess" cx="{u:.2f}" cy="{v:.2f}" r=".8"/></g>'
    )


def _augmentation(named: Mapping[str, Any]) -> tuple[Augmentation, bool]:
    """The settings that a run noted, and whether it names them as this program does."""
    known = named.keys() == {each.name for each in fields(Augmentation)} and all(map(_is_number, named.values()))
    return (Augmentation(**named) if known else Augmentation()), known


def _augmented_faces(faces: Faces, settings: Augmentation) -> Iterable[str]:
    bank = kaggle_bank(faces, ~faces.held)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        crops, targets, weights, *_ = draw(bank, AUGMENTED, settings)
    images = crops[:, 0].round().clamp(0, 255).to(torch.uint8).numpy()
    for image, points, trust in zip(images, targets.numpy(), weights.numpy(), strict=True):
        own = np.flatnonzero(trust == 1)
        marks = [_target(KEYPOINTS[HEADS[head][1]], crop_from_unit(points[head])) for head in own]
        yield f"<figure>{_picture(image, marks)}</figure>"


def _target(name: str, point: NDArray[np.floating]) -> str:
    x, y = point.tolist()
    return f'<g><title>{name.replace("_", " ")}</title><circle class="guess" cx="{x:.2f}" cy="{y:.2f}" r="1"/></g>'


def _picture(image: NDArray[np.uint8], marks: Iterable[str]) -> str:
    """A crop (96, 96) gray with marks over it; SVG's units are crop px."""
    png = base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
    return (
        f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img"><image width="{SIZE}" height="{SIZE}" '
        f'href="data:image/png;base64,{png}"/>{"".join(marks)}</svg>'
    )


def _is_number(value: object) -> bool:
    """Cards are written by hand, too."""
    return isinstance(value, int | float)


def _px(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"
