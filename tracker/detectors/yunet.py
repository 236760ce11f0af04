"""YuNet in ONNX Runtime: a BGR frame in, faces with five points out, frame px.

The network sees the frame shrunk to `input_size`, or further if only large faces are requested.  Its outputs are grids
of stride 8, 16 and 32, in the layout of `train.export.yunet_form`, and are decoded here (Wu, Peng, Yu: YuNet,
Machine Intelligence Research 20, 2023).  The five points (right eye, left eye, nose tip, right and left mouth corner)
give the crop's place, size and roll, and are far steadier than the box.
"""

import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracker.backends.onnxruntime import open_session
from tracker.backends.weights import DEFAULT_DIR
from tracker.detectors.model_file import read_model
from tracker.geometry import Framing
from tracker.types import Box, Detection

MODEL = DEFAULT_DIR / "yunet-cpu.onnx"
SHA256 = "4ac446243649890cda79cffbf5fc8878d7139b4c1c3bc94b275fabf54ebbc2e3"
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"faces_{stride}" for stride in STRIDES)
OVERLAP = 0.3
"""Intersection over union above which two boxes are one face."""

USUAL_SIZE = 320
"""Long side of the input, px, if neither the detector nor its caller names one."""
SURELY_SEEN = 50
"""Side, px of the input, of a face's region that is hardly ever missed: of 338 faces of AFW and HELEN 2 were at this
side, none at 60, 7 at 40 and 34 at 34."""
COARSEST = 0.6
"""Smallest share of `input_size` to which the frame is shrunk, so that newcomers are not missed for long."""

FRAMING = Framing(
    shape=((-0.384, -0.230), (0.384, -0.230), (0.0, 0.218), (-0.323, 0.560), (0.323, 0.560)),
    weights=(2, 2, 0, 1, 1),
)
"""Where YuNet's five points lie in the crop (unit space), and how much each is believed.

The mean of medians over 1921 Kaggle faces at two sizes and 1207 faces of HELEN and AFW at four, against the region of
their true 15 points.  Around it a single detection spreads by 0.035 in either coordinate of the centre, 6 % of the
side and 4-6 degrees of roll (0.07, 8 % and 7 degrees for faces of 13 px between the eyes); data sets and sizes differ
by up to 5 % in side.  The nose tip has weight 0, because it leaves the plane of the face as the head turns.  The height
from the eyes to the mouth then holds the side: on CFP's profiles it is 1.00 of the true one at 45 to 60 degrees of yaw,
0.98 at 60 to 75 and 0.96 at 75 to 90.

YuNet's points are too upright: it reports three quarters of a head's roll if the eyes are 57 px apart in its input, and
a quarter at 25 px, and its centre is off by 0.1 at 30 degrees.  The keypoints are more accurate.
"""


class YuNet:
    """Detector over one ONNX Runtime session; see `tracker.detectors.contract.Detector` for the contract."""

    def __init__(self, session: ort.InferenceSession, threshold: float, input_size: int | None) -> None:
        self.name = f"yunet-2023mar {'auto' if input_size is None else input_size}"
        self._session: ort.InferenceSession | None = session
        self._threshold = threshold
        self._input_size = USUAL_SIZE if input_size is None else input_size
        self._canvas_for = lru_cache(maxsize=4)(_Canvas)

    @classmethod
    def open(cls, threshold: float, input_size: int | None, threads: int, path: Path = MODEL) -> "YuNet":
        """Raises WeightsError when the model file is missing, altered or cannot be loaded."""
        model = read_model(path, SHA256)
        session = open_session(path, model, threads, remedy="restore it with: pip install --force-reinstall fkp")
        return cls(session, threshold, input_size)

    def __call__(
        self, image: NDArray[np.uint8], smallest: float | None = None, *, size: int | None = None
    ) -> list[Detection]:
        if self._session is None:
            raise ValueError("this detector is closed")
        canvas = self._canvas_for(image.shape, self._input_size_for(smallest, max(image.shape), size))
        answers = self._session.run(OUTPUTS, {"input": canvas.show(image)})
        scores, corners = decode(answers, self._threshold)
        in_frame = (corners + 0.5) / canvas.scale - 0.5  # a pixel's centre stays its centre
        rows = zip(in_frame[:, :2].reshape(-1, 4).tolist(), scores.tolist(), in_frame[:, 2:], strict=True)
        return [Detection(Box(*box), score, FRAMING(five)) for box, score, five in rows]

    def close(self) -> None:
        self._session = None

    def _input_size_for(self, smallest: float | None, frame_size: int, size: int | None) -> int:
        """The long side of the network's input that shows a region of side `smallest`, frame px, large enough."""
        most = self._input_size if size is None else size
        if smallest is None:
            return most
        needed = max(SURELY_SEEN * frame_size / smallest, COARSEST * most)
        return min(math.ceil(needed / 32) * 32, most)


class _Canvas:
    """The network's input for frames of one shape, kept from frame to frame: a new megabyte each time costs 0.1 ms."""

    def __init__(self, frame_shape: tuple[int, ...], input_size: int) -> None:
        """The frame's long side becomes `input_size`; to the right and below it is black, up to multiples of 32."""
        height, width = frame_shape[:2]
        factor = input_size / max(height, width)
        across, down = max(1, round(width * factor)), max(1, round(height * factor))
        rows, columns = -(-down // 32) * 32, -(-across // 32) * 32
        self.scale = np.array([across / width, down / height])
        """From frame px to px of the input, x and y."""
        self._boxed = np.zeros((rows, columns, 3), np.uint8)
        self._shown = self._boxed[:down, :across]
        self._planes = np.empty((3, rows, columns), np.uint8)
        self._input = np.empty((1, 3, rows, columns), np.float32)

    def show(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The frame as the network's input, (1, 3, rows, columns) float32 0..255; valid until the next call."""
        cv2.resize(image, self._shown.shape[1::-1], dst=self._shown, interpolation=cv2.INTER_LINEAR)
        cv2.split(self._boxed, list(self._planes))
        np.copyto(self._input[0], self._planes)
        return self._input


def decode(grids: list[NDArray[np.float32]], threshold: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's outputs -> scores (N,) float32 and corners (N, 7, 2) float32 in px of its input.

    `grids` are in the order of `OUTPUTS`, each (1, rows, columns, 16).  The seven corners are the box's left top and
    right bottom, then the five points.  Best score first, one per face.
    """
    least = _logit(threshold**2)  # scores are geometric means of two shares
    chosen, places = [], []
    for stride, grid in zip(STRIDES, grids, strict=True):
        hopeful = np.flatnonzero(grid[..., 1] >= least)
        chosen.append(grid.reshape(-1, 16)[hopeful])
        places.append(_cells(stride, *grid.shape[1:3])[hopeful])
    found, cells = np.concatenate(chosen), np.concatenate(places)[:, None]
    shares = 1 / (1 + np.exp(-found[:, :2]))
    scores = np.sqrt(shares[:, 0] * shares[:, 1])
    centres, reach = found[:, 2:4], np.exp(found[:, 4:6]) / 2
    corners = np.concatenate([centres - reach, centres + reach, found[:, 6:]], axis=1).reshape(-1, 7, 2)
    corners = (corners + cells[..., :2]) * cells[..., 2:]
    boxes = [(*low, high[0] - low[0], high[1] - low[1]) for low, high in corners[:, :2].tolist()]
    kept = np.array(cv2.dnn.NMSBoxes(boxes, scores.tolist(), threshold, OVERLAP), np.intp)
    return scores[kept], corners[kept]


@lru_cache(maxsize=24)
def _cells(stride: int, rows: int, columns: int) -> NDArray[np.float32]:
    """(rows * columns, 3): x and y of the cells of a grid, and its stride."""
    ys, xs = np.mgrid[:rows, :columns]
    return np.stack([xs.ravel(), ys.ravel(), np.full(xs.size, stride)], axis=1).astype(np.float32)


def _logit(share: float) -> float:
    """The number whose sigmoid is `share`."""
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)
