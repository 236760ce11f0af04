"""Where a shot ends, on films cut together from synthetic cameras and noise of every kind."""

from functools import cache
from itertools import product

import cv2
import numpy as np
import pytest

from tracker.core.cuts import Cuts
from tracker.sources.synthetic import SyntheticCamera, astronaut, fast_pan, rolling, talking
from tracker.types import Frame

RATES = [5, 10, 30]


@cache
def scene(seed: int) -> np.ndarray:
    """A picture with shapes of every size, (480, 640, 3)."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(128, 50, (n, n, 3)), (640, 480), interpolation=cv2.INTER_CUBIC) for n in (3, 7, 20)]
    return np.clip(np.mean(layers, axis=0) * 1.5 - 64, 0, 255).astype(np.uint8)


def cuts_in(images: list[np.ndarray], rate: float = 30) -> list[int]:
    cuts = Cuts()
    return [index for index, image in enumerate(images) if cuts(Frame(image, index, index / rate))]


@cache
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


def mixed(before: np.ndarray, after: np.ndarray, share: float, way: str) -> np.ndarray:
    """A picture between two shots."""
    if way == "dissolve":
        return cv2.addWeighted(before, 1 - share, after, share, 0)
    edge = round(share * before.shape[1])
    return np.hstack([after[:, :edge], before[:, edge:]])


@pytest.mark.parametrize(
    ("way", "seconds", "rate"),
    [*product(["dissolve", "wipe"], [0.3, 0.6], [10, 30]), ("dissolve", 1.0, 25)],
)
def test_a_dissolve_and_a_wipe_are_cuts_that_are_told_once(way: str, seconds: float, rate: int) -> None:
    mixes = round(seconds * rate)
    between = [mixed(scene(1), scene(2), (i + 1) / (mixes + 1), way) for i in range(mixes)]
    told = cuts_in([scene(1)] * rate + between + [scene(2)] * rate, rate)
    assert len(told) == 1
    assert rate < told[0] <= rate + mixes + 0.2 * rate


def seen_by_a_camera(picture: np.ndarray, zoom: float, x: float, y: float) -> np.ndarray:
    """A part of a picture, moved by px and magnified about the middle."""
    matrix = np.array([[zoom, 0, 320 - zoom * (320 + x)], [0, zoom, 240 - zoom * (240 + y)]])
    return cv2.warpAffine(picture, matrix, (640, 480), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("motion", ["shake", "pan", "zoom"])
def test_a_moved_camera_is_no_cut(motion: str, rate: int) -> None:
    times = np.arange(2 * rate) / rate
    still = np.zeros_like(times)
    zooms, xs, ys = {
        "shake": (still + 1.3, 40 * np.sin(19 * times), 30 * np.sin(17 * times)),
        "pan": (still + 1.3, 240 * np.sin(2 * times), still),
        "zoom": (np.exp(0.35 * np.sin(2 * times)), still, still),
    }[motion]
    views = [seen_by_a_camera(scene(1), *view) for view in zip(zooms, xs, ys, strict=True)]
    assert cuts_in(views, rate) == []


def test_a_flash_a_fade_and_noise_in_the_dark_are_no_cuts() -> None:
    picture = scene(3)
    flash = [picture] * 5 + [cv2.convertScaleAbs(picture, alpha=1.5, beta=30)] + [picture] * 5
    fade = [cv2.convertScaleAbs(picture, alpha=share) for share in np.linspace(1, 0, 30)]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 12, picture.shape, np.uint8) for _ in range(10)]
    white = [picture] * 5 + [cv2.convertScaleAbs(picture, alpha=2.5, beta=120)] * 2 + [picture] * 5
    for images in (flash, white, fade, noise):
        assert cuts_in(images) == []


def test_a_picture_of_another_size_begins_no_shot() -> None:
    assert cuts_in([scene(1), cv2.resize(scene(1), (320, 240))]) == []


def test_only_a_change_as_large_as_another_face_is_a_jump() -> None:
    """A still film has a little more noise every second, where its codec begins again."""
    rng = np.random.default_rng(0)
    quiet, noisy = (np.clip(scene(1) + rng.normal(0, sd, (480, 640, 3)), 0, 255).astype(np.uint8) for sd in (1, 3))
    replaced = scene(1).copy()
    replaced[100:180, 200:280] = scene(2)[100:180, 200:280]

    def change(*images: np.ndarray, smallest: float) -> tuple[bool, bool]:
        cuts = Cuts()
        for index, image in enumerate([scene(1), *images]):
            cuts(Frame(image, index, index / 30), smallest)
        return cuts.may_replace, cuts.has_jumped

    assert change(quiet, scene(1), noisy, smallest=0.0) == (True, True)
    assert change(quiet, scene(1), noisy, smallest=80.0) == (False, False)
    assert change(quiet, scene(1), replaced, smallest=80.0) == (True, True)
    assert change(replaced, scene(1), replaced, smallest=80.0) == (True, False)
