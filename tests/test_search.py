"""A detector told how to look: at turned, small and badly lit faces, on real pictures."""

import math
from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest

from tracker import Tracker
from tracker.detectors.registry import open_detector
from tracker.detectors.search import (
    BEYOND_PX,
    ENLARGED,
    MOST_FAINT,
    OVERLAP_PX,
    PART_PX,
    Search,
    parts_of,
    seen_whole_from,
    whole_px,
)
from tracker.detectors.second_look import CELLS, SIDES_PX
from tracker.geometry import EYE_MIDPOINT, unit_from_frame
from tracker.spec import INDEX
from tracker.types import ALL_TURNS, EVERY_PART, EVERY_PART_TURNED, Box, Detection, Region

EYES = np.array([[246.6, 102.5], [202.8, 100.5]])
"""Of the portrait: the subject's left and right eye, frame px."""


@pytest.fixture(scope="module")
def search() -> Iterator[Search]:
    with closing(open_detector("yunet")) as detector:
        yield Search(detector)


def turned(portrait: np.ndarray, degrees: float, side: int = 480) -> tuple[np.ndarray, np.ndarray]:
    """The portrait's head turned clockwise in a square picture, and where its eyes are."""
    matrix = cv2.getRotationMatrix2D((224.0, 120.0), -degrees, side / 330)
    matrix[:, 2] += side / 2 - np.array([224.0, 120.0])
    image = cv2.warpAffine(portrait, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return image, np.c_[EYES, [1, 1]] @ matrix.T


@pytest.mark.parametrize("quarter", ALL_TURNS)
@pytest.mark.parametrize("width", [480, 700])
def test_a_turned_face_is_found_where_it_is(search: Search, portrait: np.ndarray, quarter: int, width: int) -> None:
    image, eyes = turned(portrait, 90 * quarter)
    wide = np.hstack([image, np.zeros((480, width - 480, 3), np.uint8)])
    best, *others = search(wide, turns=ALL_TURNS)
    assert others == []
    region = min((best.region, *best.alternatives), key=lambda each: abs(unrolled(each.roll, quarter)))
    assert math.degrees(unrolled(region.roll, quarter)) == pytest.approx(0, abs=12)
    np.testing.assert_allclose(unit_from_frame(eyes.mean(0), region), EYE_MIDPOINT, atol=0.12)
    assert best.box.left < region.x < best.box.right
    assert best.box.top < region.y < best.box.bottom


def unrolled(roll: float, quarter: int) -> float:
    return math.remainder(roll - quarter * math.pi / 2, math.tau)


@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180, 225, 270, 315])
def test_the_keypoints_of_a_picture_are_right_at_every_roll(portrait: np.ndarray, degrees: float) -> None:
    image, eyes = turned(portrait, degrees)
    with Tracker(backend="cpu") as tracker:
        tracked = tracker.image(image)
    assert len(tracked.faces) == 1
    found = tracked.keypoints[0, [INDEX["left_eye_center"], INDEX["right_eye_center"]]]
    np.testing.assert_allclose(found, eyes, atol=0.1 * math.dist(*eyes))


def test_parts_cover_large_pictures_and_overlap() -> None:
    for width, height in ((1920, 1080), (3840, 2160), (9600, 2400), (641, 640)):
        covered = np.zeros((height, width), bool)
        finest = [part for part in parts_of(width, height) if part[2] == 1]
        for left, top, _ in finest:
            covered[top : top + PART_PX, left : left + PART_PX] = True
        assert covered.all()
        assert len({left for left, _, _ in finest}) <= math.ceil(width / (PART_PX - OVERLAP_PX))
    assert parts_of(640, 480) == [(0, 0, 1)]
    assert parts_of(320, 240) == []


@pytest.mark.parametrize(("width", "height"), [(300, 200), (640, 480), (1920, 1080)])
def test_parts_of_a_thorough_search_are_enlarged_and_reach_beyond_every_edge(width: int, height: int) -> None:
    parts = parts_of(width, height, thorough=True)
    beyond, reach = BEYOND_PX * ENLARGED, PART_PX * ENLARGED
    finest = [(left, top) for left, top, shrink in parts if shrink == ENLARGED]
    assert min(finest) == (-beyond, -beyond)
    assert max(left for left, _ in finest) + reach >= width + beyond
    assert max(top for _, top in finest) + reach >= height + beyond


@pytest.mark.parametrize(("width", "whole"), [(320, 320), (640, 320), (1280, 416), (1920, 640), (3840, 640)])
def test_the_size_of_the_whole_follows_the_picture(width: int, whole: int) -> None:
    assert whole_px((width * 9 // 16, width, 3)) == whole
    assert (seen_whole_from((width * 9 // 16, width, 3)) > 0) == (width > 640)


@pytest.mark.parametrize("width", [1920, 3840])
def test_small_faces_in_large_pictures_are_found(portrait: np.ndarray, width: int) -> None:
    """14 px between the eyes, in several places, and one close by."""
    image = np.full((width * 9 // 16, width, 3), 90, np.uint8)
    small = cv2.resize(portrait[:260, 90:360], None, fx=14 / 43.8, fy=14 / 43.8, interpolation=cv2.INTER_AREA)
    places = [(0.05, 0.1), (0.2, 0.8), (0.75, 0.85), (0.93, 0.4)]
    for x, y in places:
        left, top = round(x * width), round(y * image.shape[0])
        image[top : top + small.shape[0], left : left + small.shape[1]] = small
    near = cv2.resize(portrait[:300, 90:360], None, fx=2.5, fy=2.5)
    image[: near.shape[0], width // 3 : width // 3 + near.shape[1]] = near
    with Tracker(backend="cpu") as tracker:
        assert len(tracker.image(image).faces) == len(places) + 1


def test_a_part_reports_in_frame_px_and_only_what_is_in_it(search: Search, portrait: np.ndarray) -> None:
    image = np.full((1080, 1920, 3), 90, np.uint8)
    image[700:1000, 1500:1770] = portrait[:300, 90:360]
    whole = search(image, part=EVERY_PART)
    parts = parts_of(1920, 1080)
    seen = [search(image, part=number) for number in range(len(parts))]
    assert len(whole) == 1
    assert sum(map(bool, seen)) < len(parts)
    eyes = EYES.mean(0) - (90, 0) + (1500, 700)
    for found in [whole, *filter(None, seen)]:
        np.testing.assert_allclose(unit_from_frame(eyes, found[0].region), EYE_MIDPOINT, atol=0.15)


@pytest.mark.parametrize(
    ("gain", "offset", "noise"),
    [(0.05, 0, 1.0), (0.03, 0, 0.5), (0.15, 0, 12), (1.0, 0, 50), (0.05, 170, 1.4), (0.06, 60, 1.0), (2.2, 0, 2)],
    ids=["dark", "darker", "dark and noisy", "noisy", "bright fog", "dark fog", "overexposed"],
)
def test_a_face_in_bad_light_is_found(portrait: np.ndarray, gain: float, offset: float, noise: float) -> None:
    lit = turned(portrait, 0)[0] * gain + offset
    image = np.clip(lit + np.random.default_rng(0).normal(0, noise, lit.shape), 0, 255).astype(np.uint8)
    with Tracker(backend="cpu") as tracker:
        assert len(tracker.image(image).faces) == 1


def test_a_turned_face_in_the_dark_is_found(portrait: np.ndarray) -> None:
    image, eyes = turned(portrait, 90)
    dark = np.clip(image * 0.05 + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    with Tracker(backend="cpu") as tracker:
        tracked = tracker.image(dark)
    assert len(tracked.faces) == 1
    found = tracked.keypoints[0, [INDEX["left_eye_center"], INDEX["right_eye_center"]]]
    np.testing.assert_allclose(found, eyes, atol=0.15 * math.dist(*eyes))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_picture_shows_nothing_in_any_light(level: int) -> None:
    with Tracker(backend="cpu") as tracker:
        assert not tracker.image(np.full((480, 640, 3), level, np.uint8)).faces


class Confetti:
    """A detector that sees 1,000 faint faces in every picture, as a real one does in enlarged noise."""

    name = "confetti"

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, image: np.ndarray, smallest: float | None = None, *, size: int | None = None) -> list[Detection]:
        self.looks += 1
        places = np.random.default_rng(self.looks).uniform(0, min(image.shape[:2]), (1000, 2))
        return [Detection(Box(x, y, x + 90, y + 90), 0.2, Region(x, y, 90.0, 0.0)) for x, y in places.tolist()]

    def close(self) -> None:
        pass


def test_noise_does_not_cost_a_thorough_search_minutes() -> None:
    confetti, gray = Confetti(), np.full((480, 640, 3), 128, np.uint8)
    Search(confetti, least=0.3, thorough=True)(gray, part=EVERY_PART_TURNED)
    pieces, again = len(parts_of(640, 480, thorough=True)), len(SIDES_PX) * math.ceil(MOST_FAINT / CELLS)
    assert pieces < confetti.looks <= 3 * (1 + pieces + again)  # as it is, and in two other lights
