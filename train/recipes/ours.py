"""This project's own network: `ours` trains it in the time given, `ours-shipped` judges the weights that ship.

`ours` is `fkp-train --data` in short: the same network, loss and augmentation on Kaggle's rows only, its learning rate
falling within the steps that the time allows.  Each row is read by the outputs of its own label scheme.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracker.backends.weights import load
from train.data.kaggle import Faces
from train.export.onnx import served
from train.judge.evaluate import predicted_labels
from train.learn.augment import Bank
from train.learn.loop import Fit, FitConfig
from train.learn.model import SHOWN, Net, mac_count, parameter_count, predicted
from train.learn.targets import kaggle_bank, read_by_scheme
from train.recipes.contract import Fitted, Recipe, Terms

FULL = FitConfig()

KEEP_EVERY = 250
"""Steps that a kill can cost."""

TRIAL_STEPS = 2
"""Steps by which the pace is measured, after as many to warm up."""


def fit(faces: Faces, terms: Terms) -> Fitted:
    """Train for as many steps as fit into the time, at most as many as a full training has."""
    bank = kaggle_bank(faces, np.ones(len(faces.images), np.bool_))
    steps = _affordable_steps(bank, terms)
    run = Fit(Net(), [bank], replace(FULL, steps=steps, seed=terms.seed), terms.device, {"faces": faces.sha256})
    path = terms.checkpoint("net")
    if path and path.exists():
        run.resume(path)
    first, before = run.step_count, run.seconds
    while not run.done and (run.step_count == first or terms.seconds_left() > 0):
        try:
            run.run(1 if path is None else KEEP_EVERY)
        finally:
            if path:
                run.save(path)
    net = run.averaged
    shown = served(net, SHOWN)

    def predict(images: NDArray[np.uint8], scheme: NDArray[np.uint8]) -> NDArray[np.float32]:
        return read_by_scheme(*predicted(net, images), scheme)[0]

    return Fitted(
        predict,
        rows=len(bank.images),
        parameters=parameter_count(shown),
        macs=mac_count(shown),
        finished=run.step_count >= FULL.steps,
        seconds_before=before,
        notes=(f"{run.step_count} of {FULL.steps} steps",),
    )


def _affordable_steps(bank: Bank, terms: Terms) -> int:
    if math.isinf(terms.ends_at):
        return FULL.steps
    trial = Fit(Net(), [bank], FULL, terms.device)
    trial.run(TRIAL_STEPS)
    warm = trial.seconds
    trial.run(TRIAL_STEPS)
    pace = (trial.seconds - warm) / TRIAL_STEPS
    return int(np.clip(0.95 * terms.seconds_left() / pace, 1, FULL.steps))


def judge_shipped(faces: Faces, _terms: Terms) -> Fitted:
    """The weights that ship, as they are."""
    card = load().card
    training = card["training"]
    files = ["Kaggle's rows"] + [each["file"] for each in (*training["extra"], *training["unlabelled"])]
    notes = [f"not trained now, but in {training['minutes']} minutes from {', '.join(files)}"]
    if training["data"]["sha256_of_csv"] != faces.sha256:
        notes.append("from another file: it may have seen the faces that judge it")

    return Fitted(predicted_labels, rows=None, parameters=card["parameters"], macs=card["macs"], notes=tuple(notes))


RECIPES = (Recipe("ours", fit), Recipe("ours-shipped", judge_shipped))
