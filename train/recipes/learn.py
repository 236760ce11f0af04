"""The training loop that all recipes with a network share, as plain as the publications: Adam on squared errors.

In: a network from crops (N, 1, 96, 96) float 0..1 to 30 numbers in unit space, and `Faces`.  Out: `Fitted`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tracker.spec import COLUMNS, KEYPOINTS, crop_from_unit, unit_from_crop
from train.data.kaggle import Faces
from train.learn.model import layer_macs
from train.recipes.contract import Fitted, Terms

OUTPUTS = len(COLUMNS)

Augment = Callable[
    [NDArray[np.uint8], NDArray[np.float32], np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.float32]]
]
"""One crop (96, 96) and its labels (15, 2) crop px -> another of the same face."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how a network learns.  The defaults are the ordinary ones, for publications that do not say."""

    epochs: int = 100
    batch: int = 32
    learning_rate: float = 1e-3
    augment: Augment | None = None


def fit_network(net: nn.Module, faces: Faces, terms: Terms, course: Course, notes: tuple[str, ...] = ()) -> Fitted:
    """Teach `net` every label of `faces` and hand it over."""
    return fitted(net, len(faces.images), learn(net, faces, terms, course), course, notes)


def learn(net: nn.Module, faces: Faces, terms: Terms, course: Course) -> float:
    """Teach until the course or the time is over, one step at least; returns the epochs done.

    The loss is the mean squared error, unit space, over the coordinates that are labelled.
    """
    random = np.random.default_rng(terms.seed)
    net.to(terms.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(net.parameters(), lr=course.learning_rate)
    size = min(course.batch, len(faces.images))
    per_epoch = len(faces.images) // size
    for epoch in range(course.epochs):
        order = random.permutation(len(faces.images))
        for i in range(per_epoch):
            images, points = _batch(faces, order[i * size : (i + 1) * size], course.augment, random)
            targets = torch.from_numpy(unit_from_crop(points)).float().to(terms.device)
            wanted = ~targets.isnan()
            error = (net(_crops(images, terms.device)) - targets.flatten(1).nan_to_num())[wanted.flatten(1)]
            optimizer.zero_grad(set_to_none=True)
            error.square().mean().backward()
            optimizer.step()
            if terms.seconds_left() <= 0:
                return epoch + (i + 1) / per_epoch
    return course.epochs


def fitted(net: nn.Module, rows: int, epochs: float, course: Course, notes: tuple[str, ...] = ()) -> Fitted:
    """A taught network as a recipe's result."""
    net.eval()
    return Fitted(
        predict=lambda images, _scheme: predicted(net, images),
        rows=rows,
        parameters=parameter_count(net),
        macs=layer_macs(net),
        finished=epochs >= course.epochs,
        notes=(f"{epochs:.3g} of {course.epochs} epochs", *notes),
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
