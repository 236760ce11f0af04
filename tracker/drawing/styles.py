"""The styles of an overlay: tables from the 15 keypoints to lines and dots, without pixels.

Every vertex of every line is a weighted sum of the keypoints, so a line with K vertices is an array (K, 15) that works
in any space.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.drawing.skeleton import CHAINS
from tracker.spec import INDEX, KEYPOINTS, MIRROR

Weights = NDArray[np.floating]


class Style(NamedTuple):
    """What is drawn on a face."""

    lines: tuple[Weights, ...] = ()
    line_width: float = 1.0
    """Relative to the face's pen, like `dot_size`."""
    dot_size: float = 1.0
    """0 draws none."""
    white_dots: bool = True
    """Else in the face's colour."""
    framed: bool = True
    """With corner marks around the face and its number."""
    uncertain: bool = False
    """With a disc around each point that shows its sigma, instead of fading."""


def _straight(*names: str) -> Weights:
    """(K, 15): the line through these keypoints."""
    return np.eye(len(KEYPOINTS))[[INDEX[name] for name in names]]


def _arc(start: Weights, middle: Weights, end: Weights) -> Weights:
    """(9, 15): the parabola that passes three points at times 0, 1/2 and 1 (Lagrange's form)."""
    t = np.linspace(0, 1, 9)[:, None]
    arc: Weights = (1 - t) * (1 - 2 * t) * start + 4 * t * (1 - t) * middle + t * (2 * t - 1) * end
    return arc


def _both_sides(lines: Sequence[Weights]) -> tuple[Weights, ...]:
    """`lines` of one side of the face, and their mirror images."""
    return (*lines, *(line[:, MIRROR] for line in lines))


def _point(name: str) -> Weights:
    return _straight(name)[0]


def _links() -> tuple[Weights, ...]:
    """Eyes and brows straight, each lip an arc; the nose stays a dot."""
    return (*(_straight(*chain) for chain in CHAINS if "mouth_left_corner" not in chain), *_lips())


def _lips() -> tuple[Weights, ...]:
    """Both lips' outer edges and the line between them: without it a closed mouth reads as an open one."""
    corners = _point("mouth_left_corner"), _point("mouth_right_corner")
    top, bottom = (_point(f"mouth_center_{lip}_lip") for lip in ("top", "bottom"))
    return tuple(_arc(corners[0], middle, corners[1]) for middle in (top, 0.55 * top + 0.45 * bottom, bottom))


def _contours() -> tuple[Weights, ...]:
    """A line drawing: lids, brows and the nose are guessed from the points around them."""
    eye, inner, outer = (_point(f"left_eye_{part}") for part in ("center", "inner_corner", "outer_corner"))
    brow_ends = _point("left_eyebrow_inner_end"), _point("left_eyebrow_outer_end")
    brow = (brow_ends[0] + brow_ends[1]) / 2
    lids = [_arc(inner, eye + share * (brow - eye), outer) for share in (0.3, -0.22)]
    nose, half_mouth = _point("nose_tip"), (_point("mouth_left_corner") - _point("mouth_right_corner")) / 2
    below_nose = nose + 0.25 * (_point("mouth_center_top_lip") - nose)
    wings = _arc(nose - 0.5 * half_mouth, below_nose, nose + 0.5 * half_mouth)
    return (*_both_sides([*lids, _arc(brow_ends[0], brow + 0.15 * (brow - eye), brow_ends[1])]), wings, *_lips())


def _net() -> tuple[Weights, ...]:
    """Triangles over the face."""
    half = [
        ("eyebrow_inner_end", "eyebrow_outer_end", "eye_outer_corner", "eye_center", "eye_inner_corner"),
        ("eye_inner_corner", "eyebrow_inner_end", "eye_center", "eyebrow_outer_end"),
    ]
    sides = _both_sides([_straight(*(f"left_{name}" for name in line)) for line in half])
    cheek = _straight("left_eye_outer_corner", "mouth_left_corner", "nose_tip", "left_eye_inner_corner")
    lips = _straight("mouth_center_top_lip", "mouth_left_corner", "mouth_center_bottom_lip")
    middle = _straight("nose_tip", "mouth_center_top_lip", "mouth_center_bottom_lip")
    across = [_straight(f"left_{name}", f"right_{name}") for name in ("eyebrow_inner_end", "eye_inner_corner")]
    return (*sides, *_both_sides([cheek, lips]), middle, *across)


STYLES: dict[str, Style] = {
    "classic": Style(_links()),
    "dots": Style(dot_size=1.4, white_dots=False, framed=False),
    "lines": Style(_contours(), line_width=1.25, dot_size=0, framed=False),
    "mesh": Style(_net(), line_width=0.8, dot_size=0.8),
    "none": Style(dot_size=0, framed=False),
}
"""Every style by the name a user types."""
