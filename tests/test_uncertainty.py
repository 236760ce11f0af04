"""The network that ships knows when it cannot see: paint a hand over a part of a face, and sigma rises there."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.backends.choice import open_backend
from tracker.backends.contract import Backend
from tracker.backends.weights import load
from tracker.core.landmarks import Locate
from tracker.geometry import MEAN_SHAPE, Framing
from tracker.sources.synthetic import astronaut
from tracker.spec import KEYPOINTS, crop_from_unit
from tracker.types import Box, Face, Image
from train.data.kaggle import read_training

PARTS = ("mouth", "left_eye", "right_eye")
FACES = 150


def keypoints_of(part: str) -> NDArray[np.int64]:
    return np.array([i for i, name in enumerate(KEYPOINTS) if part in name])


def with_hand(image: Image, points: NDArray[np.floating], part: str) -> Image:
    """A copy of a crop (H, W) or frame (H, W, 3) with a hand in the face's own mean colour over a part of it.

    points (15, 2) are where the keypoints are, px of the image.
    """
    reach = 0.36 * float(np.linalg.norm(points[0] - points[1])) * (1.4 if part == "mouth" else 1.0)
    x, y = points[keypoints_of(part)].mean(0)
    palm = [((x, y + 0.8 * reach), (reach, 0.8 * reach), 0.9)]
    fingers = [((x + (i - 1.5) * 0.48 * reach, y - 0.1 * reach), (0.26 * reach, 0.95 * reach), 1.0) for i in range(4)]
    gaps = [((x + (i - 1) * 0.48 * reach, y - 0.1 * reach), (0.06 * reach, 0.8 * reach), 0.75) for i in range(3)]
    left, top = points.min(0).astype(int)
    right, bottom = points.max(0).astype(int)
    skin = image[top:bottom, left:right].mean((0, 1))
    hand = image.copy()
    for centre, axes, shade in palm + fingers + gaps:
        place = [tuple(round(16 * value) for value in pair) for pair in (centre, axes)]
        colour = tuple(float(value) for value in np.atleast_1d(skin * shade))
        cv2.ellipse(hand, *place, 0, 0, 360, colour, -1, cv2.LINE_AA, shift=4)
    return hand


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with closing(open_backend("cpu", load())) as backend:
        yield backend


@pytest.fixture
def held_out(shared: Path) -> Image:
    """(N, 96, 96) faces that the network did not learn from."""
    folder = shared / "data" / "kaggle"
    faces = read_training(folder, index=folder / "training_index.csv")
    images = faces.images[faces.held & ~faces.problem]
    return images[:: len(images) // FACES]


@pytest.mark.parametrize("part", PARTS)
def test_a_hand_on_the_portrait_raises_sigma_where_it_lies(backend: Backend, part: str) -> None:
    portrait, locate = astronaut(), Locate(backend)
    region = Framing(MEAN_SHAPE[:2], [1, 1])(np.array([portrait.left_eye, portrait.right_eye]))
    face = Face(0, region, Box(0, 0, 1, 1), 1.0)
    plain = locate(portrait.image, [face])
    painted = locate(with_hand(portrait.image, plain.keypoints[0], part), [face])
    rise = painted.sigma[0] / plain.sigma[0]
    hidden = np.isin(np.arange(len(KEYPOINTS)), keypoints_of(part))
    assert rise[hidden].min() > 1.3
    assert rise[hidden].mean() > 1.2 * np.median(rise[~hidden])


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_hand_raises_sigma_on_nearly_every_face_that_was_held_out(
    backend: Backend, held_out: Image, part: str
) -> None:
    points, sigma = backend(held_out[:, None])
    covered = [with_hand(image, at, part) for image, at in zip(held_out, crop_from_unit(points), strict=True)]
    rise = backend(np.array(covered)[:, None])[1] / sigma
    hidden = keypoints_of(part)
    assert (rise[:, hidden].mean(1) > 1.2).mean() > 0.95
    assert (rise[:, hidden].mean(1) > np.delete(rise, hidden, axis=1).mean(1)).mean() > 0.95
