"""Regions, the crop cut from them and the way back."""

import math

import cv2
import numpy as np
import pytest

from tracker.geometry import (
    EYE_MIDPOINT,
    MEAN_SHAPE,
    SIDE_IOD,
    Framing,
    cut,
    frame_from_unit,
    frame_from_units,
    region_from_keypoints,
    unit_from_frame,
)
from tracker.spec import INDEX, KEYPOINTS, MIRROR, SIZE, unit_from_crop
from tracker.types import Region

REGIONS = [
    Region(160.0, 120.0, 96.0, 0.0),
    Region(150.3, 130.7, 70.0, 0.3),
    Region(160.0, 110.0, 130.0, -2.0),
    Region(170.0, 120.0, 200.0, 0.7),
    Region(200.2, 181.9, 310.0, math.pi),
]


def ramp(width: int, height: int, across: float, down: float) -> np.ndarray:
    """A BGR picture whose gray value is 10 + across * x + down * y."""
    gray = 10 + across * np.arange(width) + down * np.arange(height)[:, None]
    return cv2.cvtColor(np.round(gray).astype(np.uint8), cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("region", REGIONS)
def test_every_crop_pixel_shows_the_frame_where_its_map_says(region: Region) -> None:
    image = ramp(400, 400, 0.35, 0.2)
    crop_px = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1) + 0.5  # the middles of its pixels
    x, y = np.moveaxis(frame_from_unit(unit_from_crop(crop_px), region), -1, 0)
    inside = (x > 3) & (x < 396) & (y > 3) & (y < 396)
    assert inside.mean() > 0.6
    error = cut(image, [region])[0, 0].astype(float) - (10 + 0.35 * x + 0.2 * y)
    assert np.abs(error[inside]).max() < 1.2  # rounding of the ramp and of the crop
    assert abs(error[inside].mean()) < 0.1  # a shift of a quarter pixel would show here


def test_a_region_of_96_pixels_on_the_grid_copies_the_picture(portrait: np.ndarray) -> None:
    region = Region(200 + 47.5, 60 + 47.5, SIZE, 0.0)  # the middle of 96 pixels lies between two
    gray = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(cut(portrait, [region])[0, 0], gray[60:156, 200:296])


@pytest.mark.parametrize("shrink", [2, 3, 4, 5, 6, 7])
def test_a_large_face_becomes_the_means_of_whole_blocks(shrink: int) -> None:
    side = 100 * shrink
    gray = np.random.default_rng(shrink).integers(0, 256, (side, side), np.uint8)
    crop = cut(gray, [Region((side - 1) / 2, (side - 1) / 2, SIZE * shrink, 0.0)])[0, 0]
    means = gray.reshape(100, shrink, 100, shrink).mean(axis=(1, 3))[2:-2, 2:-2]
    assert np.abs(crop - means).max() <= (0.5 if shrink % 2 or shrink == 2 else 1.0) + 1e-9


def test_cutting_many_gives_each_its_own_crop(portrait: np.ndarray) -> None:
    crops = cut(portrait, REGIONS)
    assert crops.shape == (len(REGIONS), 1, SIZE, SIZE)
    for crop, region in zip(crops, REGIONS, strict=True):
        np.testing.assert_array_equal(crop, cut(portrait, [region])[0])
    assert cut(portrait, []).shape == (0, 1, SIZE, SIZE)


@pytest.mark.parametrize(
    "region",
    [Region(-500, 50, 90, 0.2), Region(5, 5, 3000, 1.0), Region(64, 47, 1e-3, 0.0), Region(127.5, 95.5, 40, 0.0)],
    ids=["outside", "far larger than the picture", "no size", "corner"],
)
def test_a_region_may_reach_beyond_the_picture(region: Region) -> None:
    image = np.full((96, 128, 3), 77, np.uint8)
    np.testing.assert_array_equal(cut(image, [region]), 77)


@pytest.mark.parametrize("region", REGIONS)
def test_unit_and_frame_are_inverse(region: Region) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (15, 2))
    np.testing.assert_allclose(unit_from_frame(frame_from_unit(points, region), region), points, atol=1e-5)


@pytest.mark.parametrize("regions", [REGIONS, REGIONS[1:2], []], ids=len)
def test_the_points_of_many_crops_are_placed_as_each_alone(regions: list[Region]) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (len(regions), 15, 2)).astype(np.float32)
    alone = [frame_from_unit(*each) for each in zip(points, regions, strict=True)]
    together = frame_from_units(points, regions)
    assert (together.shape, together.dtype) == (points.shape, np.float32)
    np.testing.assert_array_equal(together, np.reshape(alone, points.shape))


@pytest.mark.parametrize("region", REGIONS)
def test_the_mean_face_lies_in_exactly_its_region(region: Region) -> None:
    found = region_from_keypoints(frame_from_unit(MEAN_SHAPE, region))
    assert (found.x, found.y, found.side) == pytest.approx((region.x, region.y, region.side), abs=1e-3)
    assert math.remainder(found.roll - region.roll, math.tau) == pytest.approx(0, abs=1e-5)


def test_the_mean_face_has_the_framing_of_the_model_card() -> None:
    left, right = MEAN_SHAPE[INDEX["left_eye_center"]], MEAN_SHAPE[INDEX["right_eye_center"]]
    assert 2 / np.hypot(*(left - right)) == pytest.approx(SIDE_IOD, rel=0.02)
    np.testing.assert_allclose((left + right) / 2, EYE_MIDPOINT, atol=0.01)


def test_the_mean_face_is_its_own_mirror_image() -> None:
    np.testing.assert_array_equal(MEAN_SHAPE[list(MIRROR)] * [-1, 1], MEAN_SHAPE)


@pytest.mark.parametrize("yaw_deg", [35, 60, 80, 90, 95])
def test_a_turned_head_keeps_the_size_of_its_crop(yaw_deg: float) -> None:
    """Yaw squeezes the plane of the face, turns it inside out past 90 degrees, and moves the nose far to the side."""
    turned = MEAN_SHAPE * [math.cos(math.radians(yaw_deg)), 1]
    turned[INDEX["nose_tip"], 0] += 0.25
    region = region_from_keypoints(turned)
    assert region.side == pytest.approx(2, rel=0.07)  # the eyes alone would say 18 % less at 35 degrees
    assert abs(region.x) < 0.02
    assert abs(region.roll) < 0.02


@pytest.mark.parametrize("roll", [0.0, 0.4, 2.0, -3.0])
def test_a_profile_is_turned_by_what_is_left_of_it(roll: float) -> None:
    profile = MEAN_SHAPE * [-0.1, 1]  # the far points have passed the near ones
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    assert math.remainder(region_from_keypoints(profile @ turn).roll - roll, math.tau) == pytest.approx(0, abs=1e-6)


def test_the_side_has_no_kink_where_a_face_is_as_wide_as_the_mean() -> None:
    stretches = np.linspace(0.9, 1.1, 201)
    sides = np.array([region_from_keypoints(MEAN_SHAPE * [stretch, 1]).side for stretch in stretches])
    slopes = np.diff(sides) / np.diff(stretches)
    assert np.abs(np.diff(slopes)).max() < 0.03  # of 2; a hard maximum jumps from 0 to 2
    assert slopes[100] == pytest.approx(1, abs=0.1)


def test_points_of_unknown_place_do_not_shrink_the_crop() -> None:
    collapsed = MEAN_SHAPE.copy()
    doubtful = [i for i, name in enumerate(KEYPOINTS) if name.startswith(("mouth_", "right_eyebrow"))]
    collapsed[doubtful] *= 0.2
    sigma = np.full(15, 0.02)
    sigma[doubtful] = 1.0
    assert region_from_keypoints(collapsed).side < 1.6
    assert region_from_keypoints(collapsed, sigma).side == pytest.approx(2, rel=0.07)
    sigma[doubtful] = np.inf
    assert region_from_keypoints(collapsed, sigma).side == pytest.approx(2, rel=0.001)


def test_points_believed_alike_are_framed_as_without_sigma() -> None:
    points = MEAN_SHAPE + np.random.default_rng(0).normal(0, 0.05, (15, 2))
    plain, weighed = region_from_keypoints(points), region_from_keypoints(points, np.full(15, 0.1))
    assert (weighed.x, weighed.y, weighed.side, weighed.roll) == pytest.approx(
        (plain.x, plain.y, plain.side, plain.roll)
    )


def test_one_wrong_point_hardly_moves_the_region() -> None:
    points = MEAN_SHAPE.copy()
    points[INDEX["mouth_left_corner"]] += 0.2
    region = region_from_keypoints(points)
    assert math.hypot(region.x, region.y) < 0.05
    assert region.side == pytest.approx(2, rel=0.05)


def test_points_that_coincide_give_a_region_that_can_be_cut(portrait: np.ndarray) -> None:
    region = region_from_keypoints(np.full((15, 2), 40.0))
    assert region.side > 0
    assert cut(portrait, [region]).shape == (1, 1, SIZE, SIZE)


def test_a_framing_believes_points_by_their_weight() -> None:
    square = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    seen = np.array(square)
    seen[2] += 5.0
    assert Framing(square, [1, 1, 0, 1])(seen).side == pytest.approx(2)
    assert Framing(square, [1, 1, 1, 1])(seen).side > 4
