"""`fkp-train compare`: every recipe learns from the same rows in the same time and is judged by the same hold-out.

In: Kaggle's training data.  Out: a `Board` in a folder, `compare.json` and `compare.md`, rewritten after each
recipe, so that a stopped comparison continues where it ended.
"""

import fnmatch
import importlib.util
import logging
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tracker.errors import DataError, FkpError
from train.data.kaggle import SCHEMES, Faces, read_training
from train.data.split import hold_out
from train.learn.parallel import chosen_device
from train.metrics import kaggle_weighted, rmse_by_scheme
from train.recipes import RECIPES
from train.recipes.comparison_table import Board, Row
from train.recipes.contract import Recipe, Terms

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a comparison depends on."""

    data: Path
    out: Path
    index: Path | None = None
    recipes: tuple[Recipe, ...] = RECIPES
    budget_minutes: float = 10
    """Time for each recipe to learn in."""
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
    held = hold_out(faces.group, faces.scheme)
    learn_from, judges = faces.only(~held & ~faces.problem), faces.only(held & ~faces.problem)
    if not (len(learn_from.images) and len(judges.images)):
        raise DataError(f"{faces.name} leaves no face to learn from or none to judge by; give more of the download")
    board = Board.open(options.out, _head(options, learn_from, judges, device), overwrite=options.overwrite)
    for recipe in options.recipes:
        if recipe.name in board.rows:
            log.info("%s: done before", recipe.name)
            continue
        log.info("%s: learning, at most %g min", recipe.name, options.budget_minutes)
        row = _judged(recipe, learn_from, judges, Terms(_deadline(options), device, options.download))
        board.add(row)
        log.info("%s: %.3f px Kaggle-weighted after %.1f min", row.recipe, row.kaggle_weighted, row.minutes)
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


def _deadline(options: Options) -> float:
    return time.monotonic() + 60 * options.budget_minutes


def _judged(recipe: Recipe, learn_from: Faces, judges: Faces, terms: Terms) -> Row:
    torch.manual_seed(terms.seed)
    started = time.monotonic()
    fitted = recipe.fit(learn_from, terms)
    minutes = (time.monotonic() - started) / 60
    predicted = np.asarray(fitted.predict(judges.images, judges.scheme))
    return Row(
        recipe=recipe.name,
        rows=fitted.rows,
        parameters=fitted.parameters,
        macs=fitted.macs,
        by_scheme=rmse_by_scheme(predicted, judges.points, judges.scheme),
        kaggle_weighted=kaggle_weighted(predicted, judges.points, judges.scheme),
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
        "learned_from": _by_scheme(learn_from),
        "judged_by": _by_scheme(judges),
        "budget_minutes": options.budget_minutes,
        "on": f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}",
    }


def _by_scheme(faces: Faces) -> dict[str, int]:
    return {name: int((faces.scheme == i).sum()) for i, name in enumerate(SCHEMES)}


def _command(options: Options) -> str:
    """The command for the whole table, with the names of files but not their folders, which are private."""
    words = ["fkp-train", "compare", "--data", options.data.resolve().name]
    words += ["--index", options.index.name] if options.index else []
    words += ["--budget", f"{options.budget_minutes:g}"]
    return shlex.join([*words, *(["--download"] if options.download else [])])
