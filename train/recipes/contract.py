"""What every recipe takes and gives.

In: `Faces` to learn from (crop px, NaN where unlabelled; none of them held out or known to be bad) and `Terms`.
Out: `Fitted`, which turns crops (N, 96, 96) uint8 into labels (N, 15, 2) in the same crop px.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.kaggle import Faces


@dataclass(frozen=True, slots=True)
class Terms:
    """What all recipes are given alike."""

    ends_at: float
    """When the time is spent, on the clock of `time.monotonic`, s; infinite for learning to the recipe's own end.
    What learns in steps takes at least one."""
    device: torch.device
    download: bool = False
    """Whether pretrained weights may be fetched."""
    seed: int = 0
    kept: Path | None = None
    """Beginning of the names of the files that let a stopped recipe go on; None to keep nothing."""

    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    def checkpoint(self, stage: str) -> Path | None:
        """Where a stage of the learning is kept."""
        return self.kept and self.kept.with_name(f"{self.kept.name}.{stage}.safetensors")


Predict = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""Crops (N, 96, 96) and the label scheme (N,) of each -> labels (N, 15, 2), crop px.

Most recipes know of no schemes and ignore them.  NaN only if the scheme has no label.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A recipe after learning."""

    predict: Predict
    rows: int | None
    """Number of faces it learned from; None if it was trained earlier."""
    parameters: int | None = None
    """Number of learned parameters; None if the rows themselves are the model."""
    macs: int | None = None
    """Multiply-adds of one crop."""
    finished: bool = True
    """False when the time ended it early."""
    seconds_before: float = 0.0
    """Spent in runs that were stopped."""
    notes: tuple[str, ...] = ()
    """What a reader of its figures should know."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A published system.  Scores are RMSE in px as published; None if none was published."""

    name: str
    fit: Callable[[Faces, Terms], Fitted]
    """Raises DataError when the faces do not suffice."""
    published_validation: float | None = None
    published_kaggle: float | None = None
    needs: tuple[str, ...] = ()
    """Modules of the extra `recipes` without which it cannot run."""
