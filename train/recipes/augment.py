"""The augmentation that one course published for its nearest-neighbour and convolutional recipes.

In and out: one crop (96, 96) uint8 and its labels (15, 2), crop px.  Seven steps in random order; what leaves the
picture is lost and what comes in is black, which is their library's default.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.spec import MIRROR, SIZE

Gray = NDArray[np.uint8]
Points = NDArray[np.float32]
Step = Callable[[Gray, Points, np.random.Generator], tuple[Gray, Points]]

ROTATION_DEG = 10.0


def augmented(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    """A new picture of the same face."""
    for i in random.permutation(len(STEPS)):
        chance, step = STEPS[i]
        if random.random() < chance:
            image, points = step(image, points, random)
    return image, points


def rotated(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    """About the centre, by up to 10 degrees either way."""
    angle = np.radians(random.uniform(-ROTATION_DEG, ROTATION_DEG))
    cos, sin = np.cos(angle), np.sin(angle)
    return _about_centre(image, points, np.array([[cos, -sin], [sin, cos]]))


def _zoomed(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    return _about_centre(image, points, np.eye(2) * random.uniform(0.8, 1.2))


def _cropped(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    """Each side loses up to a tenth, and the rest is stretched to the full size."""
    left_top, right_bottom = random.uniform(0, 0.1, (2, 2))
    axes = np.diag(1 / (1 - left_top - right_bottom))
    return _moved(image, points, axes, -axes @ left_top * SIZE)


def _mirrored(image: Gray, points: Points, _random: np.random.Generator) -> tuple[Gray, Points]:
    flipped = points[list(MIRROR)] * [-1, 1] + [SIZE, 0]
    return np.ascontiguousarray(image[:, ::-1]), flipped.astype(np.float32)


def _equalised(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    return cv2.createCLAHE(clipLimit=random.uniform(1, 10)).apply(image), points


def _blurred(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    sigma = random.uniform(0, 2)
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 1e-3)), points


def _noisy(image: Gray, points: Points, random: np.random.Generator) -> tuple[Gray, Points]:
    grain = random.normal(0, random.uniform(0, 0.1 * 255), image.shape)
    return (image + grain).clip(0, 255).astype(np.uint8), points


STEPS: tuple[tuple[float, Step], ...] = (
    (1.0, rotated),
    (1.0, _zoomed),
    (0.8, _equalised),
    (1.0, _blurred),
    (0.5, _noisy),
    (0.5, _cropped),
    (0.8, _mirrored),
)
"""Each step and how often it is taken."""


def _about_centre(image: Gray, points: Points, axes: NDArray[np.floating]) -> tuple[Gray, Points]:
    centre = np.full(2, SIZE / 2)
    return _moved(image, points, axes, centre - axes @ centre)


def _moved(image: Gray, points: Points, axes: NDArray[np.floating], shift: NDArray[np.floating]) -> tuple[Gray, Points]:
    """Every place p, crop px, goes to axes @ p + shift."""
    by_centres = shift + axes @ [0.5, 0.5] - 0.5  # OpenCV counts from the middle of the first pixel, not from its edge
    picture = cv2.warpAffine(image, np.column_stack([axes, by_centres]), (SIZE, SIZE))
    return picture, (points @ axes.T + shift).astype(np.float32)
