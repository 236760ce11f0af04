"""Face region -> 96x96 gray crop, and the exact way back.

In: a BGR frame and `Region`s (frame px).  Out: crops (N, 1, 96, 96) uint8; points of the crop's unit space in frame px.
The map is a similarity: frame = centre + side/2 * R(roll) @ unit.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.spec import CENTER_PX, SIZE
from tracker.types import Region

SIDE_IOD = 2.64
"""Side of Kaggle's crops in interocular distances (between eye centres); median over training.csv."""

EYE_MIDPOINT = (0.0, -0.22)
"""Where the middle between the eye centres lies in unit space: (0.50, 0.39) of the side."""


def frame_from_unit(points: NDArray[np.floating], region: Region) -> NDArray[np.float32]:
    """Unit space (..., 2) of `region`'s crop -> frame px (..., 2) float32."""
    return (points @ _axes(region) + (region.x, region.y)).astype(np.float32)


def unit_from_frame(points: NDArray[np.floating], region: Region) -> NDArray[np.float32]:
    """Frame px (..., 2) -> unit space (..., 2) float32 of `region`'s crop; inverse of `frame_from_unit`."""
    half_side = region.side / 2
    return ((points - (region.x, region.y)) @ _axes(region).T / half_side**2).astype(np.float32)


def region_from_eyes(left: NDArray[np.floating], right: NDArray[np.floating]) -> Region:
    """The square in Kaggle's framing for a face whose eye centres are `left` and `right` (2,), frame px."""
    across = left - right  # the subject's left eye lies on the image's right
    iod = max(float(np.hypot(*across)), 1e-3)
    roll = math.atan2(across[1], across[0])
    region = Region(0.0, 0.0, SIDE_IOD * iod, roll)
    x, y = (left + right) / 2 - frame_from_unit(np.array(EYE_MIDPOINT), region)
    return Region(float(x), float(y), region.side, roll)


def cut(image: NDArray[np.uint8], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """The gray crops of all `regions` of a BGR `image` (H, W, 3): (N, 1, 96, 96) uint8, edges replicated outside."""
    crops = np.empty((len(regions), 1, SIZE, SIZE), np.uint8)
    for crop, region in zip(crops, regions, strict=True):
        _cut_one(image, region, crop[0])
    return crops


def _axes(region: Region) -> NDArray[np.float64]:
    """(2, 2): rows are the frame vectors, px, of one step along unit x and unit y."""
    cos, sin = math.cos(region.roll) * region.side / 2, math.sin(region.roll) * region.side / 2
    return np.array([[cos, sin], [-sin, cos]])


def _cut_one(image: NDArray[np.uint8], region: Region, out: NDArray[np.uint8]) -> None:
    """Write the crop of one region to `out` (96, 96)."""
    patch, left, top, shrink = _patch(image, region)
    # warpAffine wants crop px -> patch px.  A patch shrunk by k has its pixel centres at k * p + (k - 1) / 2.
    axes = _axes(region) / (SIZE / 2) / shrink
    centre = (np.array([region.x - left, region.y - top]) - (shrink - 1) / 2) / shrink
    offset = centre - np.array([CENTER_PX, CENTER_PX]) @ axes
    cv2.warpAffine(
        patch,
        np.column_stack([axes.T, offset]),
        (SIZE, SIZE),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _patch(image: NDArray[np.uint8], region: Region) -> tuple[NDArray[np.uint8], int, int, int]:
    """The gray part of the frame that the region can touch, shrunk so that bilinear sampling does not alias.

    Returns (patch, left, top, shrink): patch pixel (0, 0) starts at frame pixel (left, top); each patch pixel is the
    mean of shrink x shrink frame pixels.
    """
    height, width = image.shape[:2]
    shrink = max(1, round(region.side / SIZE))
    reach = region.side / 2 * (abs(math.cos(region.roll)) + abs(math.sin(region.roll))) + 2 * shrink
    left, right = _clamp_span(region.x - reach, region.x + reach, width)
    top, bottom = _clamp_span(region.y - reach, region.y + reach, height)
    gray = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2GRAY)
    if shrink > 1:
        gray = _shrunk(gray, shrink)
    return gray, left, top, shrink


def _clamp_span(low: float, high: float, length: int) -> tuple[int, int]:
    """The integer span [low, high) cut to 0..length, at least one pixel wide even when it lies outside."""
    start = min(max(math.floor(low), 0), length - 1)
    stop = max(min(math.ceil(high) + 1, length), start + 1)
    return start, stop


def _shrunk(gray: NDArray[np.uint8], shrink: int) -> NDArray[np.uint8]:
    """Mean over shrink x shrink blocks, the last ones completed by repeating the edge."""
    height, width = gray.shape
    down, across = -height % shrink, -width % shrink
    if down or across:
        gray = cv2.copyMakeBorder(gray, 0, down, 0, across, cv2.BORDER_REPLICATE)
    size = (gray.shape[1] // shrink, gray.shape[0] // shrink)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
