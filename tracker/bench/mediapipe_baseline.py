"""Another tracker to compare with ours: BGR frames in, our fifteen keypoints out, frame px.

MediaPipe's face mesh in its intended use: on a film, where it detects, follows and smooths one face by itself, or on
unrelated pictures.  The installed release decides which of its two programs runs: up to 0.10.21 the wheels include
FaceMesh and its models; from 0.10.30 on they include neither, and FaceLandmarker needs a model file from the user
(`face_landmarker.task`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.detectors.blazeface import import_mediapipe
from tracker.errors import BackendUnavailable, WeightsError
from tracker.geometry import region_from_keypoints
from tracker.spec import KEYPOINTS
from tracker.types import Box, Face, Frame, Tracked

MESH_POINTS: dict[str, tuple[int, ...]] = {
    "left_eye_center": (263, 362, 374, 386),
    "right_eye_center": (33, 133, 145, 159),
    "left_eye_inner_corner": (362,),
    "left_eye_outer_corner": (263,),
    "right_eye_inner_corner": (133,),
    "right_eye_outer_corner": (33,),
    "left_eyebrow_inner_end": (285, 336),
    "left_eyebrow_outer_end": (276, 300),
    "right_eyebrow_inner_end": (55, 107),
    "right_eyebrow_outer_end": (46, 70),
    "nose_tip": (1,),
    "mouth_left_corner": (291,),
    "mouth_right_corner": (61,),
    "mouth_center_top_lip": (0,),
    "mouth_center_bottom_lip": (17,),
}
"""Vertices of MediaPipe's canonical face mesh whose mean is each keypoint."""

OUR_POINTS = np.array([np.bincount(MESH_POINTS[name], minlength=468) / len(MESH_POINTS[name]) for name in KEYPOINTS])
"""(15, 468): mesh -> keypoints."""

Look = Callable[[NDArray[np.uint8], float], "Any | None"]
"""RGB image and time, s -> MediaPipe's list of 468 or more landmarks of one face, or None."""


class Peer:
    """A tracker of one face; a new film needs a new object."""

    def __init__(self, name: str, look: Look, close: Callable[[], None]) -> None:
        self.name = name
        self.close = close
        self._look = look

    def __call__(self, frame: Frame) -> NDArray[np.float32]:
        """The keypoints of the faces in the next frame, (N, 15, 2) frame px, N 0 or 1."""
        landmarks = self._look(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB), frame.timestamp)
        if landmarks is None:
            return np.empty((0, len(KEYPOINTS), 2), np.float32)
        size = np.array(frame.image.shape[1::-1])
        mesh = np.array([(point.x, point.y) for point in landmarks[: OUR_POINTS.shape[1]]]) * size - 0.5
        return (OUR_POINTS @ mesh)[None].astype(np.float32)


def open_peer(model: Path | None, *, stills: bool = False) -> Peer:
    """MediaPipe with its own model, or with the given `face_landmarker.task`.

    With `stills` it treats each picture separately and its own model is the slower one with attention.

    Raises BackendUnavailable when MediaPipe is not installed or includes no model, WeightsError for a model it cannot
    load.
    """
    mediapipe = import_mediapipe("the peer mediapipe")
    if model is not None:
        return _face_landmarker(mediapipe, model, stills=stills)
    if not hasattr(mediapipe, "solutions"):
        raise BackendUnavailable(
            f"mediapipe {mediapipe.__version__} includes no landmark model",
            "give --peer-model face_landmarker.task, or measure in an environment with mediapipe 0.10.21",
        )
    return _face_mesh(mediapipe, stills=stills)


def _face_mesh(mediapipe: Any, *, stills: bool) -> Peer:
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, static_image_mode=stills, refine_landmarks=stills)

    def look(rgb: NDArray[np.uint8], _time: float) -> Any | None:
        faces = mesh.process(rgb).multi_face_landmarks
        return faces[0].landmark if faces else None

    return Peer(f"mediapipe {mediapipe.__version__} FaceMesh{' with attention' * stills}", look, mesh.close)


def _face_landmarker(mediapipe: Any, model: Path, *, stills: bool) -> Peer:
    vision = mediapipe.tasks.vision
    try:
        options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_buffer=model.read_bytes()),
            running_mode=vision.RunningMode.IMAGE if stills else vision.RunningMode.VIDEO,
        )
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"mediapipe {mediapipe.__version__} cannot load {model}: {error}; give MediaPipe's face_landmarker.task"
        ) from error

    def look(rgb: NDArray[np.uint8], time: float) -> Any | None:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        found = landmarker.detect(image) if stills else landmarker.detect_for_video(image, round(1000 * time))
        return found.face_landmarks[0] if found.face_landmarks else None

    return Peer(f"mediapipe {mediapipe.__version__} FaceLandmarker", look, landmarker.close)


def followed_by_peer(frames: Iterable[Frame], model: Path | None) -> Iterator[Tracked]:
    """A new peer's results for `frames`, in the form of our own tracker; the peer does its own smoothing."""
    with closing(open_peer(model)) as peer:
        for frame in frames:
            keypoints = peer(frame)
            faces = tuple(_face(points) for points in keypoints)
            yield Tracked(frame, faces, keypoints, np.zeros(keypoints.shape[:2], np.float32))


def _face(keypoints: NDArray[np.float32]) -> Face:
    (left, top), (right, bottom) = keypoints.min(0).tolist(), keypoints.max(0).tolist()
    return Face(0, region_from_keypoints(keypoints), Box(left, top, right, bottom), 1.0)
