"""Tracked faces -> a picture a person can read: dots, thin links, corner marks and the face's number.

In: a `Tracked` (points in frame px).  Out: a new BGR image; the frame itself is never drawn into.  Everything scales
with the face, and every bright stroke lies on a dark one, so that it shows on light and on dark alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.pose import axes_of
from tracker.spec import INDEX
from tracker.types import Box, Face, Pose, Tracked

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
Points = NDArray[np.float32]

PALETTE: tuple[Color, ...] = (
    (233, 180, 86),  # sky blue
    (0, 159, 230),  # orange
    (66, 228, 240),  # yellow
    (115, 158, 0),  # bluish green
    (167, 121, 204),  # reddish purple
    (0, 94, 213),  # vermilion
    (178, 114, 0),  # blue
)
"""BGR, told apart with every kind of colour vision: Okabe & Ito, "Color Universal Design", 2008, without its black."""

AXES: tuple[Color, ...] = ((60, 60, 235), (70, 190, 60), (240, 120, 50))
"""BGR of a head's axes: red, green, blue for x, y, z, as everywhere."""

DARK: Color = (24, 20, 16)
WHITE: Color = (255, 255, 255)
LINE_OPACITY = 0.75
"""Links and marks let the skin through; dots do not."""

SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV: strokes move by 1/16 px instead of jumping by whole pixels."""

FINE_SIDE_PX = 300
"""A face whose region is smaller is drawn enlarged, at most `MAX_ZOOM` times."""

MAX_ZOOM = 4

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT_PX = 22.0
"""Cap height of the font at scale 1."""


def draw(tracked: Tracked) -> Image:
    """The frame's image (H, W, 3) uint8 BGR with every face drawn on it, as a new array; no faces: an equal copy."""
    image = tracked.frame.image.copy()
    for face, points in zip(tracked.faces, tracked.keypoints, strict=True):
        _draw_face(image, face, points)
    return image


def draw_with_axes(tracked: Tracked) -> Image:
    """As `draw`, and from each nose where the head's left (red), top (green) and front (blue) point."""
    image = draw(tracked)
    for face, points, pose in zip(tracked.faces, tracked.keypoints, tracked.poses, strict=True):
        if pose is not None:
            _draw_axes(image, face, points[INDEX["nose_tip"]], pose)
    return image


def overlay_text(image: Image, lines: Sequence[str]) -> Image:
    """A copy of a BGR image (H, W, 3) with short lines of text in its upper left corner."""
    image = image.copy()
    height_px = float(np.clip(image.shape[0] / 40, 9, 36))
    for row, line in enumerate(lines):
        baseline = (height_px, height_px * (2.1 + 1.9 * row))
        _text(image, line, baseline, height_px, WHITE)
    return image


class _Pen(NamedTuple):
    """How to draw one face; lengths in frame px."""

    color: Color
    dot_radius: float
    line_width: float
    rim: float
    """How far the dark under a bright stroke sticks out on either side."""
    text_height: float
    zoom: int
    """Drawn this many times larger and shrunk, because OpenCV's thinnest strokes are too coarse for a small face."""

    @classmethod
    def of(cls, face: Face) -> "_Pen":
        side = face.region.side
        return cls(
            color=PALETTE[face.id % len(PALETTE)],
            dot_radius=float(np.clip(0.0115 * side, 1.0, 12)),
            line_width=float(np.clip(0.006 * side, 0.75, 8)),
            rim=float(np.clip(0.0035 * side, 0.5, 4)),
            text_height=float(np.clip(0.055 * side, 8, 40)),
            zoom=int(np.clip(np.ceil(FINE_SIDE_PX / side), 1, MAX_ZOOM)),
        )


def _draw_face(image: Image, face: Face, points: NDArray[np.float32]) -> None:
    """Draw one face, `points` (15, 2) in frame px, into the part of the image around it."""
    pen = _Pen.of(face)
    for mark in _corner_marks(face.box):
        _draw_around(image, pen, [mark], dots=mark[:0])
    _draw_around(image, pen, _links(points), dots=points)
    baseline = (face.box.left, face.box.top - 0.6 * pen.text_height)
    _text(image, str(face.id), baseline, pen.text_height, pen.color)


def _draw_axes(image: Image, face: Face, origin: Points, pose: Pose) -> None:
    """Draw the axes of a head from `origin` (2,), frame px, 0.4 sides of its region long."""
    towards = axes_of(pose) * (1, -1, -1)  # its columns: the head's left, top and front, in camera space
    # How the picture of a point moves as the point does, in units of its own scale: the derivative of (x, y) / z.
    across = towards[:2] - np.outer((pose.x / pose.z, pose.y / pose.z), towards[2])
    for direction, color in sorted(zip(across.T, AXES, strict=True), key=lambda axis: float(np.hypot(*axis[0])))[::-1]:
        end = origin + 0.4 * face.region.side * direction
        line = np.array([origin, end], np.float32)
        _draw_around(image, _Pen.of(face)._replace(color=color), [line], dots=line[:0])


def _draw_around(image: Image, pen: _Pen, lines: Sequence[Points], dots: Points) -> None:
    """Draw polylines (each (K, 2) frame px) and dots (M, 2), touching only the part of the image they lie in."""
    patch, origin = _neighbourhood(image, np.concatenate([*lines, dots]), margin=2 * pen.dot_radius + pen.rim)
    if patch.size == 0:
        return
    # Each pixel becomes zoom x zoom equal ones, so that shrinking by area restores whatever is not drawn on.
    canvas = cv2.resize(patch, None, fx=pen.zoom, fy=pen.zoom, interpolation=cv2.INTER_NEAREST)
    _draw_lines(canvas, pen, [_enlarged(line - origin, pen.zoom) for line in lines])
    _draw_dots(canvas, pen, _enlarged(dots - origin, pen.zoom))
    cv2.resize(canvas, patch.shape[1::-1], dst=patch, interpolation=cv2.INTER_AREA)


def _neighbourhood(image: Image, points: Points, margin: float) -> tuple[Image, Points]:
    """The view of `image` that spans `points` (K, 2) and a margin, frame px, and where (2,) it starts."""
    size = (image.shape[1], image.shape[0])
    left, top = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0) + margin), 0, size).astype(int)
    return image[top:bottom, left:right], np.array([left, top], np.float32)


def _enlarged(points: Points, zoom: int) -> NDArray[np.int32]:
    """Patch px (..., 2) -> OpenCV's fixed-point coordinates on the canvas, held to the range it can draw."""
    canvas_px = np.clip((points + 0.5) * zoom - 0.5, -(2**14), 2**15)
    fixed: NDArray[np.int32] = np.round(canvas_px * (1 << SHIFT)).astype(np.int32)
    return fixed


def _draw_lines(canvas: Image, pen: _Pen, lines: Sequence[NDArray[np.int32]]) -> None:
    """Draw polylines half transparent: dark below, coloured above."""
    faded = canvas.copy()
    for width, ink in ((pen.line_width + 2 * pen.rim, DARK), (pen.line_width, pen.color)):
        cv2.polylines(faded, lines, False, ink, max(1, round(width * pen.zoom)), cv2.LINE_AA, SHIFT)
    cv2.addWeighted(faded, LINE_OPACITY, canvas, 1 - LINE_OPACITY, 0, dst=canvas)


def _draw_dots(canvas: Image, pen: _Pen, centers: NDArray[np.int32]) -> None:
    for radius, ink in ((pen.dot_radius + pen.rim, DARK), (pen.dot_radius, WHITE)):
        for center in centers:
            cv2.circle(canvas, center, round(radius * pen.zoom * (1 << SHIFT)), ink, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _links(points: Points) -> list[Points]:
    """What connects the 15 points (15, 2): eyes and brows straight, each lip an arc; the nose stays a dot."""
    eyes_and_brows = [
        points[[INDEX[f"{side}_{name}"] for name in names]]
        for side in ("left", "right")
        for names in (
            ("eye_inner_corner", "eye_center", "eye_outer_corner"),
            ("eyebrow_inner_end", "eyebrow_outer_end"),
        )
    ]
    lips = [
        _arc(*points[[INDEX["mouth_left_corner"], INDEX[f"mouth_center_{lip}_lip"], INDEX["mouth_right_corner"]]])
        for lip in ("top", "bottom")
    ]
    return eyes_and_brows + lips


def _arc(start: Points, middle: Points, end: Points) -> Points:
    """(13, 2): the parabola that passes `start`, `middle` and `end` at times 0, 1/2 and 1 (Lagrange's form)."""
    t = np.linspace(0, 1, 13, dtype=np.float32)[:, None]
    arc: Points = (1 - t) * (1 - 2 * t) * start + 4 * t * (1 - t) * middle + t * (2 * t - 1) * end
    return arc


def _corner_marks(box: Box) -> list[Points]:
    """Four angles (3, 2) at the corners of the box: enough to say where it is without caging the face."""
    arm = 0.12 * min(box.right - box.left, box.bottom - box.top)
    return [
        np.array([(x + arm_x, y), (x, y), (x, y + arm_y)], np.float32)
        for x, arm_x in ((box.left, arm), (box.right, -arm))
        for y, arm_y in ((box.top, arm), (box.bottom, -arm))
    ]


def _text(image: Image, text: str, baseline: tuple[float, float], height: float, ink: Color) -> None:
    """Write into `image` from `baseline` (x, y) px, capitals `height` px tall, on a dark rim."""
    scale, thickness, rim = height / _FONT_HEIGHT_PX, max(1, round(height / 7)), max(1, round(height / 12))
    x, y = round(baseline[0]), round(baseline[1])
    # Not one thick dark text below: with OpenCV 5's fonts that is bolder, not wider.
    around = [(dx, dy) for dx in (-rim, 0, rim) for dy in (-rim, 0, rim) if (dx, dy) != (0, 0)]
    for (dx, dy), color in [*((offset, DARK) for offset in around), ((0, 0), ink)]:
        cv2.putText(image, text, (x + dx, y + dy), _FONT, scale, color, thickness, cv2.LINE_AA)
