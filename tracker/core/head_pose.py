"""Position and direction of each head: keypoints (frame px) in, `Pose` (degrees, mm) out.

Camera space is OpenCV's: x right, y down, z away from the camera, mm, from the camera's centre.  The origin of a head
is midway between its eye centres, and its axes are the same three when it faces straight ahead.  The angles are
right-handed turns about them, R = Rx(pitch) Ry(yaw) Rz(roll), as in OpenFace (Baltrusaitis et al. 2018):

    yaw    positive if the subject turns to its right, which is the picture's left
    pitch  positive if it looks down
    roll   positive if its head is turned clockwise in the picture, as `Region.roll` is

They are relative to the camera's axes: a person at the edge of the picture who looks into the camera is turned.  Only
the camera's field of view is known, so distances are as accurate as that value and as the face is average in size; the
angles of a face in the middle of the picture hardly depend on either.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.square import shown_scale, shown_size
from tracker.geometry import MEAN_SHAPE, symmetric
from tracker.spec import INDEX
from tracker.types import Pose, Poses, Tracked

EYE_DISTANCE_MM = 63.6
"""Between the eye centres, of the canonical face below; adults have 63 on average, 52 to 78 (Dodgson 2004)."""

DEPTH_MM = {
    "left_eye_center": 0.0,  # 362, 385, 387, 263, 373, 380
    "left_eye_inner_corner": -1.0,  # 362
    "left_eye_outer_corner": 4.8,  # 263
    "left_eyebrow_inner_end": -14.5,  # 285
    "left_eyebrow_outer_end": 2.9,  # 276
    "nose_tip": -39.3,  # 4
    "mouth_left_corner": -6.3,  # 291
    "mouth_center_top_lip": -23.2,  # 0
    "mouth_center_bottom_lip": -18.8,  # 17
}
"""Behind the eye centres, of the vertices of MediaPipe's canonical face where our keypoints lie.

Source: google-ai-edge/mediapipe, mediapipe/modules/face_geometry/data/canonical_face_model.obj, Apache-2.0; an eye
centre is the mean of six vertices of its lids.
"""


def _mean_head() -> NDArray[np.float64]:
    eyes = MEAN_SHAPE[[LEFT_EYE, RIGHT_EYE]]
    across = (MEAN_SHAPE - eyes.mean(0)) * EYE_DISTANCE_MM / np.ptp(eyes[:, 0])
    return np.column_stack([across, symmetric({name: (0, mm) for name, mm in DEPTH_MM.items()})[:, 1]])


LEFT_EYE, RIGHT_EYE = INDEX["left_eye_center"], INDEX["right_eye_center"]
MEAN_HEAD = _mean_head()
"""(15, 3) mm, the head's own axes: our mean shape as seen from the front, with the canonical face's depth.

So pitch 0 is the pitch of the mean face of the training data.  It agrees with the canonical face within 3 mm across and
down.  On the 337 faces of AFW its angles differ from those of 51 annotated landmarks on the canonical face, which are
no ground truth either, by 3.2 degrees of pitch throughout, and beyond that by 3.6 (pitch), 3.2 (yaw) and 1.2 (roll) on
average.  Weighting the points by their sigma changes that by less than half a degree, sometimes better and sometimes
worse.
"""


class Mode(NamedTuple):
    """One movement of an expression."""

    moves: NDArray[np.float64]
    """(15, 3) mm, the head's own axes: movement of each point when the mode is 1 mm."""
    spread_mm: float
    """Its standard deviation."""


def _mode(spread_mm: float, **one_side: tuple[float, float, float]) -> Mode:
    """Movements of the points on the subject's left and in the middle; the right ones move mirrored."""
    return Mode(symmetric(one_side), spread_mm)


MODES = (
    _mode(7.0, mouth_center_bottom_lip=(0, 1, 0.3), mouth_left_corner=(-0.1, 0.4, 0.1)),  # the jaw drops
    _mode(0.5, mouth_center_top_lip=(0, -1, 0)),
    _mode(1.0, mouth_left_corner=(1, -0.4, 0.5), mouth_center_bottom_lip=(0, -0.2, 0)),  # a smile, or pursed lips
    _mode(1.0, left_eyebrow_inner_end=(0, -1, 0), left_eyebrow_outer_end=(0, -0.8, 0)),  # raised or knit brows
)
"""Movements of expressions, which must not move the head.  Without them a lower lip that drops by 30 mm brings a
head at half a metre 52 mm nearer, with them 4 mm, for 1.2 times the noise of the distance.  Only eyes and nose leak
nothing either, but are up to 2.6 times as noisy.  Larger spreads leak no less and pass more noise."""
NOISE_EYES = 0.012
"""Standard deviation of a keypoint, in distances between the eyes, against which the modes' spreads are weighed."""


def pose_of(points: NDArray[np.floating], width: int, height: int, fov_deg: float) -> Pose | None:
    """The head whose `points` (15, 2), frame px, are seen in a picture of that size; None if no head fits.

    `fov_deg` is the camera's field of view along the longer side of the picture.

    SQPnP (Terzakis & Lourakis 2020) finds the globally best pose instead of one near a guess, so it does not flip and
    needs no memory: steady points give a steady pose.  From there one step of Gauss and Newton fits pose and expression
    (`MODES`) together.
    """
    seen, camera = points.astype(np.float64), camera_matrix(width, height, fov_deg)
    try:
        found, turn, position = cv2.solvePnP(MEAN_HEAD, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:
        return None
    if not found:
        return None
    axes, position = _fitted(seen, cv2.Rodrigues(turn)[0], position[:, 0], camera)
    numbers = *angles_deg(axes), *position.tolist()
    return Pose(*numbers) if all(map(math.isfinite, numbers)) and numbers[-1] > 0 else None


def _fitted(
    points: NDArray[np.float64], axes: NDArray[np.float64], position: NDArray[np.float64], camera: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pose (axes (3, 3), position (3,) mm) near the given one that fits best, whatever expression the face has."""
    focal_px, noise_px = camera[0, 0], max(NOISE_EYES * math.dist(points[LEFT_EYE], points[RIGHT_EYE]), 1e-3)
    seen = axes.dot(_HEAD_AND_MOVES).reshape(3, len(points), -1)
    head, moves = seen[..., 0] + position[:, None], seen[..., 1:]
    depth, plane = head[2], head[:2] / head[2]
    design = ((moves[:2] - plane[..., None] * moves[2]) / depth[:, None]).reshape(2 * len(points), -1)
    missed = ((points - camera[:2, 2]).T / focal_px - plane).reshape(-1, 1)
    normal = design.T.dot(design) + (noise_px / focal_px) ** 2 * _PRECISIONS
    solved, step = cv2.solve(normal, design.T.dot(missed), flags=cv2.DECOMP_CHOLESKY)
    if not solved:
        return axes, position
    return axes.dot(cv2.Rodrigues(step[:3])[0]), position + axes.dot(step[3:6, 0])


_HEAD_AND_MOVES = (
    np.concatenate(
        [
            MEAN_HEAD[..., None],
            np.cross(np.eye(3), MEAN_HEAD[:, None]).transpose(0, 2, 1),
            np.broadcast_to(np.eye(3), (len(INDEX), 3, 3)),
            np.stack([mode.moves for mode in MODES], 2),
        ],
        2,
    )
    .transpose(1, 0, 2)
    .reshape(3, -1)
)
"""(3, 15 * 11) in the head's own axes: each point, and how it moves with a turn, a shift and each mode."""
_PRECISIONS = np.diag([0.0] * 6 + [mode.spread_mm**-2 for mode in MODES])
"""(10, 10) Of turn, shift and modes, before anything was seen."""


def posed(results: Iterable[Tracked], fov_deg: float) -> Iterator[Tracked]:
    """`results` with the pose of every face, computed from its shown keypoints when it is first read."""
    for tracked in results:
        height, width = tracked.frame.image.shape[:2]
        size, shown = (width, height), tracked.keypoints
        if tracked.frame.aspect != 1:
            size = shown_size(width, height, tracked.frame.aspect)
            shown = shown * np.array(shown_scale(tracked.frame.aspect), np.float32)
        yield replace(tracked, poses=partial(_poses, shown.copy(), *size, fov_deg))


def _poses(shown: NDArray[np.floating], width: int, height: int, fov_deg: float) -> Poses:
    return tuple(pose_of(points, width, height, fov_deg) for points in shown)


@lru_cache(maxsize=8)
def camera_matrix(width: int, height: int, fov_deg: float) -> NDArray[np.float64]:
    """(3, 3): camera space -> frame px, of a camera without distortion that looks through the middle of the picture."""
    focal_px = max(width, height) / 2 / math.tan(math.radians(fov_deg) / 2)
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])


def axes_of(pose: Pose) -> NDArray[np.float64]:
    """(3, 3) rotation, head -> camera space; its columns are the head's axes.  Inverse of `angles_deg`."""
    pitch, yaw, roll = (math.radians(angle) for angle in (pose.pitch, pose.yaw, pose.roll))
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    about_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    about_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def angles_deg(axes: NDArray[np.float64]) -> tuple[float, float, float]:
    """A rotation (3, 3) as yaw (-90..90), pitch and roll (-180..180)."""
    (right_x, down_x, front_x), (_, _, front_y), (_, _, front_z) = axes.tolist()
    yaw = math.asin(min(max(front_x, -1.0), 1.0))
    pitch, roll = math.atan2(-front_y, front_z), math.atan2(-down_x, right_x)
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
