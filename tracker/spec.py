"""The one definition of what the tracker predicts: names, order, mirror, size and spaces.  NumPy only, no I/O.

Left and right are the SUBJECT's: `left_eye_center` lies on the image's right in an unmirrored picture.

Three coordinate spaces, always named where an array crosses a boundary:

- frame px: pixels of the video frame or image, x right, y down; an integer names a pixel's CENTRE (as OpenCV draws).
- crop px:  0..96 from edge to edge of the crop; pixel i covers i..i+1.  Kaggle's labels are in this space (measured:
            an image and its mirror agree when labels mirror as 96 - x) and its RMSE is too.
- unit:     the crop mapped to -1..1 about its centre, so that mirroring is a change of sign.
"""

import numpy as np
from numpy.typing import NDArray

KEYPOINTS: tuple[str, ...] = (
    "left_eye_center",
    "right_eye_center",
    "left_eye_inner_corner",
    "left_eye_outer_corner",
    "right_eye_inner_corner",
    "right_eye_outer_corner",
    "left_eyebrow_inner_end",
    "left_eyebrow_outer_end",
    "right_eyebrow_inner_end",
    "right_eyebrow_outer_end",
    "nose_tip",
    "mouth_left_corner",
    "mouth_right_corner",
    "mouth_center_top_lip",
    "mouth_center_bottom_lip",
)
"""Kaggle's 15 keypoints in the order of training.csv's columns."""

COLUMNS: tuple[str, ...] = tuple(f"{name}_{axis}" for name in KEYPOINTS for axis in "xy")
"""Kaggle's 30 column names."""

INDEX: dict[str, int] = {name: i for i, name in enumerate(KEYPOINTS)}
"""Keypoint name -> its row in every (15, 2) array."""

SIGNALS: tuple[str, ...] = ("eye_open_left", "eye_open_right", "mouth_open")
"""What the network says of a face beside its keypoints: how far its eyes and its mouth are open.

0 is closed.  Of an eye it is the distance between the lids over the width of the eye (the "eye aspect ratio" of
Soukupova and Cech 2016), of the mouth the distance between the inner lips over their width.  Both widths are those of
the mean face at this face's size, so that they do not shrink as the head turns.
"""

SIZE = 96
"""Side of the square crop the network reads, px."""


def mirrored_name(name: str) -> str:
    """The keypoint that `name` becomes in a mirrored image: left and right change places."""
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(word, word) for word in name.split("_"))


MIRROR: tuple[int, ...] = tuple(INDEX[mirrored_name(name)] for name in KEYPOINTS)
"""`points[..., MIRROR, :]` reorders keypoints after a horizontal flip."""

HALF_PX = SIZE / 2
"""Length of one unit, crop px."""


def unit_from_crop(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Crop px (..., 2) -> unit space (..., 2)."""
    return points / HALF_PX - 1


def crop_from_unit(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Unit space (..., 2) -> crop px (..., 2); inverse of `unit_from_crop`."""
    return (points + 1) * HALF_PX
