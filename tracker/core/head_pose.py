"""Where each head is and where it faces: keypoints (frame px) in, `Pose` (degrees, mm) out.

Camera space is OpenCV's: x right, y down, z away from the camera, mm, from the camera's centre.  A head begins midway
between its eye centres, and its own axes are the same three when it faces straight ahead.  The angles are right-handed
turns about them, R = Rx(pitch) Ry(yaw) Rz(roll), as in OpenFace (Baltrusaitis et al. 2018):

    yaw    positive where the subject turns to its right, which is the picture's left
    pitch  positive where it looks down
    roll   positive where its head is turned clockwise in the picture, as `Region.roll` is

They count from the camera's axes: who looks into the camera from the edge of the picture is turned.  A camera is only
known by its field of view, so distances are as good as that and as the face is average in size; the angles of a face in
the middle of the picture hardly depend on either.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.square import shown_scale, shown_size
from tracker.geometry import MEAN_SHAPE
from tracker.spec import INDEX, MIRROR
from tracker.types import Pose, Tracked

EYE_DISTANCE_MM = 63.6
"""Between the eye centres, of the canonical face below; adults have 63 on average, 52 to 78 (Dodgson 2004)."""


def _depth() -> NDArray[np.float64]:
    """(15,) mm behind the eye centres, of the vertices of MediaPipe's canonical face where our keypoints lie.

    Source: google-ai-edge/mediapipe, mediapipe/modules/face_geometry/data/canonical_face_model.obj, Apache-2.0; an eye
    centre is the mean of six vertices of its lids.
    """
    one_side = {
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
    depth = np.zeros(len(INDEX))
    for name, mm in one_side.items():
        depth[[INDEX[name], MIRROR[INDEX[name]]]] = mm
    return depth


def _mean_head() -> NDArray[np.float64]:
    eyes = MEAN_SHAPE[[INDEX["left_eye_center"], INDEX["right_eye_center"]]]
    across = (MEAN_SHAPE - eyes.mean(0)) * EYE_DISTANCE_MM / np.ptp(eyes[:, 0])
    return np.column_stack([across, _depth()])


MEAN_HEAD = _mean_head()
"""(15, 3) mm, the head's own axes: our mean shape as seen from the front, with the canonical face's depth.

So pitch 0 is how the mean face of the training data holds its head.  It agrees with the canonical face within 3 mm
across and down.  On the 337 faces of AFW its angles differ from those of 51 annotated landmarks on the canonical face,
which are no truth either, by 3.2 degrees of pitch throughout, and beyond that by 3.6 (pitch), 3.2 (yaw) and 1.2 (roll)
on average.  Weighting the points by their sigma changes that by less than half a degree, for better and for worse.
"""


def pose_of(points: NDArray[np.floating], width: int, height: int, fov_deg: float) -> Pose | None:
    """The head whose `points` (15, 2), frame px, are seen in a picture of that size; None where no head fits them.

    `fov_deg` is the camera's field of view along the longer side of the picture.

    SQPnP (Terzakis & Lourakis 2020) finds the best pose of all instead of one near a guess, so it does not flip and
    needs no memory: steady points give a steady pose.
    """
    try:
        found, turn, position = cv2.solvePnP(
            MEAN_HEAD, points.astype(np.float64), camera_matrix(width, height, fov_deg), None, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:
        return None
    if not found or not np.isfinite([turn, position]).all():
        return None
    axes, _ = cv2.Rodrigues(turn)
    return Pose(*angles_deg(axes), *position.ravel().tolist())


def posed(results: Iterable[Tracked], fov_deg: float) -> Iterator[Tracked]:
    """`results` with the pose of every face, of its keypoints as they are shown."""
    for tracked in results:
        height, width = tracked.frame.image.shape[:2]
        size = shown_size(width, height, tracked.frame.aspect)
        shown = tracked.keypoints * np.array(shown_scale(tracked.frame.aspect))
        yield replace(tracked, poses=tuple(pose_of(points, *size, fov_deg) for points in shown))


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
    yaw = math.asin(float(np.clip(axes[0, 2], -1, 1)))
    pitch, roll = math.atan2(-axes[1, 2], axes[2, 2]), math.atan2(-axes[0, 1], axes[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
