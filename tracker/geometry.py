"""Face region -> 96x96 gray crop, and the exact way back.

In: a BGR frame and `Region`s (frame px).  Out: crops (N, 1, 96, 96) uint8; points of the crop's unit space in frame px.
The map is a similarity: frame = centre + side/2 * R(roll) @ unit.
"""

import cmath
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.spec import INDEX, MIRROR, SIZE
from tracker.types import Region

SIDE_IOD = 2.64
"""Side of Kaggle's crops in interocular distances (between eye centres); median over training.csv."""

EYE_MIDPOINT = (0.0, -0.22)
"""Where the middle between the eye centres lies in unit space: (0.50, 0.39) of the side."""

ONE_PLACE_SIDES = 0.6
"""Two faces are at least this far from each other, in sides of the smaller one."""

BLEND = 0.25
"""Relative difference of a region's two columns below which both determine its side.  Frontal faces differ from the
mean shape by 0.07 to 0.1; their sides stay within 1 % of those of a least-squares similarity."""

LEAST_SHEAR = 1e-4
"""Weight of a prior against shear, in squared sides; it matters only if the points do not determine the shear."""


def complex_from_points(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Points (..., 2) of any space -> x + iy (...): a similarity of complex numbers is one product and one sum."""
    flat: NDArray[np.complex128] = points.astype(np.float64, order="C").view(np.complex128)[..., 0]
    return flat


def points_from_complex(flat: NDArray[np.complex128]) -> NDArray[np.float64]:
    """x + iy (...) -> points (..., 2); inverse of `complex_from_points`."""
    return flat[..., None].view(np.float64)


def frame_from_unit(points: NDArray[np.floating], region: Region) -> NDArray[np.float32]:
    """Unit space (..., 2) of `region`'s crop -> frame px (..., 2) float32."""
    return frame_from_units(points.reshape(1, -1, 2), [region]).reshape(points.shape)


def frame_from_units(points: NDArray[np.floating], regions: Sequence[Region]) -> NDArray[np.float32]:
    """Unit space (N, K, 2) of N crops -> frame px (N, K, 2) float32: `frame_from_unit` of each, in one call."""
    maps = [(cmath.rect(region.side / 2, region.roll), complex(region.x, region.y)) for region in regions]
    halves, centres = np.array(maps).reshape(-1, 2).T[..., None]
    return points_from_complex(complex_from_points(points) * halves + centres).astype(np.float32)


def unit_from_frame(points: NDArray[np.floating], region: Region) -> NDArray[np.float32]:
    """Frame px (..., 2) -> unit space (..., 2) float32 of `region`'s crop; inverse of `frame_from_unit`."""
    centred = complex_from_points(points) - complex(region.x, region.y)
    return points_from_complex(centred / cmath.rect(region.side / 2, region.roll)).astype(np.float32)


class Framing:
    """Finds the region of a face from a few of its points: where they must lie in the crop is known.

    An affine map is fitted from the mean shape to the points seen.  A turned head squeezes one of its columns and
    leaves the other, so the longer column gives the side, which does not shrink with yaw or pitch.  With points as
    complex numbers, frame = centre + half * unit + shear * conjugate(unit): the columns are half + shear and, turned by
    a right angle, half - shear, and all three unknowns are linear in the points.
    """

    def __init__(self, shape: ArrayLike, weights: ArrayLike) -> None:
        """`shape` (K, 2), unit space: where the points lie on average; `weights` (K,): how much each is believed."""
        unit = complex_from_points(np.asarray(shape, np.float64))
        self._weights = np.asarray(weights, np.float64)
        self._weights /= self._weights.sum()
        self._design = np.stack([np.ones_like(unit), unit, unit.conj()], axis=1)
        """(K, 3): point = design @ (centre, half, shear)."""
        self._squares = (self._design.conj()[:, :, None] * self._design[:, None, :]).reshape(-1, 9)
        of_points = self._solved(self._weights)
        of_both = np.stack([of_points, 1j * of_points], axis=1).reshape(-1, 3)
        self._of_coordinates = np.ascontiguousarray(of_both).view(np.float64)
        """(2 K, 6): x, y of each point -> x, y of the centre, of the half and of the shear."""

    def __call__(self, points: NDArray[np.floating], sigma: NDArray[np.floating] | None = None) -> Region:
        """Points (K, 2), frame px -> the face's region, frame px.  Points that all coincide give a side near 0.

        With `sigma` (K,), frame px, doubtful points count less, and those of infinite sigma not at all.
        """
        if sigma is None:
            x, y, half_x, half_y, shear_x, shear_y = points.ravel().dot(self._of_coordinates).tolist()
            half, shear = complex(half_x, half_y), complex(shear_x, shear_y)
        else:
            weights = self._weights / (sigma.astype(np.float64) ** 2 + (2 * len(sigma) / np.sum(1 / sigma)) ** 2)
            centre, half, shear = (complex_from_points(points) @ self._solved(weights / weights.sum())).tolist()
            x, y = centre.real, centre.imag
        across, down = half + shear, half - shear
        direction = across * abs(across) + down * abs(down)
        side = max(2 * _longer(abs(across), abs(down)), 1e-3)
        return Region(x, y, side, math.atan2(direction.imag, direction.real))

    def _solved(self, weights: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(K, 3): complex points -> centre, half and shear, by weighted least squares.

        What too few points leave open is settled by the smallest shear: two points give a similarity.
        """
        normal = (weights @ self._squares).reshape(3, 3)
        normal[2, 2] += LEAST_SHEAR
        return np.asarray(np.linalg.solve(normal, self._design.conj().T * weights).T)


def _longer(a: float, b: float) -> float:
    """The longer of two columns.  If they are about equal, their mean: no kink may shake the crops of frontal faces.

    The quadratic smooth maximum (Quilez), divided by what it adds to equal columns.
    """
    blend = BLEND * (a + b) / 2
    excess = max(blend - abs(a - b), 0.0)
    return (max(a, b) + excess**2 / (4 * max(blend, 1e-9))) / (1 + BLEND / 4)


def symmetric(one_side: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    """(15, D): the given values; points on the subject's right have those of the left, the first with another sign."""
    values = np.zeros((len(INDEX), max(map(len, one_side.values()))))
    for name, (across, *others) in one_side.items():
        values[MIRROR[INDEX[name]]] = -across, *others
        values[INDEX[name]] = across, *others
    return values


MEAN_SHAPE = symmetric(
    {
        "left_eye_center": (0.385, -0.230),
        "left_eye_inner_corner": (0.244, -0.214),
        "left_eye_outer_corner": (0.531, -0.211),
        "left_eyebrow_inner_end": (0.179, -0.399),
        "left_eyebrow_outer_end": (0.670, -0.373),
        "nose_tip": (0.0, 0.176),
        "mouth_left_corner": (0.313, 0.580),
        "mouth_center_top_lip": (0.0, 0.481),
        "mouth_center_bottom_lip": (0.0, 0.742),
    }
)
"""Where Kaggle's keypoints lie in Kaggle's crops, (15, 2) unit space: 1413 complete rows of scheme A, made symmetric.

The region of a face's true points spreads around Kaggle's own square by 0.02 across, 0.04 down, 7 % in side (scheme A;
9 % in B): this is the part of that framing which no face can tell.  The distance from the eyes to the mouth is 0.40 of
the side for frontal faces and 0.42 to 0.43 at every yaw from 40 to 100 degrees (CFP).
"""

_BELIEF = np.ones(len(INDEX))
_BELIEF[INDEX["nose_tip"]] = 0  # it leaves the plane of the face as the head turns, and would drag the crop along

region_from_keypoints = Framing(MEAN_SHAPE, _BELIEF)
"""Keypoints (15, 2), frame px -> the region a tracker should cut around this face next."""


def in_one_place(one: Region, other: Region) -> bool:
    """Whether two regions are so near that only one face can be there."""
    return math.hypot(one.x - other.x, one.y - other.y) < ONE_PLACE_SIDES * min(one.side, other.side)


def cut(image: NDArray[np.uint8], regions: Sequence[Region], size: int = SIZE) -> NDArray[np.uint8]:
    """The gray crops of all `regions` of an `image`, BGR (H, W, 3) or gray (H, W): (N, 1, size, size) uint8.

    Pixels outside the image repeat its edge.
    """
    crops = np.empty((len(regions), 1, size, size), np.uint8)
    for crop, region in zip(crops, regions, strict=True):
        _cut_one(image, region, crop[0])
    return crops


class Patch(NamedTuple):
    """The part of a frame that a region's crop can touch, and how the crop lies in it."""

    left: int
    top: int
    right: int
    bottom: int
    """Frame pixels; right and bottom are the first ones outside."""
    shrink: int
    """Each pixel of the patch, before it is sampled, becomes the mean of shrink x shrink frame pixels: then bilinear
    sampling does not alias."""
    axes: NDArray[np.float64]
    """(2, 3): crop pixel (x, y, 1), counted by centres from 0, -> pixel of the shrunk patch, counted the same way."""


def patch_of(region: Region, height: int, width: int, size: int = SIZE) -> Patch:
    """Where in a frame of that size the crop (size, size) of a region comes from."""
    shrink = max(1, round(region.side / size))
    cos, sin = math.cos(region.roll), math.sin(region.roll)
    reach = region.side / 2 * (abs(cos) + abs(sin)) + 2 * shrink
    left, right = _span(region.x - reach, region.x + reach, shrink, width)
    top, bottom = _span(region.y - reach, region.y + reach, shrink, height)
    # A patch shrunk by k has its pixel centres at k * p + (k - 1) / 2.
    x, y = ((at - (shrink - 1) / 2) / shrink for at in (region.x - left, region.y - top))
    step = region.side / size / shrink
    right_x, right_y, middle = step * cos, step * sin, (size - 1) / 2
    axes = (right_x, -right_y, x - middle * (right_x - right_y)), (right_y, right_x, y - middle * (right_y + right_x))
    return Patch(left, top, right, bottom, shrink, np.array(axes))


def _cut_one(image: NDArray[np.uint8], region: Region, out: NDArray[np.uint8]) -> None:
    """Write the crop of one region to `out` (size, size)."""
    size = len(out)
    patch = patch_of(region, image.shape[0], image.shape[1], size)
    pixels = image[patch.top : patch.bottom, patch.left : patch.right].copy()  # the fastest way into the cache
    cv2.warpAffine(
        _shrunk(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels, patch.shrink),
        patch.axes,
        (size, size),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _span(low: float, high: float, step: int, length: int) -> tuple[int, int]:
    """The whole steps that cover [low, high), cut to 0..length: at least one pixel, even if it lies outside."""
    start = min(max(math.floor(low), 0), length - 1)
    steps = max(math.ceil((high + 1 - start) / step), 1)
    return start, min(start + steps * step, length)


def _shrunk(gray: NDArray[np.uint8], shrink: int) -> NDArray[np.uint8]:
    """Mean over shrink x shrink blocks, the last ones completed by repeating the edge.

    OpenCV's area filter is fast for halves only, so even shrinks are taken in halves first.  For the rest, all blocks
    that overlap are faster than those that do not.
    """
    down, across = -gray.shape[0] % shrink, -gray.shape[1] % shrink
    if down or across:
        gray = cv2.copyMakeBorder(gray, 0, down, 0, across, cv2.BORDER_REPLICATE)
    while shrink % 2 == 0:
        half = gray.shape[1] // 2, gray.shape[0] // 2
        gray, shrink = cv2.resize(gray, half, interpolation=cv2.INTER_AREA), shrink // 2
    middles = slice(shrink // 2, None, shrink)
    return gray if shrink == 1 else cv2.blur(gray, (shrink, shrink))[middles, middles].copy()
