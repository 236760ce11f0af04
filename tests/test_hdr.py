"""Films of high dynamic range come out as any screen shows them, and say so."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import written

from tracker.sources.film import open_film
from tracker.sources.hdr import HLG, LUMINANCE, PQ, WHITE_NITS, ToneMap, standard_from_hdr


def write_gray(path: Path, transfer: int, code: float) -> Path:
    """A gray BT.2020 film of 10 bits, `code` of its range."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx265", rate=20, options={"preset": "ultrafast", "x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        for index in range(4):
            frame = av.VideoFrame(160, 96, "yuv420p10le")
            for plane, value in zip(frame.planes, (64 + code * 876, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, 9, 9, 1
            frame.pts, frame.time_base = index, Fraction(1, 20)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("transfer", "white"), [(HLG, 0.75), (PQ, 0.5807)])
@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_gray_is_as_bright_as_the_curve_says_and_stays_gray(tmp_path: Path, transfer: int, white: float, share: float):
    with open_film(write_gray(tmp_path / "in.mov", transfer, white * share)) as film:
        image = list(film)[-1].image
    (expected,) = standard_from_hdr(np.full((1, 3), white * share), transfer) * 255
    assert np.ptp(image) <= 2
    assert image[40, 80].tolist() == pytest.approx(expected.tolist(), abs=3)


@pytest.mark.parametrize("transfer", [HLG, PQ])
@pytest.mark.parametrize("form", ["yuv420p10le", "yuv422p12le"])
def test_every_colour_of_a_picture_is_that_of_the_curve_on_average(transfer: int, form: str):
    colour = np.array([0.53, 0.38, 0.31])
    luma = colour @ LUMINANCE
    blue, red = (colour[2] - luma) / 1.8814, (colour[0] - luma) / 1.4746  # ITU-R BT.2020
    frame = av.VideoFrame(161, 97, form)
    unit = 4 if "12" in form else 1
    for plane, value in zip(frame.planes, (64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red), strict=True):
        plane.update(np.full(plane.buffer_size // 2, round(unit * value), np.uint16).tobytes())
    frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, 9, 9, 1
    image = ToneMap()(frame)
    (expected,) = standard_from_hdr(colour[None], transfer) * 255
    assert image.shape == (97, 161, 3)
    assert image.mean((0, 1))[::-1] == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("transfer", "white"), [(HLG, 0.75), (PQ, 0.5807)])
def test_the_curve_keeps_dark_and_middle_tones_and_ends_at_white(transfer: int, white: float):
    codes = np.linspace(0, 1, 101)[:, None].repeat(3, 1)
    shown = standard_from_hdr(codes, transfer)[:, 0]
    assert np.all(np.diff(shown) >= -1e-9)
    assert shown[0] == pytest.approx(0, abs=0.01)
    assert shown.max() == pytest.approx(1, abs=0.01)
    diffuse = standard_from_hdr(np.full((1, 3), white), transfer)[0, 0]
    assert 0.75 < diffuse < 0.95  # white paper is bright, and lights are brighter
    assert WHITE_NITS == 203


def test_saturated_colours_keep_their_hue():
    red, skin = standard_from_hdr(np.array([[0.6, 0.1, 0.1], [0.6, 0.5, 0.42]]), HLG)
    assert red[0] > 0.6
    assert max(red[1:]) < 0.2
    assert skin[0] > skin[1] > skin[2]


def test_the_written_film_tells_what_it_is(tmp_path: Path):
    source = write_gray(tmp_path / "in.mov", HLG, 0.6)
    written(source, tmp_path / "out.mp4")
    with open_film(source) as film:
        *_, last = film
    expected = last.image.mean()
    with av.open(str(tmp_path / "out.mp4")) as copy:
        context = copy.streams.video[0].codec_context
        assert (context.color_trc, context.color_primaries, context.colorspace) == (1, 1, 6)
        picture = next(copy.decode(video=0))
        assert picture.format.name == "yuv420p"
        assert picture.to_ndarray(format="bgr24").mean() == pytest.approx(expected, abs=3)


def test_the_case_of_a_person_in_hlg(shared: Path):
    with open_film(shared / "cases" / "films" / "hlg_true.mov") as film:
        image = next(iter(film)).image
    assert image.mean((0, 1)) == pytest.approx([93, 106, 117], abs=4)  # as FFmpeg's own new scaler has it
