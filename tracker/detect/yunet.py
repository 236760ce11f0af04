"""YuNet in ONNX Runtime: a BGR frame in, faces with five points out, frame px.

The network sees the frame shrunk to `input_size`; its answers lie on grids of stride 8, 16 and 32 and are decoded here
(Wu, Peng, Yu: YuNet, Machine Intelligence Research 20, 2023).  The five points (right eye, left eye, nose tip, right
and left mouth corner) give the crop's place, size and roll, far steadier than the box does.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.onnxruntime import open_session
from tracker.crop import Framing
from tracker.detect import read_model
from tracker.types import Box, Detection
from tracker.weights import DEFAULT_DIR

MODEL = DEFAULT_DIR / "yunet.onnx"
SHA256 = "da8de4795f9a6ea413b85576194aaa05b0ab176f3cbfa32c1156e1b65e14500d"
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
OVERLAP = 0.3
"""Intersection over union above which two boxes are one face."""

FRAMING = Framing(
    shape=((-0.384, -0.230), (0.384, -0.230), (0.0, 0.218), (-0.323, 0.560), (0.323, 0.560)),
    weights=(2, 2, 0, 1, 1),
)
"""Where YuNet's five points lie in the crop (unit space), and how much each is believed.

The mean of medians over 1921 Kaggle faces at two sizes and 1207 faces of HELEN and AFW at four, against the region of
their true 15 points.  Around it a single detection spreads by 0.035 in either coordinate of the centre, 6 % of the
side and 4-6 degrees of roll (0.07, 8 % and 7 degrees for faces of 13 px between the eyes); data sets and sizes differ
by up to 5 % in side.  The nose tip has no say, because it leaves the plane of the face as the head turns: without it
the side stays within 1 % of Kaggle's up to about 45 degrees of yaw.

YuNet draws its points too upright: of a head's roll it reports three quarters where the eyes are 57 px apart in its
input and a quarter at 25 px, and its centre strays by 0.1 at 30 degrees.  The keypoints know better.
"""


class YuNet:
    """Detector over one ONNX Runtime session; see `tracker.detect.Detector` for the contract."""

    def __init__(self, session: ort.InferenceSession, threshold: float, input_size: int) -> None:
        self.name = f"yunet-2023mar {input_size}"
        self._session: ort.InferenceSession | None = session
        self._threshold = threshold
        self._input_size = input_size

    @classmethod
    def open(cls, threshold: float, input_size: int, threads: int, path: Path = MODEL) -> "YuNet":
        """Raises WeightsError when the model file is missing, altered or cannot be loaded."""
        model = read_model(path, SHA256)
        session = open_session(path, model, threads, remedy="restore it with: pip install --force-reinstall fkp")
        return cls(session, threshold, input_size)

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        if self._session is None:
            raise ValueError("this detector is closed")
        shrunk, scale = _letterbox(image, self._input_size)
        planes = np.ascontiguousarray(shrunk.transpose(2, 0, 1)[None], np.float32)
        answers = self._session.run(OUTPUTS, {"input": planes})
        scores, corners = decode(answers, shrunk.shape[:2], self._threshold)
        in_frame = (corners + 0.5) / scale - 0.5  # a pixel's centre stays its centre
        return [_detection(score, *seven) for score, seven in zip(scores, in_frame, strict=True)]

    def close(self) -> None:
        self._session = None


def decode(
    answers: list[NDArray[np.float32]], size: tuple[int, int], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's twelve outputs -> scores (N,) float32 and corners (N, 7, 2) float32 in px of its input.

    `answers` are in the order of `OUTPUTS`, each (1, priors, 1, 4 or 10); `size` is the input's height and width.
    The seven corners are the box's left top and right bottom, then the five points.  Best score first, one per face.
    """
    classes, objects, boxes, points = (np.concatenate(answers[i : i + 3], axis=1)[0] for i in range(0, 12, 3))
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    found = np.flatnonzero(scores >= threshold)
    found = found[np.argsort(-scores[found], kind="stable")]
    cells, strides = (prior[found] for prior in _priors(*size))
    centres = cells + boxes[found, :2]
    reach = np.exp(boxes[found, 2:]) / 2
    five = cells[:, None] + points[found].reshape(-1, 5, 2)
    corners = np.concatenate([(centres - reach)[:, None], (centres + reach)[:, None], five], axis=1) * strides
    kept = _one_per_face(corners[:, 0], corners[:, 1])
    return scores[found][kept], corners[kept]


@lru_cache(maxsize=8)
def _priors(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grid cells (P, 2), x before y, and their strides (P, 1, 1) for an input of this size, in the outputs' order."""
    cells, strides = [], []
    for stride in STRIDES:
        ys, xs = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float32))
        strides.append(np.full((xs.size, 1, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def _one_per_face(low: NDArray[np.float32], high: NDArray[np.float32]) -> list[int]:
    """Rows of boxes (N, 2), (N, 2), sorted by score, that overlap no better one (non-maximum suppression)."""
    areas = np.prod(high - low, axis=1)
    rest = np.arange(len(low))
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        sides = np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest])
        shared = np.prod(np.clip(sides, 0, None), axis=1)
        rest = rest[shared <= OVERLAP * (areas[best] + areas[rest] - shared)]
    return kept


def _letterbox(image: NDArray[np.uint8], input_size: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The image with its long side `input_size`, black to the right and below up to multiples of 32; scale (x, y)."""
    height, width = image.shape[:2]
    factor = input_size / max(height, width)
    across, down = max(1, round(width * factor)), max(1, round(height * factor))
    boxed = np.zeros((-(-down // 32) * 32, -(-across // 32) * 32, 3), np.uint8)
    cv2.resize(image, (across, down), dst=boxed[:down, :across], interpolation=cv2.INTER_LINEAR)
    return boxed, np.array([across / width, down / height])


def _detection(
    score: np.float32, low: NDArray[np.float64], high: NDArray[np.float64], *five: NDArray[np.float64]
) -> Detection:
    box = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Detection(box, float(score), FRAMING(np.stack(five)))
