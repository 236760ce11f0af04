"""Draws glasses and hands on faces with 68 landmarks: nobody can tell how far an eye behind them is open.

In: `Crops68`.  Out: the same faces with something before their eyes, and which signals it hides.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.spec import SIGNALS
from train.data.faces68 import LEFT_EYE, RIGHT_EYE, Crops68

DARK, CLEAR, COVERED = range(3)
KIND_SHARES = (0.4, 0.4, 0.2)
"""Share of faces with sunglasses, with other glasses, and with one eye covered."""
LENS_HALF, LENS_TALL, LENS_POWER = (0.30, 0.46), (0.6, 0.95), (2.0, 5.0)
"""Half the width of a lens in distances of the eyes, its height over its width, and from round to square."""
SOLID = (0.75, 1.0)
"""How much light a dark lens keeps away."""
GLARE_SHARE = 0.5
"""Share of the glasses in which something bright is mirrored."""

Image = NDArray[np.uint8]
Pixels = NDArray[np.floating]


def behind_something(crops: Crops68, random: np.random.Generator) -> tuple[Crops68, NDArray[np.bool_]]:
    """The same faces with something before their eyes, and (N, 3) which of `SIGNALS` it hides."""
    images, hidden = list(crops.images), np.zeros((len(crops.names), len(SIGNALS)), bool)
    for i, face in enumerate(crops.landmarks):
        kind = int(random.choice(len(KIND_SHARES), p=KIND_SHARES))
        if kind == COVERED:
            eye = int(random.integers(2))
            images[i], hidden[i, eye] = with_eye_covered(images[i], face, eye, random), True
        else:
            images[i], hidden[i, :2] = with_glasses(images[i], face, random, dark=kind == DARK), kind == DARK
    return replace(crops, images=images), hidden


def with_glasses(image: Image, landmarks: Pixels, random: np.random.Generator, *, dark: bool) -> Image:
    """A copy of a gray image with glasses on the face of `landmarks` (68, 2) px: dark ones, or rims and glare only."""
    eyes, apart = _eyes(landmarks)
    half, power = apart * random.uniform(*LENS_HALF), random.uniform(*LENS_POWER)
    tall, drop = half * random.uniform(*LENS_TALL), random.uniform(0, 0.2)
    shade, fade, solid = random.uniform(0, 70), random.uniform(-40, 40), random.uniform(*SOLID)
    rim, width = random.uniform(0, 90), random.uniform(0.03, 0.15)
    glare = float(random.random() < GLARE_SHARE)
    (x, y), wide, strength = random.uniform(-0.7, 0.7, 2), random.uniform(0.1, 0.5), random.uniform(0.3, 1.0)
    drawn, along = image.astype(np.float32), (eyes[0] - eyes[1]) / apart
    start, end = eyes[0] - along * half * 0.95, eyes[1] + along * half * 0.95
    cv2.line(drawn, start.astype(int).tolist(), end.astype(int).tolist(), rim, max(1, round(width * half)), cv2.LINE_AA)
    for eye in eyes:
        u, v = _axes(image, eye, along, half, tall)
        v = v - drop
        radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
        lens = np.clip((1 - radius) * half / 1.5, 0, 1)
        drawn = _laid(drawn, shade + fade * v, lens * (solid if dark else 0.0))
        drawn = _laid(drawn, 250, lens * glare * strength * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * wide**2)))
        drawn = _laid(drawn, rim, lens * (radius > 1 - width))
    return drawn.clip(0, 255).astype(np.uint8)


def with_eye_covered(image: Image, landmarks: Pixels, eye: int, random: np.random.Generator) -> Image:
    """A copy with a patch of the cheek over the left (0) or right (1) eye, as a hand or hair would lie there."""
    eyes, apart = _eyes(landmarks)
    down = round(apart * random.uniform(0.6, 1.0))
    cheek = np.roll(image, -down, 0).astype(np.float32) * random.uniform(0.5, 1.2)
    turn, half = random.uniform(0, np.pi), apart * random.uniform(0.3, 0.5)
    along = np.array([np.cos(turn), np.sin(turn)])
    u, v = _axes(image, eyes[eye], along, half, half * random.uniform(0.7, 1.5))
    cover = np.clip((1 - np.hypot(u, v)) * half / 1.5, 0, 1)
    return _laid(image, cheek, cover).clip(0, 255).astype(np.uint8)


def _eyes(landmarks: Pixels) -> tuple[list[Pixels], float]:
    """The middles of the left and the right eye, and how far they are apart, px."""
    left, right = landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)
    return [left, right], max(float(np.hypot(*(left - right))), 4.0)


def _axes(image: Image, middle: Pixels, along: Pixels, half: float, tall: float) -> tuple[Pixels, Pixels]:
    """(H, W) each: where pixels lie along a direction and across it, in halves of a thing's width and height."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = x - middle[0], y - middle[1]
    return (x * along[0] + y * along[1]) / half, (y * along[0] - x * along[1]) / tall


def _laid(below: Pixels | Image, above: Pixels | float, cover: Pixels) -> Pixels:
    return below * (1 - cover) + above * cover
