"""The training loop that all recipes with a network share, as plain as the publications: Adam on squared errors.

In: a network from crops (N, 1, 96, 96) float 0..1 to 30 numbers in unit space, and `Faces`.  Out: `Fitted`.
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tracker.errors import DataError
from tracker.spec import COLUMNS, KEYPOINTS, crop_from_unit, unit_from_crop
from tracker.support.process import undisturbed
from train.data.kaggle import Faces
from train.learn.loop import Part, load_state, read_checkpoint, state_of, write_checkpoint
from train.learn.model import mac_count
from train.metrics import rmse
from train.recipes.contract import Fitted, Terms

log = logging.getLogger(__name__)

OUTPUTS = len(COLUMNS)

KEEP_EVERY_S = 60.0
"""What a kill can cost."""

ASIDE = 10
"""One in so many faces says when to end early, and does not teach."""

Augment = Callable[
    [NDArray[np.uint8], NDArray[np.float32], np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.float32]]
]
"""One crop (96, 96) and its labels (15, 2) crop px -> another of the same face."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how a network learns.  The defaults are the ordinary ones, for publications that do not say."""

    epochs: int = 100
    """At most, if `patience` is not None."""
    patience: int | None = 10
    """It ends so many epochs after the one that was best on faces set aside, and keeps the weights of that one.  None:
    all faces teach, in all epochs."""
    batch: int = 32
    learning_rate: float = 1e-3
    augment: Augment | None = None


class Learned(NamedTuple):
    """How far a network was taught."""

    epochs: float
    finished: bool
    seconds_before: float
    """Spent in runs that were stopped."""


def fit_network(net: nn.Module, faces: Faces, terms: Terms, course: Course, notes: tuple[str, ...] = ()) -> Fitted:
    """Teach `net` every label of `faces` and hand it over."""
    return fitted(net, len(faces.images), learn(net, faces, terms, course), course, notes)


def learn(net: nn.Module, faces: Faces, terms: Terms, course: Course, stage: str = "net") -> Learned:
    """Teach until the course or the time is over, one step at least; go on from what `terms` kept of this stage.

    The loss is the mean squared error, unit space, over the coordinates that are labelled.  All that is random depends
    on the seed and the number of the step, so a resumed run takes the steps that an unbroken one takes.
    """
    net.to(terms.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    run = _Run(net, torch.optim.Adam(net.parameters(), lr=course.learning_rate), faces, terms, course)
    path = terms.checkpoint(stage)
    before = run.restore(path) if path and path.exists() else 0.0
    first, started, told = run.step, time.monotonic(), time.monotonic()
    try:
        while not run.is_over and (run.step == first or terms.seconds_left() > 0):
            with undisturbed(partial(_tell_stop, path)):
                run.take_step()
            if time.monotonic() - told > KEEP_EVERY_S:
                told = time.monotonic()
                log.info("%.1f of %d epochs", run.epochs, course.epochs)
                if path:
                    run.keep(path, before + told - started)
    finally:
        if path:
            run.keep(path, before + time.monotonic() - started)
    if run.best_epoch:
        net.load_state_dict(run.best.state_dict())
    return Learned(run.epochs, run.is_over, before)


def _tell_stop(path: Path | None) -> None:
    log.info("stopping%s", "; the same command continues" if path else "")


class _Run:
    """A network that learns."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Adam, faces: Faces, terms: Terms, course: Course) -> None:
        self.net, self.optimizer, self.terms, self.course = net, optimizer, terms, course
        place = np.random.default_rng(terms.seed).permutation(len(faces.images))
        aside = place < (0 if course.patience is None else len(place) // ASIDE)
        self.faces, self.aside = faces.only(~aside), faces.only(aside)
        self.size = min(course.batch, len(self.faces.images))
        self.per_epoch = len(self.faces.images) // self.size
        self.step = 0
        self.best = copy.deepcopy(net) if aside.any() else net
        self.best_error, self.best_epoch = math.inf, 0

    @property
    def epochs(self) -> float:
        return self.step / self.per_epoch

    @property
    def is_over(self) -> bool:
        waited = 0 if self.best is self.net else int(self.epochs) - self.best_epoch
        return self.epochs >= self.course.epochs or waited >= (self.course.patience or math.inf)

    def take_step(self) -> None:
        epoch, i = divmod(self.step, self.per_epoch)
        order = np.random.default_rng((self.terms.seed, epoch)).permutation(len(self.faces.images))
        random = np.random.default_rng((self.terms.seed, epoch, i))
        torch.manual_seed(int(random.integers(1 << 62)))  # for dropout
        chosen = order[i * self.size : (i + 1) * self.size]
        images, points = _batch(self.faces, chosen, self.course.augment, random)
        targets = torch.from_numpy(unit_from_crop(points)).float().to(self.terms.device)
        wanted = ~targets.isnan()
        error = (self.net(_crops(images, self.terms.device)) - targets.flatten(1).nan_to_num())[wanted.flatten(1)]
        self.optimizer.zero_grad(set_to_none=True)
        error.square().mean().backward()
        self.optimizer.step()
        self.step += 1
        if self.step % self.per_epoch == 0 and self.best is not self.net:
            self._judge()

    def _judge(self) -> None:
        error = rmse(predicted(self.net, self.aside.images), self.aside.points)
        self.net.train()
        if error < self.best_error:
            self.best.load_state_dict(self.net.state_dict())
            self.best_error, self.best_epoch = error, int(self.epochs)

    def _parts(self) -> dict[str, Part]:
        best = {} if self.best is self.net else {"best": self.best}
        return {"net": self.net, "adam": self.optimizer, **best}

    def keep(self, path: Path, seconds: float) -> None:
        state = state_of(self._parts())
        state["step"], state["best_epoch"] = torch.tensor(self.step), torch.tensor(self.best_epoch)
        state["best_error"] = torch.tensor(self.best_error, dtype=torch.float64)
        write_checkpoint(path, state, self._settings(), seconds)

    def restore(self, path: Path) -> float:
        """Go on from a kept run; returns its seconds.  Raises DataError when it is not one of the same learning."""
        state, seconds = read_checkpoint(path, self._settings())
        try:
            load_state(self._parts(), state)
            self.step, self.best_epoch = int(state["step"]), int(state["best_epoch"])
            self.best_error = float(state["best_error"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(f"{path} does not fit this recipe ({error}); start again with --overwrite") from error
        return seconds

    def _settings(self) -> dict[str, object]:
        course = self.course
        return {
            "rows": len(self.faces.images) + len(self.aside.images),
            "data": self.faces.sha256,
            "epochs": course.epochs,
            "patience": course.patience,
            "batch": course.batch,
            "learning_rate": course.learning_rate,
            "augmented": course.augment is not None,
            "seed": self.terms.seed,
            "device": self.terms.device.type,
        }


def fitted(net: nn.Module, rows: int, learned: Learned, course: Course, notes: tuple[str, ...] = ()) -> Fitted:
    """A taught network as a recipe's result."""
    net.eval()
    whose = "published" if course.patience is None else f"our choice; the end is {course.patience} after the best"
    return Fitted(
        predict=lambda images, _scheme: predicted(net, images),
        rows=rows,
        parameters=parameter_count(net),
        macs=mac_count(net),
        finished=learned.finished,
        seconds_before=learned.seconds_before,
        notes=(f"{learned.epochs:.3g} of {course.epochs} epochs ({whose})", *notes),
    )


@torch.no_grad()
def predicted(net: nn.Module, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
    """Crops (N, 96, 96) -> (N, 15, 2) crop px."""
    net.eval()
    device = next(net.parameters()).device
    parts = [net(_crops(images[i : i + batch], device)).cpu().numpy() for i in range(0, len(images), batch)]
    return crop_from_unit(np.concatenate(parts).reshape(-1, len(KEYPOINTS), 2)).astype(np.float32)


def parameter_count(net: nn.Module) -> int:
    """As Keras counts, in which most recipes were published: batch norm's running means and variances are in it."""
    return sum(numbers.numel() for numbers in net.state_dict().values() if numbers.is_floating_point())


def _crops(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(N, 96, 96) -> (N, 1, 96, 96) float 0..1."""
    crops = torch.from_numpy(np.ascontiguousarray(images[:, None])).to(device).float() / 255
    return crops.contiguous(memory_format=torch.channels_last)


def _batch(
    faces: Faces, chosen: NDArray[np.integer], augment: Augment | None, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    images, points = faces.images[chosen], faces.points[chosen]
    if augment is None:
        return images, points
    images, points = zip(*(augment(*face, random) for face in zip(images, points, strict=True)), strict=True)
    return np.stack(images), np.stack(points)
