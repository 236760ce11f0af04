"""Tracked faces -> a picture a person can read, in one of a few styles.

In: a `Tracked` (points in frame px).  Out: a new BGR image; the frame itself is never drawn into.  Everything scales
with the face, and every bright stroke lies on a dark one, so that it shows on light and on dark alike.

A face's strokes are drawn on a transparent canvas, enlarged where the face is small, which is then shrunk and laid over
the picture: that smooths their edges.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.head_pose import axes_of
from tracker.core.square import shown_scale
from tracker.drawing.style_names import StyleName
from tracker.drawing.styles import STYLES, Style
from tracker.spec import INDEX
from tracker.types import Box, Face, Pose, Tracked

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
Points = NDArray[np.floating]

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
LINE_OPACITY = 0.8
"""Lines let the skin through; dots do not."""
SIGMA_OPACITY = 0.5
SIGMA_DOT_SIZE = 0.5
"""The uncertainty is often smaller than a dot of usual size."""

SIGMAS = 2.0
"""Radius of the uncertainty drawn, in `sigma`: the point lies inside six times in seven, 1 - exp(-2), if both of its
coordinates err independently.  A circle, because the network tells one sigma for both."""

SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV: strokes move by 1/16 px instead of jumping by whole pixels."""

FINE_SIDE_PX = 250
"""A face whose region is smaller is drawn enlarged, at most `MAX_ZOOM` times."""

MAX_ZOOM = 4

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT_PX = 22.0
"""Cap height of the font at scale 1."""


def draw(tracked: Tracked, style: StyleName = "classic", *, show_sigma: bool = False, show_pose: bool = False) -> Image:
    """The frame's image (H, W, 3) uint8 BGR with every face drawn on it, as a new array; no faces: an equal copy.

    `style` is one of `STYLES`.  `show_sigma` draws each point small, on a disc of `SIGMAS` sigma.  `show_pose` draws
    from each nose where the head's left (red), top (green) and front (blue) point, if `tracked` has poses.
    """
    image = tracked.frame.image.copy()
    look = STYLES[style]._replace(dot_size=SIGMA_DOT_SIZE) if show_sigma else STYLES[style]
    for face, points, sigma in zip(tracked.faces, tracked.keypoints, tracked.sigma, strict=True):
        _draw_face(image, face, points, SIGMAS * sigma if show_sigma else None, look)
    if show_pose:
        for face, points, pose in zip(tracked.faces, tracked.keypoints, tracked.poses, strict=True):
            if pose is not None:
                _draw_axes(image, face, points[INDEX["nose_tip"]], pose, tracked.frame.aspect)
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
    def of(cls, face: Face, style: Style) -> "_Pen":
        side = face.region.side
        return cls(
            color=PALETTE[face.id % len(PALETTE)],
            dot_radius=_clamped(0.0115 * side, 1.0, 12) * style.dot_size,
            line_width=_clamped(0.006 * side, 0.75, 8) * style.line_width,
            rim=_clamped(0.0035 * side, 0.5, 4),
            text_height=_clamped(0.055 * side, 8, 40),
            zoom=math.ceil(_clamped(FINE_SIDE_PX / side, 1, MAX_ZOOM)),
        )

    @property
    def strokes(self) -> list[tuple[float, Color]]:
        """Width and ink of a line: the dark one below, the bright one above."""
        return [(self.line_width + 2 * self.rim, DARK), (self.line_width, self.color)]


class _Canvas:
    """A transparent picture over a part of the frame: BGR already times opacity, and opacity; shrunk when laid down."""

    def __init__(self, image: Image, low: Points, high: Points, zoom: int) -> None:
        """Over the pixels of `image` from `low` to `high`, (2,) frame px each."""
        size = (image.shape[1], image.shape[0])
        left, top = np.clip(np.floor(low), 0, size).astype(int)
        right, bottom = np.clip(np.ceil(high), 0, size).astype(int)
        self._patch = image[top:bottom, left:right]
        self._scale = zoom * (1 << SHIFT)
        self._origin = np.array([0.5 - left, 0.5 - top], np.float32) * self._scale - (1 << SHIFT) / 2
        """Of the frame, in OpenCV's fixed-point coordinates on the canvas."""
        self._zoom = zoom
        height, width = self._patch.shape[:2]
        self._pixels = np.zeros((max(1, height * zoom), max(1, width * zoom), 4), np.uint8)  # OpenCV draws on no less

    def lines(self, lines: Sequence[Points], strokes: Iterable[tuple[float, Color]]) -> None:
        """Polylines, each (K, 2) frame px, all of them once with each width, frame px, and ink."""
        fixed = [self._fixed(line) for line in lines]
        for width, ink in strokes:
            thickness = max(1, round(width * self._zoom))
            cv2.polylines(self._pixels, fixed, False, _clear(ink, LINE_OPACITY), thickness, cv2.LINE_AA, SHIFT)

    def discs(self, centers: Points, layers: Iterable[tuple[Sequence[float], Color, float]]) -> None:
        """Filled circles around `centers` (M, 2), all of them once with each M radii, ink and opacity; frame px."""
        fixed = self._fixed(centers).tolist()
        for radii, ink, opacity in layers:
            color = _clear(ink, opacity)
            for center, radius in zip(fixed, radii, strict=True):
                fixed_radius = round(radius * self._scale)
                cv2.circle(self._pixels, center, fixed_radius, color, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def lay_down(self) -> None:
        """Change the frame's pixels where something was drawn, and no others."""
        if self._patch.size == 0:
            return
        shrunk = cv2.resize(self._pixels, self._patch.shape[1::-1], interpolation=cv2.INTER_AREA)
        through = cv2.bitwise_not(cv2.extractChannel(shrunk, 3))
        cv2.multiply(self._patch, cv2.merge([through] * 3), dst=self._patch, scale=1 / 255)
        cv2.add(self._patch, cv2.cvtColor(shrunk, cv2.COLOR_BGRA2BGR), dst=self._patch)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        """Frame px (..., 2) -> OpenCV's fixed-point coordinates on the canvas, held to the range it can draw."""
        fixed = np.rint(points * self._scale + self._origin)
        return np.minimum(np.maximum(fixed, -(2**18)), 2**19).astype(np.int32)


def _clamped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _clear(ink: Color, opacity: float) -> tuple[int, ...]:
    """`ink` as the canvas holds it."""
    return tuple(round(channel * opacity) for channel in (*ink, 255))


def _draw_face(image: Image, face: Face, points: Points, reach: NDArray[np.float32] | None, style: Style) -> None:
    """Draw one face into the part of the image around it; `points` (15, 2) and the uncertainty's (15,) in frame px."""
    pen = _Pen.of(face, style)
    lines = [weights @ points for weights in style.lines]
    margin = 2 * pen.dot_radius + pen.rim + (0 if reach is None else reach.max())
    spread = np.concatenate([points, *lines])
    canvas = _Canvas(image, spread.min(0) - margin, spread.max(0) + margin, pen.zoom)
    if lines:
        canvas.lines(lines, pen.strokes)
    if reach is not None:
        reach_px = reach.tolist()
        wider_px = (reach + pen.rim).tolist()
        canvas.discs(points, [(wider_px, DARK, LINE_OPACITY), (reach_px, pen.color, SIGMA_OPACITY)])
    if style.dot_size:
        ink = WHITE if style.white_dots else pen.color
        below, above = ([radius] * len(points) for radius in (pen.dot_radius + pen.rim, pen.dot_radius))
        canvas.discs(points, [(below, DARK, 1.0), (above, ink, 1.0)])
    canvas.lay_down()
    if style.framed:
        _draw_marks(image, face.box, pen)
        baseline = (face.box.left, face.box.top - 0.6 * pen.text_height)
        _text(image, str(face.id), baseline, pen.text_height, pen.color)


def _draw_axes(image: Image, face: Face, origin: Points, pose: Pose, aspect: float) -> None:
    """Draw the axes of a head from `origin` (2,), frame px, 0.4 sides of its region long."""
    towards = axes_of(pose) * (1, -1, -1)  # its columns: the head's left, top and front, in camera space
    # How the picture of a point moves as the point does, in units of its own scale: the derivative of (x, y) / z.
    across = (towards[:2] - np.outer((pose.x / pose.z, pose.y / pose.z), towards[2])).T
    across /= np.array(shown_scale(aspect)) / math.sqrt(max(aspect, 1 / aspect))
    lines = origin + 0.4 * face.region.side * np.stack([np.zeros_like(across), across], axis=1)
    pen = _Pen.of(face, Style())
    canvas = _Canvas(image, lines.min((0, 1)) - 2 * pen.line_width, lines.max((0, 1)) + 2 * pen.line_width, pen.zoom)
    for line, color in sorted(zip(lines, AXES, strict=True), key=lambda axis: -float(np.hypot(*(axis[0][1] - origin)))):
        canvas.lines([line], pen._replace(color=color).strokes)
    canvas.lay_down()


def _draw_marks(image: Image, box: Box, pen: _Pen) -> None:
    """Four angles at the corners of the box: enough to say where it is without caging the face."""
    arm = 0.12 * min(box.right - box.left, box.bottom - box.top)
    marks = [
        ((x + arm_x, y), (x, y), (x, y + arm_y))
        for x, arm_x in ((box.left, arm), (box.right, -arm))
        for y, arm_y in ((box.top, arm), (box.bottom, -arm))
    ]
    fixed = list(np.round(np.clip(marks, -(2**14), 2**15) * (1 << SHIFT)).astype(np.int32))
    for width, ink in pen.strokes:
        cv2.polylines(image, fixed, False, ink, max(1, round(width)), cv2.LINE_AA, SHIFT)


def _text(image: Image, text: str, baseline: tuple[float, float], height: float, ink: Color) -> None:
    """Write into `image` from `baseline` (x, y) px, capitals `height` px tall, on a dark rim."""
    scale, thickness, rim = height / _FONT_HEIGHT_PX, max(1, round(height / 7)), max(1, round(height / 12))
    x, y = round(baseline[0]), round(baseline[1])
    # Not one thick dark text below: with OpenCV 5's fonts that is bolder, not wider.
    around = [(dx, dy) for dx in (-rim, 0, rim) for dy in (-rim, 0, rim) if (dx, dy) != (0, 0)]
    for (dx, dy), color in [*((offset, DARK) for offset in around), ((0, 0), ink)]:
        cv2.putText(image, text, (x + dx, y + dy), _FONT, scale, color, thickness, cv2.LINE_AA)
