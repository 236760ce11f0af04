"""Tracked faces -> a picture for people, in one of a few styles.

In: a `Tracked` (points in frame px).  Out: a new BGR image; the frame itself is never drawn into.  Everything scales
with the face and with the picture, points fade with their uncertainty, and every bright stroke lies on a dark one, so
that it is visible on light and on dark.

A face's strokes are drawn on a transparent canvas, enlarged if the face is small, which is then shrunk and laid over
the picture: that smooths their edges.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress, groupby
from operator import itemgetter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.head_pose import axes_of
from tracker.core.square import shown_scale
from tracker.drawing.style_names import StyleName
from tracker.drawing.styles import STYLES, Style
from tracker.geometry import SIDE_IOD
from tracker.spec import INDEX
from tracker.types import Box, Face, Image, Pose, Tracked

Color = tuple[int, int, int]
Points = NDArray[np.floating]

PALETTE: tuple[Color, ...] = (
    (3, 175, 255),  # amber
    (255, 78, 0),  # blue
    (255, 255, 199),  # pale cyan
    (130, 177, 12),  # green
    (21, 64, 180),  # rust
    (150, 238, 255),  # pale yellow
    (164, 71, 145),  # purple
)
"""BGR.  Any two differ by 35 in CIELAB for normal sight and for each kind of colour blindness (Machado 2009, complete):
found by search, where Okabe and Ito's seven differ by 16, and orange and yellow by 17."""

AXES: tuple[Color, ...] = ((60, 60, 235), (70, 190, 60), (240, 120, 50))
"""BGR of a head's axes: red, green, blue for x, y, z, as everywhere."""

DARK: Color = (24, 20, 16)
WHITE: Color = (255, 255, 255)
LINE_OPACITY = 0.8
"""Lines let the skin through; dots do not."""
SURE_SIDES, NOWHERE_SIDES = 0.015, 0.05
"""A point whose sigma, in sides of the face's region, is up to the first is drawn in full; from the second on, not at
all; between them it fades.  Of the visible points of 519 faces that were never learned from, 4 % are off by more than a
tenth of the eye distance below the first, 29 % in the middle and half at the second; of hidden ones 30, 50 and 74 %."""
MARKED_EYES_PX = 16
"""For a face with fewer px between the eyes, only the corners and the id are drawn: its lips would run together."""
USUAL_HEIGHT_PX = 480
"""Pictures that are higher are shown smaller, so strokes are at least that much wider in them."""
SIGMA_OPACITY = 0.5
SIGMA_DOT_SIZE = 0.5
"""The uncertainty is often smaller than a dot of usual size."""

SIGMAS = 2.0
"""Radius of the uncertainty drawn, in `sigma`: the point lies inside six times in seven, 1 - exp(-2), if both of its
coordinates err independently.  A circle, because the network gives one sigma for x and y."""

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
    look = STYLES[style]._replace(dot_size=SIGMA_DOT_SIZE, uncertain=True) if show_sigma else STYLES[style]
    for face, points, sigma in zip(tracked.faces, tracked.keypoints, tracked.sigma, strict=True):
        _draw_face(image, face, points, sigma, look)
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
        _text(image, line, (height_px, height_px * (2.1 + 1.9 * row)), height_px)
    return image


class _Pen(NamedTuple):
    """How to draw one face; lengths in frame px."""

    color: Color
    dot_radius: float
    line_width: float
    rim: float
    """How far the dark under a bright stroke sticks out on either side."""
    mark_width: float
    """Of the corner marks."""
    text_height: float
    zoom: int
    """Drawn this many times larger and shrunk, because OpenCV's thinnest strokes are too coarse for a small face."""

    @classmethod
    def of(cls, face: Face, style: Style, height: int) -> "_Pen":
        """For a face in a picture of that `height`."""
        side, least = face.region.side, max(1.0, height / USUAL_HEIGHT_PX)
        return cls(
            color=PALETTE[face.id % len(PALETTE)],
            dot_radius=_clamped(0.0115 * side, min(least, 0.02 * side), 12 * least) * style.dot_size,
            line_width=_clamped(0.006 * side, min(0.75 * least, 0.012 * side), 8 * least) * style.line_width,
            rim=_clamped(0.0035 * side, min(0.5 * least, 0.008 * side), 4 * least),
            mark_width=_clamped(0.006 * side, 1.0 * least, 8 * least),
            text_height=_clamped(0.055 * side, 9 * least, 40 * least),
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

    def lines(
        self, lines: Sequence[Points], strokes: Iterable[tuple[float, Color]], opacities: Sequence[float]
    ) -> None:
        """Polylines, each (K, 2) frame px with its opacity, all once with each width, frame px, and ink."""
        fixed = [self._fixed(line) for line in lines]
        for width, ink in strokes:
            thickness = max(1, round(width * self._zoom))
            for opacity, alike in groupby(zip(opacities, fixed, strict=True), key=itemgetter(0)):
                if opacity > 0:
                    together, color = [line for _, line in alike], _clear(ink, LINE_OPACITY * opacity)
                    cv2.polylines(self._pixels, together, False, color, thickness, cv2.LINE_AA, SHIFT)

    def discs(
        self, centers: Points, layers: Iterable[tuple[Sequence[float], Color, float]], opacities: Sequence[float]
    ) -> None:
        """Filled circles around `centers` (M, 2), its opacity times that of the layer: M radii, ink, opacity."""
        fixed = self._fixed(centers).tolist()
        for radii, ink, layer_opacity in layers:
            for center, radius, opacity in zip(fixed, radii, opacities, strict=True):
                if opacity > 0:
                    color = _clear(ink, layer_opacity * opacity)
                    cv2.circle(self._pixels, center, round(radius * self._scale), color, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def lay_down(self) -> None:
        """Change the frame's pixels where something was drawn, and no others."""
        if self._patch.size == 0:
            return
        shrunk = cv2.resize(self._pixels, self._patch.shape[1::-1], interpolation=cv2.INTER_AREA)
        through = cv2.bitwise_not(cv2.extractChannel(shrunk, 3))
        cv2.multiply(self._patch, cv2.merge([through] * 3), dst=self._patch, scale=1 / 255)
        cv2.add(self._patch, cv2.cvtColor(shrunk, cv2.COLOR_BGRA2BGR), dst=self._patch)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        """Frame px (..., 2) -> OpenCV's fixed-point coordinates on the canvas, clamped to the range it can draw."""
        fixed = np.rint(points * self._scale + self._origin)
        return np.minimum(np.maximum(fixed, -(2**18)), 2**19).astype(np.int32)


def _clamped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@lru_cache(maxsize=256)
def _clear(ink: Color, opacity: float) -> tuple[int, ...]:
    """`ink` as the canvas holds it."""
    return tuple(round(channel * opacity) for channel in (*ink, 255))


def _draw_face(image: Image, face: Face, points: Points, sigma: NDArray[np.float32], style: Style) -> None:
    """Draw one face into the part of the image around it; `points` (15, 2) and their sigma (15,) in frame px."""
    pen = _Pen.of(face, style, image.shape[0])
    if face.region.side >= MARKED_EYES_PX * SIDE_IOD:
        _draw_points(image, points, sigma, face.region.side, pen, style)
    if style.framed:
        _draw_marks(image, face.box, pen)
        _draw_id(image, face, pen)


def _draw_points(
    image: Image, points: Points, sigma: NDArray[np.float32], side: float, pen: _Pen, style: Style
) -> None:
    """Draw the lines and dots of one face, and its uncertainty if the style shows it."""
    reach = SIGMAS * sigma if style.uncertain else None
    shares = np.clip((NOWHERE_SIDES - sigma / side) / (NOWHERE_SIDES - SURE_SIDES), 0, 1)
    opacities = [1.0] * len(points) if style.uncertain else shares.tolist()
    lines = [weights @ points for weights in style.lines]
    of_lines = [1.0] * len(lines)
    if min(opacities) < 1:
        held_by = [np.abs(weights).max(axis=0) > 0.2 for weights in style.lines]
        of_lines = [min(compress(opacities, points_of_line)) for points_of_line in held_by]
    margin = 2 * pen.dot_radius + pen.rim + (0 if reach is None else reach.max())
    spread = np.concatenate([points, *lines])
    canvas = _Canvas(image, spread.min(0) - margin, spread.max(0) + margin, pen.zoom)
    if lines:
        canvas.lines(lines, pen.strokes, of_lines)
    if reach is not None:
        layers = [((reach + pen.rim).tolist(), DARK, LINE_OPACITY), (reach.tolist(), pen.color, SIGMA_OPACITY)]
        canvas.discs(points, layers, opacities)
    if style.dot_size:
        ink = WHITE if style.white_dots else pen.color
        below, above = ([radius] * len(points) for radius in (pen.dot_radius + pen.rim, pen.dot_radius))
        canvas.discs(points, [(below, DARK, 1.0), (above, ink, 1.0)], opacities)
    canvas.lay_down()


def _draw_axes(image: Image, face: Face, origin: Points, pose: Pose, aspect: float) -> None:
    """Draw the axes of a head from `origin` (2,), frame px, 0.4 sides of its region long."""
    towards = axes_of(pose) * (1, -1, -1)  # its columns: the head's left, top and front, in camera space
    # How the picture of a point moves as the point does, in units of its own scale: the derivative of (x, y) / z.
    across = (towards[:2] - np.outer((pose.x / pose.z, pose.y / pose.z), towards[2])).T
    across /= np.array(shown_scale(aspect)) / math.sqrt(max(aspect, 1 / aspect))
    lines = origin + 0.4 * face.region.side * np.stack([np.zeros_like(across), across], axis=1)
    pen = _Pen.of(face, Style(), image.shape[0])
    canvas = _Canvas(image, lines.min((0, 1)) - 2 * pen.line_width, lines.max((0, 1)) + 2 * pen.line_width, pen.zoom)
    for line, color in sorted(zip(lines, AXES, strict=True), key=lambda axis: -float(np.hypot(*(axis[0][1] - origin)))):
        canvas.lines([line], pen._replace(color=color).strokes, [1.0])
    canvas.lay_down()


def _draw_marks(image: Image, box: Box, pen: _Pen) -> None:
    """Four angles at the corners of the box, which mark it without hiding the face."""
    arm = 0.12 * min(box.right - box.left, box.bottom - box.top)
    marks = [
        ((x + arm_x, y), (x, y), (x, y + arm_y))
        for x, arm_x in ((box.left, arm), (box.right, -arm))
        for y, arm_y in ((box.top, arm), (box.bottom, -arm))
    ]
    fixed = list(np.round(np.clip(marks, -(2**14), 2**15) * (1 << SHIFT)).astype(np.int32))
    for width, ink in ((pen.mark_width + 2 * pen.rim, DARK), (pen.mark_width, pen.color)):
        cv2.polylines(image, fixed, False, ink, max(1, round(width)), cv2.LINE_AA, SHIFT)


def _draw_id(image: Image, face: Face, pen: _Pen) -> None:
    """Write the face's id on a dark plate above its box, or inside the box at the picture's edge."""
    text, scale = str(face.id), round(pen.text_height / _FONT_HEIGHT_PX, 2)  # OpenCV renders each size only once
    thickness, pad = max(1, round(pen.text_height / 8)), pen.text_height / 3
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    height = pen.text_height + 2 * pad
    left, bottom, frame = face.box.left, face.box.top - pen.mark_width - pen.rim, image.shape
    if face.box.bottom < 0 or face.box.right < 0 or left > frame[1] or bottom > frame[0]:
        return
    bottom = bottom if bottom > height else max(face.box.top, 0) + height
    left = max(left, 0)
    x0, y0, x1, y1 = (round(edge) for edge in (left, bottom - height, left + width + 2 * pad, bottom))
    cv2.rectangle(image, (x0, y0), (x1, y1), DARK, cv2.FILLED)
    cv2.putText(image, text, (round(x0 + pad), round(y1 - pad)), _FONT, scale, pen.color, thickness, cv2.LINE_AA)


def _text(image: Image, text: str, baseline: tuple[float, float], height: float) -> None:
    """Write into `image` from `baseline` (x, y) px, capitals `height` px tall, white on a dark rim."""
    scale, thickness, rim = height / _FONT_HEIGHT_PX, max(1, round(height / 7)), max(1, round(height / 12))
    x, y = round(baseline[0]), round(baseline[1])
    # Not one thick dark text below: with OpenCV 5's fonts that is bolder, not wider.
    around = [(dx, dy) for dx in (-rim, 0, rim) for dy in (-rim, 0, rim) if (dx, dy) != (0, 0)]
    for (dx, dy), color in [*((offset, DARK) for offset in around), ((0, 0), WHITE)]:
        cv2.putText(image, text, (x + dx, y + dy), _FONT, scale, color, thickness, cv2.LINE_AA)
