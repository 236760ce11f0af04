"""Films whose picture is not one thing: it changes its size, shape or range, or there are several."""

import gc
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import joined, pictures, write_part, written
from programs import fkp_track

from tracker.errors import SourceError
from tracker.sources.film import open_film
from tracker.sources.fit import fitted
from tracker.types import Frame, Image

NO_B = {"bf": "0"}


def read(path: Path) -> list[Frame]:
    with open_film(path) as film:
        return list(film)


def write_disc(path: Path, size: tuple[int, int], aspect: Fraction, codec: str, seconds: float = 0.5) -> Path:
    """A film that shows a round disc in its middle whatever the shape of its pixels; `size` as stored."""
    width, height = size
    radius = height * 0.35
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - width / 2) * float(aspect)) ** 2 + (rows - height / 2) ** 2 < radius**2
    image = np.where(inside[..., None], 230, 30).astype(np.uint8).repeat(3, 2)
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.sample_aspect_ratio = aspect
        for index in range(round(20 * seconds)):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def roundness(image: Image, aspect: Fraction) -> float:
    """Width of the bright disc over its height, as shown."""
    rows, columns = np.nonzero(image[..., 1] > 130)
    return float(np.ptp(columns) * aspect / np.ptp(rows))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize(
    ("size", "aspect"), [((120, 160), Fraction(1)), ((320, 240), Fraction(1)), ((120, 160), Fraction(16, 9))]
)
def test_a_picture_of_another_size_or_shape_is_fitted_into_the_first_one(
    tmp_path: Path, codec: str, size: tuple[int, int], aspect: Fraction, caplog: pytest.LogCaptureFixture
):
    one = write_disc(tmp_path / "1.ts", (160, 120), Fraction(1), codec)
    other = write_disc(tmp_path / "2.ts", size, aspect, codec)
    frames = read(joined(tmp_path / "in.ts", one, other))
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert len(frames) >= 19  # FFmpeg's MPEG-2 decoder drops the last picture before another size
    assert [roundness(frames[index].image, Fraction(1)) for index in (2, -1)] == pytest.approx([1, 1], abs=0.06)
    assert caplog.text.count("its pictures change to") == 1


def test_a_first_picture_of_pixels_that_are_not_square_gives_the_frame_its_shape(tmp_path: Path):
    one = write_disc(tmp_path / "1.ts", (80, 120), Fraction(2), "libx264")
    other = write_disc(tmp_path / "2.ts", (120, 160), Fraction(1), "libx264")
    frames = read(joined(tmp_path / "in.ts", one, other))
    assert {frame.image.shape for frame in frames} == {(120, 80, 3)}
    assert [roundness(frames[index].image, Fraction(2)) for index in (2, -1)] == pytest.approx([1, 1], abs=0.08)


def test_a_rotation_told_at_a_key_frame_holds_until_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    upright = write_part(tmp_path / "1.ts", sound=None, seconds=0.5)
    lying = told_to_turn(write_part(tmp_path / "lying.ts", sound=None, seconds=0.5), tmp_path / "2.ts")
    frames = read(joined(tmp_path / "in.ts", upright, lying))
    assert len(frames) == 20
    bars = [np.argwhere(frame.image[..., 1] > 130) for frame in frames]  # bright, at the left of the upper edge
    assert all(each[:, 0].max() < 20 for each in bars[:10])
    assert all(each[:, 0].max() > 100 and each[:, 1].min() > 20 for each in bars[10:])
    assert caplog.text.count("its pictures change to 120x160") == 1


def told_to_turn(source: Path, target: Path) -> Path:
    """The film with a quarter turn, counter-clockwise, written into its H.264 where key frames are."""
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        stream = film.streams.video[0]
        turning = av.BitStreamFilterContext("h264_metadata=display_orientation=insert:rotate=90", stream)
        turned = copy.add_stream_from_template(stream)
        for packet in film.demux(stream):
            for each in turning.filter(packet if packet.size else None):
                each.stream = turned
                copy.mux(each)
    return target


@pytest.mark.parametrize(("width", "height"), [(3, 500), (500, 3), (1, 1), (160, 120)])
def test_any_size_fits_into_any_frame(width: int, height: int):
    image = np.full((height, width, 3), 200, np.uint8)
    frame = fitted(image, 160, 120)
    assert frame.shape == (120, 160, 3)
    assert frame.max() == 200


def test_a_range_that_changes_in_mid_film_shows_no_other_gray(tmp_path: Path):
    parts = []
    for number, name in ((1, "tv"), (2, "pc")):
        with av.open(str(tmp_path / f"{number}.ts"), "w") as container:
            stream = container.add_stream("libx264", rate=20, options={"x264-params": f"fullrange={int(name == 'pc')}"})
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.codec_context.color_range = 2 if name == "pc" else 1
            for index in range(10):
                shade = 200 if name == "pc" else round(16 + 200 * 219 / 255)
                planes = np.full((180, 160), 128, np.uint8)
                planes[:120] = shade
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.color_range = 2 if name == "pc" else 1
                frame.pts, frame.time_base = index, Fraction(1, 20)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(tmp_path / f"{number}.ts")
    means = [frame.image.mean() for frame in read(joined(tmp_path / "in.ts", *parts))]
    assert len(means) == 20
    # FFmpeg's decoder has some pictures waiting when it learns of the range, and says the new one of them too
    assert [*means[:7], *means[10:]] == pytest.approx([200] * 17, abs=3)


@pytest.fixture
def two_pictures(tmp_path: Path) -> Path:
    """A film of a dark picture, 160x120 with wide pixels, and a bright one of 320x180."""
    one = write_part(tmp_path / "1.mkv", gray=60, aspect=Fraction(4, 3), seconds=1, options=NO_B)
    other = write_part(tmp_path / "2.mkv", gray=180, size=(320, 180), sound=None, seconds=1, options=NO_B)
    with av.open(str(one)) as first, av.open(str(other)) as second, av.open(str(tmp_path / "two.mp4"), "w") as both:
        copies = [(each, both.add_stream_from_template(each)) for each in (*first.streams, *second.streams)]
        for source, copy in copies:
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = copy
                    both.mux(packet)
            source.container.seek(0)
    return tmp_path / "two.mp4"


def test_of_several_pictures_the_main_one_is_tracked_and_described(
    tmp_path: Path, two_pictures: Path, caplog: pytest.LogCaptureFixture
):
    with open_film(two_pictures) as film:
        assert (film.info.width, film.info.sample_aspect, film.info.stream) == (160, Fraction(4, 3), 0)
    written(two_pictures, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert film.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert {shade for _, shade in pictures(tmp_path / "out.mp4")} <= set(range(55, 66))
    assert "tracking 0 (160x120), not 2 (320x180); choose with --stream" in caplog.text


def test_another_picture_can_be_chosen(two_pictures: Path):
    with open_film(two_pictures, 2) as film:
        assert (film.info.width, film.info.height) == (320, 180)
        assert next(iter(film)).image[100:].mean() > 150
    with pytest.raises(SourceError, match=r"no video stream number 1; it has 0 \(160x120\), 2 \(320x180\)"):
        open_film(two_pictures, 1)


def test_the_case_of_a_person_whose_picture_changes_size(shared: Path):
    frames = read(shared / "cases" / "films" / "size_change.webm")
    before, after = (cv2.cvtColor(frames[index].image, cv2.COLOR_BGR2GRAY) for index in (36, 42))
    assert before.shape == after.shape
    assert after[:, :100].mean() < 2  # a border, not a stretched picture


@pytest.mark.slow
def test_the_command_line_takes_the_number_of_a_picture(two_pictures: Path):
    done = fkp_track(
        two_pictures.name, "--stream", "2", "--keypoints", "-", "--backend", "cpu", cwd=two_pictures.parent
    )
    assert done.returncode == 0, done.stderr
    header = json.loads(done.stdout.splitlines()[0])
    assert (header["width"], header["height"]) == (320, 180)


def test_decoded_pictures_do_not_stay_in_memory(tmp_path: Path):
    def decoded() -> int:
        return sum(type(each) is av.VideoFrame for each in gc.get_objects())

    source = write_disc(tmp_path / "a.ts", (160, 120), Fraction(1), "libx264", seconds=2)
    gc.collect()
    before = decoded()  # those that other tests have left
    gc.disable()  # only what is in no circle is freed
    try:
        read(source)
        assert decoded() - before < 10
    finally:
        gc.enable()
