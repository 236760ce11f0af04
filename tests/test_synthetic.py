"""The synthetic camera's truth is true: its matrices say where the picture really went."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.sources.synthetic import MOTIONS, Portrait, SyntheticCamera, astronaut, fast_pan, render, still, talking

SPOT = (50.0, 60.0)


def spot(sigma: float) -> NDArray[np.uint8]:
    """A bright round spot at SPOT on black, (120, 100, 3)."""
    y, x = np.mgrid[:120, :100]
    disc = 255 * np.exp(-((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(disc)[..., None], 3, axis=2).astype(np.uint8)


def centroid(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    light = image[..., 0].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


def mapped(matrix: NDArray[np.float64], point: tuple[float, float]) -> NDArray[np.float64]:
    return matrix @ (*point, 1.0)


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.7, 0.45, 0.2])
@pytest.mark.parametrize("roll", [0.0, 0.5, -2.0])
def test_what_is_rendered_lies_where_the_matrix_says(scale: float, roll: float):
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([turn, (70.3, 81.8) - turn @ SPOT])
    frame = render(spot(sigma=8.0), matrix, (150, 160))
    assert centroid(frame) == pytest.approx(mapped(matrix, SPOT), abs=0.04)


@pytest.mark.parametrize("name", MOTIONS)
def test_every_motion_keeps_the_face_in_the_frame(name: str):
    camera = SyntheticCamera(astronaut(), MOTIONS[name])
    for index in range(len(camera)):
        matrix = camera.matrix_at(index / camera.rate)
        eyes = np.array([mapped(matrix, eye) for eye in (camera.portrait.left_eye, camera.portrait.right_eye)])
        assert np.all(eyes > 40)
        assert np.all(eyes < (600, 400))


def test_the_eyes_are_as_far_apart_and_as_tilted_as_the_pose_says():
    camera = SyntheticCamera(astronaut(), talking, iod=50.0)
    pose, matrix = talking(1.7), camera.matrix_at(1.7)
    across = mapped(matrix, camera.portrait.left_eye) - mapped(matrix, camera.portrait.right_eye)
    assert math.hypot(*across) == pytest.approx(50.0 * pose.scale)
    assert math.atan2(across[1], across[0]) == pytest.approx(pose.roll)


def test_the_marked_eyes_are_the_darkest_spots_around():
    portrait = astronaut()
    gray = cv2.GaussianBlur(cv2.cvtColor(portrait.image, cv2.COLOR_BGR2GRAY), (0, 0), 2)
    for x, y in (portrait.left_eye, portrait.right_eye):
        top, left = round(y) - 6, round(x) - 6
        patch = gray[top : top + 13, left : left + 13]
        darkest = np.unravel_index(patch.argmin(), patch.shape)
        assert np.hypot(darkest[0] - 6, darkest[1] - 6) < 3


def test_a_blurred_frame_is_centred_on_the_truth():
    portrait = Portrait(spot(sigma=3.0), left_eye=SPOT, right_eye=(SPOT[0] - 20, SPOT[1]))
    sharp = SyntheticCamera(portrait, fast_pan, rate=30, seconds=0.4, iod=40.0)
    blurred = replace(sharp, shutter=1.0)
    for shot in blurred:
        assert centroid(shot.frame.image) == pytest.approx(mapped(shot.matrix, SPOT), abs=0.3)
    spread = [camera_frame(camera).max() for camera in (sharp, blurred)]
    assert spread[1] < spread[0]


def camera_frame(camera: SyntheticCamera) -> NDArray[np.uint8]:
    return next(iter(camera)).frame.image


def test_noise_has_the_strength_asked_for_and_is_new_in_every_frame():
    flat = Portrait(np.full((64, 64, 3), 128, np.uint8), left_eye=(40, 30), right_eye=(20, 30))
    one, two = (shot.frame.image.astype(int) - 128 for shot in SyntheticCamera(flat, still, seconds=2 / 30, noise=4.0))
    assert one.std() == pytest.approx(4.0, rel=0.02)
    assert one.mean() == pytest.approx(0.0, abs=0.05)
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(0.0, abs=0.01)


def test_every_run_gives_the_same_frames_and_times():
    camera = SyntheticCamera(astronaut(), talking, rate=25, seconds=0.2, noise=2.0, jpeg=80)
    first, second = list(camera), list(camera)
    assert len(first) == len(camera) == 5
    assert [shot.frame.index for shot in first] == [0, 1, 2, 3, 4]
    assert [shot.frame.timestamp for shot in first] == pytest.approx(np.arange(5) / 25)
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one.frame.image, two.frame.image)
        assert np.array_equal(one.matrix, two.matrix)


def test_compression_leaves_its_marks():
    clean = SyntheticCamera(astronaut(), still, seconds=1 / 30)
    coarse, fine = camera_frame(replace(clean, jpeg=20)), camera_frame(replace(clean, jpeg=95))
    image = camera_frame(clean).astype(int)
    assert np.abs(coarse - image).mean() > 2 * np.abs(fine - image).mean() > 0
