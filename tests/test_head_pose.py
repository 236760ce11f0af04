"""Head poses: exact truth from a projected head, real faces, and the conventions others rely on."""

import pickle
from dataclasses import astuple, replace
from math import radians, tan
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker.api import Tracker
from tracker.core import head_pose
from tracker.core.head_pose import EYE_DISTANCE_MM, MEAN_HEAD, angles_deg, axes_of, camera_matrix, pose_of, posed
from tracker.drawing.draw import draw
from tracker.geometry import region_from_keypoints
from tracker.options import Options
from tracker.spec import INDEX, MIRROR
from tracker.support.address import Address
from tracker.types import Box, Face, Frame, Pose, Tracked

WIDTH, HEIGHT, FOV = 1280, 720, 65.0


def seen(pose, *, width=WIDTH, height=HEIGHT, fov=FOV, head=MEAN_HEAD):
    """The 15 points (15, 2), frame px, of a `head` in this pose."""
    at = head @ axes_of(pose).T + (pose.x, pose.y, pose.z)
    px = at @ camera_matrix(width, height, fov).T
    return px[:, :2] / px[:, 2:]


def random_poses(count, distance_mm):
    random = np.random.default_rng(0)
    for yaw, pitch, roll, x, y in random.uniform(-1, 1, (count, 5)) * (
        60,
        40,
        45,
        0.3 * distance_mm,
        0.2 * distance_mm,
    ):
        yield Pose(yaw, pitch, roll, x, y, distance_mm)


def errors_deg(poses, noise):
    """(N, 3) of yaw, pitch, roll found in points with `noise`, in eye distances."""
    random = np.random.default_rng(1)
    errors = []
    for pose in poses:
        px = noise * EYE_DISTANCE_MM / pose.z * camera_matrix(WIDTH, HEIGHT, FOV)[0, 0]
        found = pose_of(seen(pose) + random.normal(0, px, (15, 2)), WIDTH, HEIGHT, FOV)
        errors.append(np.subtract(astuple(found)[:3], astuple(pose)[:3]))
    return np.abs(errors)


@pytest.mark.parametrize("distance_mm", [300, 800, 3000])
def test_the_pose_of_exact_points_is_exact(distance_mm):
    for pose in random_poses(20, distance_mm):
        assert astuple(pose_of(seen(pose), WIDTH, HEIGHT, FOV)) == pytest.approx(astuple(pose), abs=1e-3, rel=1e-4)


@pytest.mark.parametrize("distance_mm", [300, 3000])
def test_noisy_points_turn_the_head_a_little_and_never_flip_it(distance_mm):
    errors = errors_deg(random_poses(200, distance_mm), noise=0.03)
    assert (np.median(errors, 0) < (1.5, 1.8, 1.0)).all()
    assert errors.max() < 15


@pytest.mark.parametrize(
    "moved",
    [
        {"mouth_center_bottom_lip": (0, 25, 6), "mouth_left_corner": (-1, 7, 0), "mouth_right_corner": (1, 7, 0)},
        {"mouth_left_corner": (6, -3, 3), "mouth_right_corner": (-6, -3, 3)},
        {name: (0, -7, 0) for name in INDEX if "brow" in name},
    ],
    ids=["open mouth", "smile", "raised brows"],
)
def test_an_expression_does_not_move_the_head(moved):
    head = MEAN_HEAD.copy()
    for name, way in moved.items():
        head[INDEX[name]] += way
    poses = [Pose(yaw, pitch, roll, 40, -20, 500) for yaw in (-25, 0, 25) for pitch in (-15, 15) for roll in (-10, 10)]
    found = [pose_of(seen(pose, head=head), WIDTH, HEIGHT, FOV) for pose in poses]
    assert np.abs([one.z - pose.z for one, pose in zip(found, poses, strict=True)]).max() < 8


def test_small_turns_have_the_documented_signs():
    ahead = seen(Pose(0, 0, 0, 0, 0, 600))
    nose, eyes = INDEX["nose_tip"], [INDEX["left_eye_center"], INDEX["right_eye_center"]]
    to_its_right = seen(Pose(10, 0, 0, 0, 0, 600))
    assert to_its_right[nose, 0] < ahead[nose, 0]  # the picture's left
    down = seen(Pose(0, 10, 0, 0, 0, 600))
    assert down[nose, 1] > ahead[nose, 1]
    clockwise = seen(Pose(0, 0, 10, 0, 0, 600))
    assert clockwise[eyes[0], 1] > clockwise[eyes[1], 1]
    assert region_from_keypoints(clockwise).roll == pytest.approx(radians(10), abs=1e-6)
    assert (seen(Pose(0, 0, 0, 20, 10, 600)) > ahead).all()


def test_angles_and_axes_are_inverse_and_composed_as_openface_does():
    """R = Rx Ry Rz; the entries are those of OpenFace's Euler2RotationMatrix."""
    pose = Pose(20, -30, 40, 0, 0, 1)
    s1, s2, s3 = np.sin(np.radians([-30, 20, 40]))
    c1, c2, c3 = np.cos(np.radians([-30, 20, 40]))
    axes = axes_of(pose)
    np.testing.assert_allclose(axes[0], [c2 * c3, -c2 * s3, s2])
    np.testing.assert_allclose(axes[1], [c1 * s3 + c3 * s1 * s2, c1 * c3 - s1 * s2 * s3, -c2 * s1])
    assert angles_deg(axes) == pytest.approx((20, -30, 40))


def test_a_mirrored_face_has_yaw_and_roll_negated():
    pose = pose_of(seen(Pose(25, 10, 15, 40, -20, 700)), WIDTH, HEIGHT, FOV)
    mirrored = (seen(pose) * (-1, 1) + (WIDTH - 1, 0))[list(MIRROR)]
    assert astuple(pose_of(mirrored, WIDTH, HEIGHT, FOV)) == pytest.approx((-25, 10, -15, -40, -20, 700), abs=1e-2)


def test_distance_follows_the_field_of_view_and_the_angles_hardly_do():
    wide, narrow = (pose_of(seen(Pose(20, 5, 3, 0, 0, 800)), WIDTH, HEIGHT, fov) for fov in (65, 30))
    assert narrow.z / wide.z == pytest.approx(tan(radians(65) / 2) / tan(radians(30) / 2), rel=0.03)
    assert astuple(narrow)[:3] == pytest.approx(astuple(wide)[:3], abs=3)


def test_the_field_of_view_spans_the_longer_side_however_the_camera_is_held():
    upright, lying = camera_matrix(720, 1280, 65), camera_matrix(1280, 720, 65)
    assert upright[0, 0] == upright[1, 1] == lying[0, 0]
    assert lying[0, 0] == pytest.approx(640 / tan(radians(32.5)))
    assert tuple(upright[:2, 2]) == (359.5, 639.5)  # an integer is a pixel's centre


@pytest.mark.parametrize(
    "points", [np.zeros((15, 2)), np.full((15, 2), np.nan)], ids=["all in one place", "not numbers"]
)
def test_points_that_no_head_fits_have_no_pose(points):
    assert pose_of(points, WIDTH, HEIGHT, FOV) is None


def test_a_frontal_portrait_is_near_frontal_and_its_mirror_image_its_mirror_image(portrait):
    face = portrait[:240, 103:343]  # in its middle, where a camera of any field of view sees it from the front
    with Tracker(backend="cpu") as tracker:
        (pose,), (mirrored,) = tracker.image(face).poses, tracker.image(face[:, ::-1]).poses
    assert abs(pose.yaw) < 15
    assert abs(pose.pitch) < 20  # where zero lies is known to a few degrees
    assert 1.6 < pose.roll < 15  # towards her left shoulder
    assert (mirrored.yaw, mirrored.roll) == pytest.approx((-pose.yaw, -pose.roll), abs=1.5)
    assert mirrored.pitch == pytest.approx(pose.pitch, abs=8)  # the network sees another mouth in the mirror


def with_pose(pose):
    points = seen(pose, width=400, height=400).astype(np.float32)
    region = region_from_keypoints(points)
    face = Face(0, region, Box(100, 100, 300, 300), 0.9)
    image = np.full((400, 400, 3), 90, np.uint8)
    return Tracked(Frame(image, 0, 0.0), (face,), points[None], np.ones((1, 15), np.float32))


def test_every_face_of_a_result_gets_its_pose():
    (tracked,) = posed([with_pose(Pose(20, 5, 3, 10, 20, 400))], FOV)
    (pose,) = tracked.poses
    assert astuple(pose) == pytest.approx((20, 5, 3, 10, 20, 400), abs=0.01)


def test_poses_are_found_once_when_they_are_read_of_the_keypoints_as_they_were(monkeypatch):
    found = []
    monkeypatch.setattr(
        head_pose, "pose_of", lambda points, *camera: found.append(points) or Pose(*points[0], 0, 0, 0, 0)
    )
    read, sent = posed([with_pose(Pose(20, 5, 3, 10, 20, 400))] * 2, FOV)
    eye = tuple(read.keypoints[0, 0])
    read.keypoints[:] = 0
    assert not found
    assert read.poses is read.poses
    assert (read.poses[0].yaw, read.poses[0].pitch) == eye
    assert len(found) == 1
    assert pickle.loads(pickle.dumps(sent)).poses == read.poses
    assert replace(read, poses=()).poses == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, False),
        ({"out": Path("film.mp4"), "show": True, "virtual_camera": True}, False),
        ({"out": Path("film.mp4"), "show_pose": True}, True),
        ({"keypoints": (Path("points.csv"),)}, True),
        ({"udp": Address("localhost", 9000)}, True),
        ({"osc": Address("localhost", 9000)}, True),
        ({"serve": Address("localhost", 8010)}, True),
        ({"rerun": Address("localhost", 9876)}, True),
        ({"rerun": Path("film.rrd")}, True),
    ],
)
def test_poses_are_found_for_the_outputs_that_tell_them(options, told):
    assert Options(**options).tells_poses is told


def test_axes_are_drawn_from_the_nose_to_where_the_head_faces():
    (tracked,) = posed([with_pose(Pose(40, 0, 0, 0, 0, 400))], FOV)
    added = np.argwhere((draw(tracked, show_pose=True) != draw(tracked)).any(-1))
    nose_y, nose_x = tracked.keypoints[0, INDEX["nose_tip"], ::-1]
    front = cv2.inRange(draw(tracked, show_pose=True), (200, 80, 0), (255, 150, 90))
    blue = np.argwhere(front)
    assert len(added) > 50
    assert blue[:, 1].min() < nose_x - 20  # turned to its right: the picture's left
    assert np.abs(blue[:, 0] - nose_y).max() < 6


def test_a_face_without_a_pose_is_drawn_without_axes():
    tracked = replace(with_pose(Pose(40, 0, 0, 0, 0, 400)), poses=(None,))
    np.testing.assert_array_equal(draw(tracked, show_pose=True), draw(tracked))
