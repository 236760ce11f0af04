"""What the drawing promises: readable anywhere, true to a fraction of a pixel, and never in the input."""

import cv2
import numpy as np
import pytest
from films import nobody

from tracker.drawing.draw import DARK, PALETTE, draw, overlay_text
from tracker.drawing.styles import STYLES
from tracker.spec import KEYPOINTS, MIRROR
from tracker.types import Box, Face, Frame, Region, Tracked

VISIBLE = [name for name in STYLES if name != "none"]
EYES = [(0.2, 0), (-0.2, 0), (0.12, 0.01), (0.28, 0.01), (-0.12, 0.01), (-0.28, 0.01)]
BROWS = [(0.08, -0.13), (0.34, -0.12), (-0.08, -0.13), (-0.34, -0.12)]
NOSE_AND_MOUTH = [(0, 0.26), (0.15, 0.45), (-0.15, 0.45), (0, 0.41), (0, 0.52)]
SHAPE = np.array([*EYES, *BROWS, *NOSE_AND_MOUTH], np.float32)
"""A frontal face in units of its crop's side, from the middle between the eyes; order of KEYPOINTS."""


def face_at(image, x, y, side, *, number=0):
    """A Tracked with one face of crop side `side`, its eyes' midpoint at (x, y)."""
    points = SHAPE * side + (x, y)
    box = Box(x - 0.45 * side, y - 0.4 * side, x + 0.45 * side, y + 0.75 * side)
    face = Face(number, Region(x, y + 0.2 * side, side, 0.0), box, 0.9)
    return Tracked(Frame(image, 0, 0.0), (face,), points[None].astype(np.float32), np.ones((1, 15), np.float32))


def plain(level, height=480, width=640):
    return np.full((height, width, 3), level, np.uint8)


def test_the_shape_used_here_has_every_keypoint():
    assert SHAPE.shape == (len(KEYPOINTS), 2)


def test_the_frame_itself_stays_untouched(portrait):
    before = portrait.copy()
    drawn = draw(face_at(portrait, 220, 120, 150))
    assert (portrait == before).all()
    assert (drawn != before).any()


def test_without_faces_the_picture_is_an_equal_copy(portrait):
    drawn = draw(nobody(Frame(portrait, 0, 0.0)))
    assert (drawn == portrait).all()
    assert not np.shares_memory(drawn, portrait)


@pytest.mark.slow
@pytest.mark.parametrize("style", VISIBLE)
@pytest.mark.parametrize("level", [0, 64, 128, 192, 255])
@pytest.mark.parametrize("number", range(len(PALETTE)))
def test_every_style_in_every_colour_can_be_seen_on_dark_and_on_light(style, level, number):
    drawn = draw(face_at(plain(level, 300, 300), 150, 100, 150, number=number), style).astype(int)
    assert (np.abs(drawn - level).max(-1) > 60).sum() > 100


@pytest.mark.parametrize("style", VISIBLE)
def test_a_style_moves_and_mirrors_with_the_face(style):
    for lines in STYLES[style].lines:
        assert lines.sum(1) == pytest.approx(1)  # so a shift of the points shifts the drawing
    vertices = np.concatenate([SHAPE, *(lines @ SHAPE for lines in STYLES[style].lines)])
    symmetric = (SHAPE + SHAPE[list(MIRROR)] * (-1, 1)) / 2
    there, back = (
        {tuple(vertex) for lines in STYLES[style].lines for vertex in np.round(lines @ symmetric, 6) * (way, 1) + 0.0}
        for way in (1, -1)
    )
    assert there == back
    assert (np.abs(vertices) < 0.7).all()  # and nothing leaves the face


def test_one_style_draws_nothing(portrait):
    assert (draw(face_at(portrait, 220, 120, 150), "none") == portrait).all()


def test_styles_differ(portrait):
    pictures = [draw(face_at(portrait, 220, 120, 150), style) for style in STYLES]
    assert len({picture.tobytes() for picture in pictures}) == len(STYLES) >= 2


@pytest.mark.parametrize("style", STYLES)
def test_the_uncertainty_is_drawn_two_sigma_wide(style):
    def reach_px(sigma):
        tracked = face_at(plain(0), 320, 200, 200)
        nose = KEYPOINTS.index("nose_tip")
        tracked.sigma[:] = 0.01
        bare = draw(tracked, style).max(-1)
        tracked.sigma[0, nose] = sigma
        seen = draw(tracked, style, show_sigma=True).max(-1)
        y = round(200 + 0.26 * 200)
        lit = np.flatnonzero((seen[y, 220:420] > 60) & (bare[y, 220:420] < 60))
        return np.abs(lit + 220 - 320).max()

    assert reach_px(10.0) == pytest.approx(20, abs=1.5)
    assert reach_px(15.0) == pytest.approx(30, abs=1.5)


def test_a_point_fades_with_its_sigma_and_vanishes_where_it_is_nowhere():
    nose = KEYPOINTS.index("nose_tip")

    def brightness(sigma):
        tracked = face_at(plain(0), 320, 200, 200)
        tracked.sigma[0, nose] = sigma
        return int(draw(tracked, "classic").max(-1)[round(200 + 0.26 * 200), 320])

    sure, doubtful, more_doubtful, nowhere = (brightness(sides * 200) for sides in (0.01, 0.025, 0.04, 0.055))
    assert sure > 200
    assert sure > doubtful > more_doubtful > nowhere == 0


def test_lines_to_a_point_that_is_nowhere_vanish_with_it():
    tracked = face_at(plain(0), 320, 200, 200)
    before = draw(tracked, "lines")
    tracked.sigma[0, [KEYPOINTS.index(name) for name in KEYPOINTS if "left" in name]] = 40
    after = draw(tracked, "lines")
    left, right = np.s_[:, 325:], np.s_[:, :315]
    assert np.count_nonzero(after[left]) < 0.1 * np.count_nonzero(before[left])
    assert np.count_nonzero(after[right]) > 0.4 * np.count_nonzero(before[right])


def test_of_a_tiny_face_only_corners_and_id_are_drawn():
    tiny, small = (draw(face_at(plain(90), 320, 200, side)) for side in (2.64 * 15, 2.64 * 17))
    assert (tiny[195:215, 315:325] == 90).all()
    assert (small[195:215, 310:330] != 90).any()
    assert (tiny != 90).any()


def test_strokes_are_wider_in_larger_pictures():
    def ink(height):
        drawn = draw(face_at(plain(90, height, height), height / 2, height / 2, 60))
        return np.count_nonzero((drawn != 90).any(-1))

    assert ink(2160) > 1.5 * ink(480)


@pytest.mark.parametrize("y", [20, 200])
def test_an_id_stands_on_a_dark_plate_inside_the_picture(y):
    drawn = draw(face_at(plain(255), 320, y, 200, number=5))
    dark = np.argwhere((drawn == DARK).all(-1))
    plate = dark[(dark[:, 1] < 320 - 0.4 * 200) & (np.abs(dark[:, 0] - max(y - 90, 10)) < 30)]
    assert len(plate) > 100


SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB -> linear RGB as seen: Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009."""


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colours_are_told_apart_with_every_kind_of_colour_vision(sight):
    rgb = np.array(PALETTE, np.float64)[:, ::-1] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.transpose(SIGHT[sight])
    linear = np.clip(linear, 0, 1)
    seen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    assert apart[np.triu_indices(len(PALETTE), 1)].min() > 30


@pytest.mark.parametrize("style", ["classic", "lines"])
def test_a_closed_mouth_has_a_line_between_its_lips(style):
    drawn = draw(face_at(plain(0), 320, 200, 200), style).max(-1)
    top, bottom = (round(200 + 200 * y) for y in (0.41, 0.52))
    column = drawn[top + 5 : bottom - 5, 328]
    assert column.max() > 60


@pytest.mark.parametrize("side", [48, 150, 600])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_every_point_stands_out_on_dark_and_on_light(side, level):
    background = plain(level, 900, 900)
    drawn = draw(face_at(background, 450, 300, side)).astype(int)
    for x, y in SHAPE * side + (450, 300):
        reach = max(2, round(0.02 * side))
        around = drawn[round(y) - reach : round(y) + reach + 1, round(x) - reach : round(x) + reach + 1].mean(-1)
        assert np.abs(around - level).max() > 80
        assert around.max() > 180  # a bright dot wherever it is


def test_only_the_neighbourhood_of_the_face_is_drawn_on(portrait):
    drawn = draw(face_at(portrait, 220, 120, 100))
    changed = np.argwhere((drawn != portrait).any(-1))
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    assert left > 220 - 60
    assert right < 220 + 60
    assert top > 120 - 70
    assert bottom < 120 + 90


def test_strokes_grow_with_the_face():
    def dot_area(side):
        drawn = draw(face_at(plain(90, 1400, 1400), 700, 500, side))
        x, y = np.round(SHAPE[KEYPOINTS.index("nose_tip")] * side + (700, 500)).astype(int)
        reach = round(0.08 * side)
        return int((drawn[y - reach : y + reach, x - reach : x + reach].min(-1) > 200).sum())

    small, middle, large = dot_area(48), dot_area(200), dot_area(800)
    assert 0 < small < middle < large
    assert small < 12


@pytest.mark.parametrize("side", [60, 240, 500])
def test_dots_follow_the_points_by_fractions_of_a_pixel(side):
    def nose_x(shift):
        drawn = draw(face_at(plain(0), 320 + shift, 200, side)).astype(float).mean(-1)
        y = round(200 + 0.26 * side)
        columns = drawn[y - 20 : y + 20, 280:360].sum(0)
        return float((columns * np.arange(280, 360)).sum() / columns.sum())

    for shift in (0.0, 0.25, 0.5, 0.75):
        assert nose_x(shift) - nose_x(0.0) == pytest.approx(shift, abs=0.08)


def test_an_id_keeps_its_colour_and_neighbours_differ():
    first, again, second = (draw(face_at(plain(0), 320, 200, 200, number=number)) for number in (0, 0, 1))
    assert (first == again).all()
    assert (first != second).any()
    assert len(set(PALETTE)) == len(PALETTE) >= 7


@pytest.mark.parametrize("style", VISIBLE)
@pytest.mark.parametrize(("x", "y"), [(0, 0), (640, 480), (-30, 240), (320, 490), (-2000, -2000), (1e6, 240)])
def test_faces_over_the_edge_and_outside_are_no_trouble(x, y, style):
    image = plain(100)
    drawn = draw(face_at(image, x, y, 120), style, show_sigma=True)
    assert drawn.shape == image.shape
    outside = max(abs(x - 320) - 320, abs(y - 240) - 240) > 200
    assert (drawn == image).all() == outside


def test_what_is_not_drawn_on_is_the_same_to_the_last_bit(portrait):
    drawn = draw(face_at(portrait, 220, 120, 100))  # small enough to be drawn enlarged and shrunk again
    assert (drawn[200:, :] == portrait[200:, :]).all()
    cheek = (slice(140, 144), slice(187, 192))  # between eye and mouth, inside the part that was enlarged
    assert (drawn[cheek] == portrait[cheek]).all()


def test_overlay_text_is_readable_on_any_ground_and_leaves_the_picture_alone():
    for level in (0, 128, 255):
        image = plain(level)
        shown = overlay_text(image, ["29.7 fps", "48 ms"])
        assert (image == level).all()
        corner = shown[:80, :160].astype(int)
        assert corner.max() - corner.min() > 150
        assert (shown[100:] == level).all()
