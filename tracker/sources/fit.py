"""A picture of another size or shape put into a frame of a fixed size: as large as it fits, with black borders."""

from fractions import Fraction

import cv2
import numpy as np

from tracker.types import Image


def fitted(image: Image, width: int, height: int, *, shape: Fraction | int = 1) -> Image:
    """`image` (H, W, 3) in the middle of a frame (height, width, 3).

    `shape` is how much wider one of its px is shown than one of the frame's.
    """
    rows, columns = image.shape[:2]
    scale = min(width / (columns * shape), height / rows)
    size = max(1, round(columns * shape * scale)), max(1, round(rows * scale))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    frame = np.zeros((height, width, 3), np.uint8)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cv2.resize(image, size, dst=frame[top : top + size[1], left : left + size[0]], interpolation=way)
    return frame
