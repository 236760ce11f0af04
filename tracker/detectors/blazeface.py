"""MediaPipe's BlazeFace (short range): a BGR frame in, faces with six points out, frame px.

Needs the extra `mediapipe`; the model itself ships with this package.  What to know before choosing it:

- It sees the frame at 128 px, so it misses small and turned faces (80 % of the faces in 667 pictures of AFW and HELEN,
  where YuNet finds 99 %) and fires on empty frames more often; YuNet is the default for that reason.
- mediapipe 0.10.31 is pinned.  It brings no OpenCV of its own, takes any NumPy and opens no socket (a system call trace
  of import, load and detection shows none).  0.10.32 and later install opencv-contrib-python over opencv-python, and
  0.10.35 and later look up a usage-reporting host at run time and offer no switch; the latter is announced here.
- Its native code writes a few lines to stderr on start.
"""

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.backends.weights import DEFAULT_DIR
from tracker.detectors.model_file import read_model
from tracker.errors import BackendUnavailable, WeightsError
from tracker.geometry import Framing
from tracker.types import Box, Detection

log = logging.getLogger(__name__)

MODEL = DEFAULT_DIR / "blazeface.tflite"
SHA256 = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
REPORTS_SINCE = (0, 10, 35)

FRAMING = Framing(
    shape=((-0.381, -0.203), (0.381, -0.203), (0.0, 0.243), (0.0, 0.613), (-0.802, -0.040), (0.802, -0.040)),
    weights=(2, 2, 0, 1, 0, 0),
)
"""Where right eye, left eye, nose tip, mouth and the ears lie in the crop (unit space), and how much each is believed.

The mean of medians over 642 Kaggle faces at two sizes and 604 of HELEN and AFW at three, against the region of their
true 15 points.  A single detection spreads around it by 0.03 in either coordinate of the centre, 5 % of the side and
2-4 degrees of roll.  Nose and ears move with the turn of the head, so their weight is 0.
"""


class BlazeFace:
    """Detector over MediaPipe's FaceDetector; see `tracker.detectors.contract.Detector` for the contract."""

    def __init__(self, task: Any, version: str, mediapipe: Any) -> None:
        self.name = f"mediapipe {version} blazeface-short"
        self._task = task
        self._mediapipe = mediapipe

    @classmethod
    def open(cls, threshold: float, path: Path = MODEL) -> "BlazeFace":
        """Raises BackendUnavailable when mediapipe is not installed, WeightsError for a bad model file."""
        mediapipe = import_mediapipe("the detector mediapipe")
        vision = mediapipe.tasks.vision
        options = vision.FaceDetectorOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_buffer=read_model(path, SHA256)),
            running_mode=vision.RunningMode.IMAGE,
            min_detection_confidence=threshold,
        )
        try:
            task = vision.FaceDetector.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"mediapipe {mediapipe.__version__} cannot load {path}: {error}") from error
        return cls(task, mediapipe.__version__, mediapipe)

    def __call__(
        self, image: NDArray[np.uint8], smallest: float | None = None, *, size: int | None = None
    ) -> list[Detection]:
        rgb = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        )
        frame_size = np.array(image.shape[1::-1], np.float64)
        faces = [_detection(answer, frame_size) for answer in self._task.detect(rgb).detections]
        return sorted(faces, key=lambda face: -face.score)

    def close(self) -> None:
        self._task.close()


def import_mediapipe(wanted: str) -> Any:
    """The package; messages call its user `wanted`.  Raises BackendUnavailable if it cannot be used."""
    try:
        import mediapipe
    except (ImportError, OSError) as error:  # OSError: a library of the system that it needs is missing
        raise BackendUnavailable(
            f"{wanted} cannot be used: {error}", 'pip install "fkp[mediapipe]", or do without it; nothing else needs it'
        ) from error
    if _release(mediapipe.__version__) >= REPORTS_SINCE:
        log.warning(
            "mediapipe %s contacts a usage-reporting host while it runs; 0.10.31 does not: "
            "pip install mediapipe==0.10.31",
            mediapipe.__version__,
        )
    return mediapipe


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _detection(answer: Any, size: NDArray[np.float64]) -> Detection:
    """MediaPipe's detection -> ours; its box is in frame px edges, its points in shares of the frame's `size`."""
    box = answer.bounding_box
    left, top = box.origin_x - 0.5, box.origin_y - 0.5
    points = np.array([(point.x, point.y) for point in answer.keypoints]) * size - 0.5
    return Detection(
        Box(left, top, left + box.width, top + box.height), float(answer.categories[0].score), FRAMING(points)
    )
