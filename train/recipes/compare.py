"""`fkp-train compare`: every recipe learns from the same rows in the same time and is judged by the same hold-out.

In: Kaggle's training data.  Out: a `Board` in a folder, `compare.json` and `compare.md`, rewritten after each
recipe, so that a stopped comparison continues where it ended.  Recipes that learn to their own end take hours and keep
checkpoints.  Those with a published validation score then also learn as their authors did, from complete rows dealt at
random.
"""

import fnmatch
import importlib.util
import logging
import math
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tracker.errors import DataError, FkpError
from train.data.kaggle import Faces, read_training
from train.data.split import SPLIT_SEED
from train.learn.parallel import chosen_device
from train.metrics import kaggle_weighted, rmse, rmse_by_scheme
from train.recipes import RECIPES
from train.recipes.comparison_table import Board, Row
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import complete, is_complete

log = logging.getLogger(__name__)

AUTHORS_SHARE = 0.15
"""Of the complete rows, what judges a recipe dealt as its authors did; one of them published 1,700 and 300 faces."""

_DEALT = "-random-rows"
"""Ends the names of what is kept of that learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a comparison depends on."""

    data: Path
    out: Path
    index: Path | None = None
    recipes: tuple[Recipe, ...] = RECIPES
    budget_minutes: float | None = 10
    """Time for each recipe to learn in; None to let each learn to its own end."""
    device: str = "auto"
    """auto, cpu or cuda."""
    download: bool = False
    """Whether pretrained weights may be fetched."""
    overwrite: bool = False
    """Start again and discard finished recipes."""


def compare(options: Options) -> Board:
    """Run the recipes that are not on the board yet.

    Raises DataError for bad data and for a folder with another comparison, FkpError when a package is missing,
    SinkError when the folder cannot be written.
    """
    torch.set_flush_denormal(True)  # threads inherit this, so it comes before any work
    _refuse_missing_modules(options.recipes)
    device = torch.device(chosen_device(options.device))
    faces = read_training(options.data, index=options.index)
    held = faces.held
    learn_from, judges = faces.only(~held & ~faces.problem), faces.only(held & ~faces.problem)
    if not (len(learn_from.images) and len(judges.images)):
        raise DataError(f"{faces.name} leaves no face to learn from or none to judge by; give more of the download")
    board = Board.open(options.out, _head(options, learn_from, judges, device), overwrite=options.overwrite)
    for recipe in options.recipes:
        if options.overwrite:
            _forget(options.out, recipe)
        row = board.rows.get(recipe.name)
        if row is None:
            log.info("%s: learning%s", recipe.name, _limit(options))
            row = _judged(recipe, learn_from, judges, _terms(options, device, recipe.name))
            board.add(row)
            log.info("%s: %s after %.1f min", row.recipe, _told(row), row.minutes)
        else:
            log.info("%s: done before", recipe.name)
        if options.budget_minutes is None and recipe.published_validation and row.as_published is None:
            log.info("%s: learning from rows dealt at random", recipe.name)
            found = _as_published(recipe, faces, _terms(options, device, f"{recipe.name}{_DEALT}"))
            board.add(replace(row, as_published=found))
            log.info("%s: %.3f px on rows dealt at random", recipe.name, found)
        _forget(options.out, recipe)
    return board


def chosen_recipes(patterns: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes whose names fit one of the patterns, such as `cnn*`; LookupError for a pattern that none fits."""
    names = [recipe.name for recipe in RECIPES]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise LookupError(f"there is no recipe {pattern!r}; choose from {', '.join(names)}")
    return tuple(recipe for recipe in RECIPES if any(fnmatch.fnmatchcase(recipe.name, each) for each in patterns))


def _refuse_missing_modules(recipes: Sequence[Recipe]) -> None:
    """Before hours of work, not after."""
    for recipe in recipes:
        missing = [name for name in recipe.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise FkpError(
                f'the recipe {recipe.name} needs {", ".join(missing)}: pip install "fkp[recipes]", or name the others '
                "with --recipes"
            )


def _limit(options: Options) -> str:
    return " to its end" if options.budget_minutes is None else f", at most {options.budget_minutes:g} min"


def _told(row: Row) -> str:
    """How good a recipe is, by the schemes that can judge it."""
    if math.isfinite(row.kaggle_weighted):
        return f"{row.kaggle_weighted:.3f} px Kaggle-weighted"
    figures = {name: error for name, error in row.by_scheme.items() if math.isfinite(error)}
    return ", ".join(f"{error:.3f} px in scheme {name}" for name, error in figures.items()) or "nothing can judge it"


def _terms(options: Options, device: torch.device, name: str) -> Terms:
    if options.budget_minutes is None:
        return Terms(math.inf, device, options.download, kept=options.out / name)
    return Terms(time.monotonic() + 60 * options.budget_minutes, device, options.download)


def _fit(recipe: Recipe, learn_from: Faces, terms: Terms) -> Fitted:
    torch.manual_seed(terms.seed)
    return recipe.fit(learn_from, terms)


def _forget(out: Path, recipe: Recipe) -> None:
    """Remove what the recipe kept for going on; other names may begin like its own."""
    for beginning in (recipe.name, recipe.name + _DEALT):
        for kept in out.glob(f"{beginning}.*.safetensors"):
            kept.unlink()


def _as_published(recipe: Recipe, faces: Faces, terms: Terms) -> float:
    """RMSE, px, as the recipe's authors measured it: complete rows, known bad ones too, dealt without regard to copies
    of a picture; the judges may be in what it learned from.
    """
    whole = complete(faces)
    judges = np.random.default_rng(SPLIT_SEED).random(len(whole.images)) < AUTHORS_SHARE
    fitted, held = _fit(recipe, whole.only(~judges), terms), whole.only(judges)
    return rmse(np.asarray(fitted.predict(held.images, held.scheme)), held.points)


def _judged(recipe: Recipe, learn_from: Faces, judges: Faces, terms: Terms) -> Row:
    started = time.monotonic()
    fitted = _fit(recipe, learn_from, terms)
    minutes = (time.monotonic() - started + fitted.seconds_before) / 60
    predicted = np.asarray(fitted.predict(judges.images, judges.scheme))
    whole = is_complete(judges)
    return Row(
        recipe=recipe.name,
        rows=fitted.rows,
        parameters=fitted.parameters,
        macs=fitted.macs,
        by_scheme=rmse_by_scheme(predicted, judges.points, judges.scheme),
        kaggle_weighted=kaggle_weighted(predicted, judges.points, judges.scheme),
        complete_rows=rmse(predicted[whole], judges.points[whole]),
        as_published=None,
        published_validation=recipe.published_validation,
        published_kaggle=recipe.published_kaggle,
        minutes=minutes,
        cut_short=not fitted.finished,
        notes=fitted.notes,
    )


def _head(options: Options, learn_from: Faces, judges: Faces, device: torch.device) -> dict[str, object]:
    """What the figures are of."""
    return {
        "command": _command(options),
        "sha256_of_csv": learn_from.sha256,
        "learned_from": learn_from.count_by_scheme,
        "judged_by": judges.count_by_scheme,
        "budget_minutes": options.budget_minutes,
        "on": f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}",
    }


def _command(options: Options) -> str:
    """The command for the whole table, with the names of files but not their folders, which are private."""
    words = ["fkp-train", "compare", "--data", options.data.resolve().name]
    words += ["--index", options.index.name] if options.index else []
    words += ["--to-the-end"] if options.budget_minutes is None else ["--budget", f"{options.budget_minutes:g}"]
    return shlex.join([*words, *(["--download"] if options.download else [])])
