"""The portrait as the data that a training reads: labelled crops, and Kaggle's training.csv."""

import math
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.geometry import MEAN_SHAPE, Framing, cut, frame_from_unit, unit_from_frame
from tracker.sources.synthetic import astronaut
from tracker.spec import COLUMNS, INDEX, SIZE, crop_from_unit
from tracker.types import Image, Region
from train.data.schemes import C_KEYPOINTS


class LabelledCrops(NamedTuple):
    """Crops of one face whose keypoints are known."""

    images: Image
    """(N, 96, 96) gray."""
    points: NDArray[np.float64]
    """(N, 15, 2) crop px."""


def cut_faces(count: int, *, size: int = SIZE, seed: int = 0) -> LabelledCrops:
    """The portrait in Kaggle's framing, `count` times, each moved, turned and scaled differently.

    Its keypoints are those of the mean face, which fits it well enough to learn from.  On canvases of `size` > 96 the
    nominal crop lies in the middle, and points count from that crop's corner.
    """
    portrait, random = astronaut(), np.random.default_rng(seed)
    face = Framing(MEAN_SHAPE[:2], [1, 1])(np.array([portrait.left_eye, portrait.right_eye]))
    points = frame_from_unit(MEAN_SHAPE, face)
    images, labels = [], []
    for across, down, turn, grow in random.normal(size=(count, 4)).clip(-2, 2):
        region = Region(
            face.x + 5 * across, face.y + 5 * down, face.side * math.exp(0.08 * grow), face.roll + 0.1 * turn
        )
        canvas = Region(region.x, region.y, region.side * size / SIZE, region.roll)
        images.append(cut(portrait.image, [canvas], size)[0, 0])
        labels.append(crop_from_unit(unit_from_frame(points, region)))
    return LabelledCrops(np.array(images), np.array(labels))


def write_training_csv(path: Path, schemes: str) -> Path:
    """Kaggle's training.csv with the portrait, a row per letter: lips apart in A, together in B, four points in C.

    Clouds, different in each row, keep the rows from being copies of each other.
    """
    random = np.random.default_rng(len(schemes))
    c_columns = [f"{name}_{axis}" for name in C_KEYPOINTS for axis in "xy"]
    lines = [",".join([*COLUMNS, "Image"])]
    for image, face, scheme in zip(*cut_faces(len(schemes)), schemes, strict=True):
        if scheme == "B":
            face[INDEX["mouth_center_top_lip"]] = face[INDEX["mouth_center_bottom_lip"]] - [0, 1]
        cloud = cv2.resize(random.normal(0, 20, (8, 8)), image.shape, interpolation=cv2.INTER_CUBIC)
        clouded = (image + cloud).clip(0, 255).astype(np.uint8)
        labels = dict(zip(COLUMNS, face.reshape(-1), strict=True))
        known = [f"{x:.3f}" if scheme != "C" or name in c_columns else "" for name, x in labels.items()]
        lines.append(",".join([*known, " ".join(map(str, clouded.reshape(-1)))]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_index(path: Path, schemes: str, bad: Container[int]) -> Path:
    """An index to such a file, in which neighbours are duplicates and the `bad` rows are cartoons."""
    entries = [f"{i},{i},{i // 2},{scheme},{'cartoon' * (i in bad)}" for i, scheme in enumerate(schemes)]
    path.write_text("\n".join(["row,kaggle_row,duplicate_group,scheme,known_problem", *entries]) + "\n")
    return path
