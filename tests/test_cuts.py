"""Where a shot ends, on films cut together from synthetic cameras and noise of every kind."""

from itertools import product

import cv2
import numpy as np
import pytest

from tracker.core.cuts import Cuts
from tracker.sources.synthetic import SyntheticCamera, astronaut, fast_pan, rolling, talking
from tracker.types import Frame

RATES = [5, 10, 30]


def scene(seed: int) -> np.ndarray:
    """A picture with shapes of every size, (480, 640, 3)."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(128, 50, (n, n, 3)), (640, 480), interpolation=cv2.INTER_CUBIC) for n in (3, 7, 20)]
    return np.clip(np.mean(layers, axis=0) * 1.5 - 64, 0, 255).astype(np.uint8)


def cuts_in(images: list[np.ndarray], rate: float = 30) -> list[int]:
    cuts = Cuts()
    return [index for index, image in enumerate(images) if cuts(Frame(image, index, index / rate))]


def film(motion: object, rate: int, seconds: float = 3.0) -> list[np.ndarray]:
    return [shot.frame.image for shot in SyntheticCamera(astronaut(), motion, rate=rate, seconds=seconds)]


@pytest.mark.parametrize(("motion", "rate"), [*product([talking, rolling], RATES), (fast_pan, 10), (fast_pan, 30)])
def test_motion_is_no_cut_at_any_frame_rate(motion: object, rate: int) -> None:
    assert cuts_in(film(motion, rate), rate) == []


@pytest.mark.parametrize(("gain", "rate"), [(1.0, 5), (1.0, 10), (1.0, 30), (0.3, 30), (0.15, 30)])
def test_a_cut_is_seen_in_light_and_dark(rate: int, gain: float) -> None:
    before = film(talking, rate, 2.0)
    images = [*before, *([scene(1)] * 5), *([scene(2)] * 5)]
    images = [cv2.convertScaleAbs(image, alpha=gain) for image in images]
    assert cuts_in(images, rate) == [len(before), len(before) + 5]


def test_a_cut_between_pictures_that_are_alike_is_seen() -> None:
    """Two people before the same bright wall."""
    one, other = scene(1).astype(float), scene(2).astype(float)
    alike = np.clip(0.6 * one + 0.5 * (other - other.mean()) + 40, 0, 255).astype(np.uint8)
    assert cuts_in([scene(1)] * 12 + [alike] * 12) == [12]


def test_a_flash_a_fade_and_noise_in_the_dark_are_no_cuts() -> None:
    picture = scene(3)
    flash = [picture] * 5 + [cv2.convertScaleAbs(picture, alpha=1.5, beta=30)] + [picture] * 5
    fade = [cv2.convertScaleAbs(picture, alpha=share) for share in np.linspace(1, 0, 30)]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 12, picture.shape, np.uint8) for _ in range(10)]
    for images in (flash, fade, noise):
        assert cuts_in(images) == []


def test_a_picture_of_another_size_begins_no_shot() -> None:
    assert cuts_in([scene(1), cv2.resize(scene(1), (320, 240))]) == []
