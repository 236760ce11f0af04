"""Draws what covers faces in life before faces with 68 landmarks: glasses, masks, scarves, hands, microphones.

In: `Crops68`.  Out: the same faces with something before them.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.faces68 import COVERED, HUMAN, LEFT_EYE, RIGHT_EYE, Crops68

MOUTH, UNDER_NOSE, BRIDGE = slice(48, 68), 33, slice(28, 31)
SHARES = {"sunglasses": 0.25, "glasses": 0.2, "mask": 0.3, "eye": 0.15, "mouth": 0.1}
"""Share of faces with each, and with something held before one eye or the mouth."""
LENS_HALF, LENS_TALL, LENS_POWER = (0.30, 0.46), (0.6, 0.95), (2.0, 5.0)
"""Half the width of a lens in distances of the eyes, its height over its width, and from round to square."""
SOLID = (0.75, 1.0)
"""How much light a dark lens keeps away."""
GLARE_SHARE = 0.5
"""Share of the glasses in which something bright is mirrored."""

Gray = NDArray[np.uint8]
Pixels = NDArray[np.floating]


def covered(crops: Crops68, random: np.random.Generator) -> Crops68:
    """The faces whose landmarks are all known, with something before them, and with `COVERED` where it hides what
    people labelled."""
    crops = crops.only(np.asarray(np.isfinite(crops.landmarks).all((1, 2))))
    images, seen = list(crops.images), crops.placed_by.copy()
    for i, face in enumerate(crops.landmarks):
        kind = random.choice(list(SHARES), p=list(SHARES.values()))
        if kind in ("sunglasses", "glasses"):
            images[i], cover = with_glasses(images[i], face, random, dark=kind == "sunglasses")
        elif kind == "mask":
            images[i], cover = with_mask(images[i], face, random)
        else:
            part = MOUTH if kind == "mouth" else (LEFT_EYE, RIGHT_EYE)[random.integers(2)]
            images[i], cover = with_something_held(images[i], face, part, random)
        seen[i, (_at(cover, face) > 0.5) & (seen[i] == HUMAN)] = COVERED
    return replace(crops, images=images, seen=seen)


def with_glasses(image: Gray, face: Pixels, random: np.random.Generator, *, dark: bool) -> tuple[Gray, Pixels]:
    """A copy of a gray image with glasses on the `face` (68, 2) px: dark ones, or rims and glare only.

    Here and below, the second (H, W) is how much of each pixel's light is kept away.
    """
    eyes, apart = _eyes(face)
    half, power = apart * random.uniform(*LENS_HALF), random.uniform(*LENS_POWER)
    tall, drop = half * random.uniform(*LENS_TALL), random.uniform(0, 0.2)
    shade, fade, solid = random.uniform(0, 70), random.uniform(-40, 40), random.uniform(*SOLID) * dark
    rim, width = random.uniform(0, 90), random.uniform(0.03, 0.15)
    glare = float(random.random() < GLARE_SHARE)
    (x, y), wide, strength = random.uniform(-0.7, 0.7, 2), random.uniform(0.1, 0.5), random.uniform(0.3, 1.0)
    drawn, along = image.astype(np.float32), (eyes[0] - eyes[1]) / apart
    start, end = eyes[0] - along * half * 0.95, eyes[1] + along * half * 0.95
    cv2.line(drawn, start.astype(int).tolist(), end.astype(int).tolist(), rim, max(1, round(width * half)), cv2.LINE_AA)
    dimmed = np.zeros(image.shape)
    for eye in eyes:
        u, v = _axes(image, eye, along, half, tall)
        v = v - drop
        radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
        lens = np.clip((1 - radius) * half / 1.5, 0, 1)
        dimmed = np.maximum(dimmed, lens * solid)
        drawn = _laid(drawn, shade + fade * v, lens * solid)
        drawn = _laid(drawn, 250, lens * glare * strength * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * wide**2)))
        drawn = _laid(drawn, rim, lens * (radius > 1 - width))
    return drawn.clip(0, 255).astype(np.uint8), dimmed


def with_mask(image: Gray, face: Pixels, random: np.random.Generator) -> tuple[Gray, Pixels]:
    """A copy with a mask from the nose to below the chin, or a scarf that reaches further down."""
    eyes, apart = _eyes(face)
    along, mouth = (eyes[0] - eyes[1]) / apart, face[MOUTH].mean(0)
    down = np.array([-along[1], along[0]])
    first = int(random.integers(1, 5))
    rim = mouth + (face[first : 17 - first] - mouth) * random.uniform(0.9, 1.2)
    scarf = random.choice([0.0, random.uniform(0.3, 1.5)], p=[0.7, 0.3])
    rim = rim + np.outer(np.hanning(len(rim)), down) * apart * scarf
    top = face[UNDER_NOSE] if random.random() < 0.1 else face[BRIDGE][random.integers(3)]
    flat = along * apart * random.uniform(0.0, 0.3)
    outline = np.stack([*rim, top + flat, top - flat])
    cover = np.zeros(image.shape, np.float32)
    cv2.fillPoly(cover, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    cover = cv2.GaussianBlur(cover, (0, 0), max(apart * random.uniform(0.005, 0.03), 0.3))
    u, v = _axes(image, mouth, along, apart, apart)
    return _laid(image, _stuff(image, u, v, random), cover).clip(0, 255).astype(np.uint8), cover


def with_something_held(image: Gray, face: Pixels, part: slice, random: np.random.Generator) -> tuple[Gray, Pixels]:
    """A copy with a hand, hair, a microphone or a phone before an eye or the mouth."""
    _, apart = _eyes(face)
    least = 0.3 if part != MOUTH else 0.4
    turn, half = random.uniform(0, np.pi), apart * random.uniform(least, least + 0.3)
    middle = face[part].mean(0) + random.normal(0, 0.06, 2) * apart
    tall, power = half * random.uniform(0.6, 1.5), random.uniform(2.0, 5.0)
    u, v = _axes(image, middle, np.array([np.cos(turn), np.sin(turn)]), half, tall)
    cover = np.clip((1 - (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)) * half / 1.5, 0, 1)
    return _laid(image, _stuff(image, u, v, random), cover).clip(0, 255).astype(np.uint8), cover


def _stuff(image: Gray, u: Pixels, v: Pixels, random: np.random.Generator) -> Pixels:
    """(H, W) gray levels of cloth with folds or a print, or of skin with fingers."""
    waves = np.sin(v * random.uniform(3, 14) + random.uniform(0, np.pi))
    kind = random.integers(3)
    if kind == 0:
        skin = np.roll(image, -round(image.shape[0] * random.uniform(0.15, 0.3)), 0) * random.uniform(0.5, 1.2)
        return np.asarray(skin * (1 - random.uniform(0, 0.3) * np.abs(waves)))
    cloth = random.uniform(0, 255) + random.uniform(-40, 40) * v + random.uniform(-20, 20) * u
    if kind == 1:
        return np.asarray(cloth + random.uniform(0, 25) * waves)
    coarse = random.normal(0, random.uniform(10, 90), random.integers(5, 60, 2))
    return np.asarray(cloth + cv2.resize(coarse, image.shape[::-1], interpolation=cv2.INTER_CUBIC))


def _eyes(face: Pixels) -> tuple[list[Pixels], float]:
    """The middles of the left and the right eye, and how far they are apart, px."""
    left, right = face[LEFT_EYE].mean(0), face[RIGHT_EYE].mean(0)
    return [left, right], max(float(np.hypot(*(left - right))), 4.0)


def _axes(image: Gray, middle: Pixels, along: Pixels, half: float, tall: float) -> tuple[Pixels, Pixels]:
    """(H, W) each: where pixels lie along a direction and across it, in halves of a thing's width and height."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = x - middle[0], y - middle[1]
    return (x * along[0] + y * along[1]) / half, (y * along[0] - x * along[1]) / tall


def _laid(below: Pixels | Gray, above: Pixels | float, cover: Pixels) -> Pixels:
    return below * (1 - cover) + above * cover


def _at(picture: Pixels, points: Pixels) -> Pixels:
    """Values of a picture (H, W) at points (K, 2) px; beyond the edge, those at the edge."""
    column, row = np.clip(points.round().astype(int), 0, np.array(picture.shape[::-1]) - 1).T
    return np.asarray(picture[row, column])
