"""Sources on real films and pictures, and on a camera that follows a script."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import nobody, write_film

from tracker.errors import SourceError
from tracker.sinks.images import open_images as write_images
from tracker.sources import heif
from tracker.sources.camera import APIS, Wish, as_bgr, open_camera
from tracker.sources.demo import open_demo
from tracker.sources.film import open_film
from tracker.sources.images import open_images
from tracker.sources.listing import _modes_of, find_cameras, modes
from tracker.sources.registry import mirrored, open_source
from tracker.support.threads import Background
from tracker.types import Frame, Image


@pytest.fixture
def frames(portrait: Image) -> list[Image]:
    """Twelve small pictures, each unlike the others, wider than high."""
    small = cv2.resize(portrait, (160, 160), interpolation=cv2.INTER_AREA)[:120]
    return [np.roll(small, 8 * i, axis=1) for i in range(12)]


def difference(one: Image, other: Image) -> float:
    """Mean absolute difference in gray levels."""
    return float(np.abs(one.astype(int) - other).mean())


def read(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


# Films


def test_a_path_may_be_text(tmp_path: Path, frames: list[Image]):
    with open_source(str(write_film(tmp_path / "a.mp4", frames[:3]))) as source:
        assert len(list(source)) == 3


def test_a_film_gives_every_frame_in_order_with_its_picture(tmp_path: Path, frames: list[Image]):
    with open_film(write_film(tmp_path / "a.mp4", frames, rate=25, audio=True)) as film:
        info = film.info
        read_back = list(film)
    assert (info.kind, info.width, info.height, info.rate, info.frames) == ("film", 160, 120, Fraction(25), 12)
    assert info.path == tmp_path / "a.mp4"
    assert [frame.index for frame in read_back] == list(range(12))
    assert [frame.timestamp for frame in read_back] == pytest.approx(np.arange(12) / 25)
    assert all(difference(frame.image, image) < 8 for frame, image in zip(read_back, frames, strict=True))
    assert {(frame.image.dtype, frame.image.shape) for frame in read_back} == {(np.dtype(np.uint8), (120, 160, 3))}


def test_irregular_frame_times_survive(tmp_path: Path, frames: list[Image]):
    times = [0.0, 0.03, 0.2, 0.21, 0.5, 0.9, 1.0, 1.01, 2.0, 2.1, 2.2, 2.6]
    read_back = read(write_film(tmp_path / "a.mp4", frames, times=times))
    assert [frame.timestamp for frame in read_back] == pytest.approx(times, abs=1e-3)


def test_a_picture_that_sets_in_after_the_sound_keeps_its_delay(tmp_path: Path, frames: list[Image]):
    times = [0.5 + i / 30 for i in range(12)]
    read_back = read(write_film(tmp_path / "a.mkv", frames, times=times, audio=True))
    assert read_back[0].timestamp == pytest.approx(0.5, abs=0.03)  # AAC starts up to 23 ms before its first sample


def test_a_film_whose_clock_starts_late_begins_at_zero(tmp_path: Path, frames: list[Image]):
    read_back = read(write_film(tmp_path / "a.ts", frames, times=[100 + i / 30 for i in range(12)]))
    assert [frame.timestamp for frame in read_back] == pytest.approx(np.arange(12) / 30, abs=1e-3)


def test_a_film_without_timestamps_goes_on_by_its_frame_rate(tmp_path: Path, frames: list[Image]):
    read_back = read(write_film(tmp_path / "a.h264", frames, rate=25))
    assert len(read_back) == 12
    assert np.diff([frame.timestamp for frame in read_back]) == pytest.approx(1 / 25, abs=1e-3)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_phone_film_comes_upright(tmp_path: Path, frames: list[Image], rotation: int, mirror: bool):
    path = write_film(tmp_path / "a.mp4", frames[:2], rotation=rotation, mirror=mirror)
    expected = np.rot90(frames[0][:, ::-1] if mirror else frames[0], -rotation // 90)
    with open_film(path) as film:
        first = next(iter(film))
        assert (film.info.height, film.info.width) == expected.shape[:2]
    assert first.image.shape == expected.shape
    assert difference(first.image, expected) < 8


@pytest.mark.parametrize(
    ("suffix", "coding"),
    [
        ("mp4", {"codec": "libx264", "pix_fmt": "yuv420p10le"}),
        ("mp4", {"codec": "libx264", "pix_fmt": "gray"}),
        ("mkv", {"codec": "libx264", "pix_fmt": "yuv444p"}),
        ("mov", {"codec": "png", "pix_fmt": "rgba"}),
        ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
        ("avi", {"codec": "rawvideo", "pix_fmt": "bgr24"}),
    ],
)
def test_every_pixel_format_becomes_bgr(tmp_path: Path, frames: list[Image], suffix: str, coding: dict[str, str]):
    path = write_film(tmp_path / f"a.{suffix}", frames[:3], **coding)
    expected = frames[2]
    if coding["pix_fmt"] == "gray":
        expected = cv2.cvtColor(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    last = read(path)[-1].image
    assert last.dtype == np.uint8
    assert last.shape == expected.shape
    assert last.flags.c_contiguous
    assert difference(last, expected) < 10


def test_odd_sizes_are_kept(tmp_path: Path, frames: list[Image]):
    odd = [np.ascontiguousarray(frame[:77, :101]) for frame in frames]
    read_back = read(write_film(tmp_path / "a.mkv", odd, pix_fmt="yuv444p"))
    assert {frame.image.shape for frame in read_back} == {(77, 101, 3)}
    assert all(frame.image.flags.c_contiguous for frame in read_back)
    assert difference(read_back[3].image, odd[3]) < 8


def test_corrupt_packets_are_skipped_counted_and_do_not_end_the_film(
    tmp_path: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
):
    path = write_film(tmp_path / "a.avi", frames, codec="mjpeg", pix_fmt="yuvj420p")
    spoil(path, [4, 7])
    with open_film(path) as film:
        indices = [(frame.index, round(frame.timestamp * 30)) for frame in film]
        assert film.skipped == 2
    assert indices == list(enumerate([0, 1, 2, 3, 5, 6, 8, 9, 10, 11]))
    assert "2 corrupt packets skipped" in caplog.text


def spoil(path: Path, packets: list[int]) -> None:
    """Overwrite the content of some video packets."""
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for at, size in (spans[i] for i in packets):
        position = content.index(b"\xff\xd8", at) if path.suffix == ".avi" else at
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)


def test_a_film_closed_early_frees_its_thread(tmp_path: Path, frames: list[Image]):
    before = threading.active_count()
    film = open_film(write_film(tmp_path / "a.mp4", frames))
    next(iter(film))
    film.close()
    film.close()
    assert threading.active_count() == before
    assert list(film) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"This is no film, it only says so.\n" * 40, "no film format"),
        ("empty.mp4", b"", "empty"),
        ("noise.avi", bytes(range(256)) * 20, "no film format"),
    ],
)
def test_what_is_no_film_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / name)


def test_an_mp4_without_its_index_is_refused_with_the_reason(tmp_path: Path, frames: list[Image]):
    path = write_film(tmp_path / "a.mp4", frames)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(SourceError, match="moov"):
        open_source(path)


def test_a_film_in_which_nothing_decodes_is_refused(tmp_path: Path, frames: list[Image]):
    path = write_film(tmp_path / "a.mp4", frames)
    spoil(path, list(range(12)))
    with pytest.raises(SourceError, match="no frame could be decoded"):
        open_source(path)


def test_sound_alone_is_refused_and_an_album_cover_is_no_film(tmp_path: Path, portrait: Image):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg")
        cover.pix_fmt, cover.height, cover.width = "yuvj420p", *portrait.shape[:2]
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(portrait, format="bgr24")
        container.mux(cover.encode(picture) + cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(sound.encode(silence) + sound.encode(None))
    with pytest.raises(SourceError, match=r"no video that can be decoded \(it contains: audio, album cover"):
        open_source(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no colon in file names")
def test_a_name_that_looks_like_a_protocol_is_a_file(
    tmp_path: Path, frames: list[Image], monkeypatch: pytest.MonkeyPatch
):
    write_film(tmp_path / "a.mp4", frames).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("concat:a.mp4"))) == 12


@pytest.mark.parametrize("name", ["gone.mp4", "gone.png", "gone"])
def test_a_missing_file_is_one_message(tmp_path: Path, name: str):
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "size", "span"),
    [
        ("webcam_640x480.wmv", 288, (640, 480), (0.009, 19.129)),
        ("sign_language.mkv", 65, (640, 480), (0.0, 2.167)),
        ("face_leaves.mov", 169, (960, 540), (0.0, 6.3604)),
    ],
)
def test_real_clips_are_read_whole_with_their_times(
    shared: Path, name: str, count: int, size: tuple[int, int], span: tuple[float, float]
):
    with open_film(shared / "videos" / name) as film:
        times = [frame.timestamp for frame in film]
        assert (film.info.width, film.info.height) == size
        assert film.info.frames == pytest.approx(count, abs=2)
        assert film.skipped == 0
    assert len(times) == count
    assert np.all(np.diff(times) > 0)
    assert (times[0], times[-1]) == pytest.approx(span, abs=1e-3)


# Working ahead


def test_an_error_in_the_thread_comes_up_in_the_loop_after_the_frames_before_it():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise SourceError("the disk is gone")

    ahead = Background(items(), depth=4)
    seen: list[int] = []
    with pytest.raises(SourceError, match="the disk is gone"):
        seen.extend(ahead)
    assert seen == [1, 2]
    assert ahead.close()


def test_the_thread_works_ahead_no_further_than_the_queue():
    made: list[int] = []
    full = threading.Event()

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 4:
                full.set()
            yield i

    ahead = Background(items(), depth=4)
    assert full.wait(5)
    time.sleep(0.05)
    assert len(made) == 5  # four queued, one in hand
    assert list(ahead) == list(range(100))
    assert ahead.close()


def test_closing_wakes_a_waiting_reader_and_closes_the_generator_in_its_thread():
    stop, closed_by = threading.Event(), []

    def items() -> Iterator[int]:
        try:
            yield 1
            stop.wait()
        finally:
            closed_by.append(threading.current_thread().name)

    ahead = Background(items(), depth=1)
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(ahead))
    reader.start()
    threading.Timer(0.1, lambda: (ahead.close(0.1), stop.set())).start()
    reader.join(5)
    assert not reader.is_alive()
    assert ahead.close()
    assert seen == [1]
    assert closed_by == ["fkp-source"]


# Pictures


def test_a_folder_comes_in_the_order_a_person_counts(tmp_path: Path, frames: list[Image]):
    for name, image in zip(["img10.png", "img2.PNG", "Img1.jpg", "b.webp"], frames, strict=False):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._img1.jpg").write_bytes(b"a file system's shadow")
    with open_images(tmp_path) as images:
        read_back = list(images)
        assert (images.info.kind, images.info.frames, images.info.rate) == ("images", 4, None)
        assert (images.info.width, images.info.height) == (160, 120)
        assert images.skipped == 0
    assert [frame.name for frame in read_back] == ["b.webp", "Img1.jpg", "img2.PNG", "img10.png"]
    assert [(frame.index, frame.timestamp) for frame in read_back] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert np.array_equal(read_back[2].image, frames[1])


def test_unreadable_pictures_are_skipped_counted_and_warned_of(
    tmp_path: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "d.jpg").mkdir()
    cv2.imwrite(str(tmp_path / "b.png"), frames[0])
    with open_images(tmp_path) as images:
        read_back = list(images)
        assert images.skipped == 3
    assert [(frame.index, frame.name) for frame in read_back] == [(0, "b.png")]
    assert "a.jpg: it is no picture" in caplog.text
    assert "c.png: it is empty" in caplog.text
    assert "d.jpg: it is a folder" in caplog.text


def test_one_picture_with_a_name_from_anywhere(tmp_path: Path, portrait: Image):
    path = tmp_path / "Gesicht ü 顔.png"
    path.write_bytes(cv2.imencode(".png", portrait)[1])
    (frame,) = read(path)
    assert frame.name == path.name
    assert np.array_equal(frame.image, portrait)


@pytest.mark.parametrize("kind", ["gray", "alpha", "sixteen bits"])
def test_every_kind_of_picture_becomes_bgr(tmp_path: Path, portrait: Image, kind: str):
    gray = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    image, expected = {
        "gray": (gray, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)),
        "alpha": (cv2.cvtColor(portrait, cv2.COLOR_BGR2BGRA), portrait),
        "sixteen bits": (portrait.astype(np.uint16) * 257, portrait),
    }[kind]
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (frame,) = read(tmp_path / "a.png")
    assert frame.image.dtype == np.uint8
    assert difference(frame.image, expected) < 1


def test_a_photograph_is_turned_upright_by_its_exif_tag(tmp_path: Path, portrait: Image):
    stored = np.ascontiguousarray(np.rot90(portrait[:400]))  # as a phone held upright stores it
    jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
    # Exif 2.3: one big-endian directory with one entry, Orientation (0x0112), SHORT, 6 = turn clockwise
    tag = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    segment = b"Exif\0\0" + tag
    (tmp_path / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
    )
    with open_images(tmp_path / "a.jpg") as images:
        (frame,) = images
        assert (images.info.width, images.info.height) == (512, 400)
    assert difference(frame.image, portrait[:400]) < 5


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="contains no pictures"):
        open_source(tmp_path)


def test_pictures_none_of_which_can_be_read_are_refused(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="none of its 2 pictures"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("kept", "why"), [(0, "it is empty"), (0.5, "it is cut off, damaged or"), (None, "it is no picture that OpenCV")]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_one_picture_that_cannot_be_read_is_one_message_with_the_reason(
    tmp_path: Path, portrait: Image, suffix: str, kept: float | None, why: str, caplog: pytest.LogCaptureFixture
):
    whole = cv2.imencode(suffix, portrait)[1].tobytes()
    picture = tmp_path / f"a{suffix}"
    picture.write_bytes(b"no picture" if kept is None else whole[: int(len(whole) * kept)])
    with pytest.raises(SourceError, match=rf"a\{suffix}: {why}"):
        open_source(picture)
    assert not caplog.records


# Cameras


class ScriptedCamera:
    """Follows a script of openings: a number is the gray level of the next picture, None a failed read.

    An empty opening fails; one that is over reads nothing more, but the last one repeats its last picture for ever.
    `asked` counts the openings.
    """

    def __init__(self, *openings: list[int | None]) -> None:
        self.openings = list(openings)
        self.asked = 0

    def open(self, _index: int) -> "ScriptedCamera.Capture":
        script = self.openings[min(self.asked, len(self.openings) - 1)]
        self.asked += 1
        return self.Capture(script, endless=self.asked >= len(self.openings))

    class Capture:
        def __init__(self, script: list[int | None], *, endless: bool) -> None:
            self.script, self.endless, self.at, self.released = script, endless, 0, False

        def isOpened(self) -> bool:  # noqa: N802
            return bool(self.script)

        def read(self) -> tuple[bool, Image | None]:
            assert not self.released, "read after release"
            time.sleep(0.005)
            level = self.script[self.at] if self.at < len(self.script) else None
            if level is None and self.endless and self.script:
                level = self.script[-1]
            self.at += 1
            return (False, None) if level is None else (True, np.full((48, 64, 3), level, np.uint8))

        def get(self, prop: int) -> float:
            return 25.0 if prop == cv2.CAP_PROP_FPS else 0.0

        def release(self) -> None:
            self.released = True


def levels(frames: list[Frame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def take_until(level: int, frames: Iterator[Frame]) -> list[Frame]:
    taken: list[Frame] = []
    for frame in frames:
        taken.append(frame)
        if levels([frame]) == [level]:
            break
    return taken


def test_a_camera_says_what_it_is_and_gives_frames_until_closed():
    script = ScriptedCamera([1, 2, 3])
    with open_camera(4, open_capture=script.open) as camera:
        taken = take_until(3, iter(camera))
        info = camera.info
    assert (info.kind, info.name, info.width, info.height, info.frames) == ("camera", "4", 64, 48, None)
    assert info.clock_zero is not None
    assert taken[-1].timestamp <= time.perf_counter() - info.clock_zero
    assert [frame.index for frame in taken] == list(range(len(taken)))
    assert list(camera) == []


def test_a_slow_reader_gets_the_newest_frame_not_the_oldest():
    script = ScriptedCamera([*range(1, 20), 20])
    with open_camera(open_capture=script.open) as camera:
        frames = iter(camera)
        next(frames)
        time.sleep(0.5)  # the script is over in a tenth of a second
        late = next(frames)
    assert levels([late]) == [20]
    assert late.index == 1


def test_a_camera_that_drops_out_comes_back_and_time_goes_on(caplog: pytest.LogCaptureFixture):
    script = ScriptedCamera([1, 1, 1], [], [], [2, 2, 2])
    with open_camera(open_capture=script.open, retry_s=0.05) as camera:
        taken = take_until(2, iter(camera))
    assert script.asked == 4
    assert [frame.index for frame in taken] == list(range(len(taken)))
    assert np.all(np.diff([frame.timestamp for frame in taken]) > 0)
    assert caplog.text.count("stopped sending") == 1
    assert caplog.text.count("is back") == 1


def test_a_single_damaged_picture_is_no_drop_out(caplog: pytest.LogCaptureFixture):
    script = ScriptedCamera([1, None, 1, None, None, 2])
    with open_camera(open_capture=script.open) as camera:
        take_until(2, iter(camera))
    assert script.asked == 1
    assert caplog.text == ""


def test_closing_ends_a_reader_that_waits_for_a_lost_camera():
    threads, script = threading.active_count(), ScriptedCamera([1], [])
    camera = open_camera(open_capture=script.open, retry_s=60)
    taken: list[Frame] = []
    reader = threading.Thread(target=lambda: taken.extend(camera))
    reader.start()
    time.sleep(0.2)
    camera.close()
    reader.join(5)
    assert threading.active_count() == threads  # neither the reader's nor the camera's is left
    assert levels(taken) == [1]
    assert script.asked == 1


@pytest.mark.parametrize("script", [[], [None, None, None, None]])
def test_a_camera_that_is_not_there_is_one_message_that_names_the_demo(script: list[int | None]):
    with pytest.raises(SourceError, match=r"camera 7 .*fkp-track --demo"):
        open_camera(7, open_capture=lambda _: ScriptedCamera(script, []).open(7))


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(1920, 1080, 60), "camera 3 gives 64x48 at 25 frames/s instead of the requested 1920x1080 at 60 frames/s"),
        (Wish(height=720), "instead of the requested anyx720"),
        (Wish(fps=30), "instead of the requested 30 frames/s"),
        (Wish(64, 48, 25), ""),
        (Wish(fps=25.2), ""),
        (Wish(), ""),
    ],
)
def test_a_camera_that_gives_something_else_than_wished_is_named(
    wish: Wish, says: str, caplog: pytest.LogCaptureFixture
):
    with open_camera(3, wish, open_capture=ScriptedCamera([1]).open):
        assert says in caplog.text if says else caplog.text == ""


def test_an_api_that_this_opencv_lacks_is_refused_with_those_it_has():
    lacking = "msmf" if sys.platform == "linux" else "v4l2"
    with pytest.raises(SourceError, match=rf"cameras with {lacking}; it has \w+"):
        open_camera(0, Wish(api=lacking))


def test_an_api_asked_for_by_name_is_the_only_one_tried():
    ours = next(name for name, number in APIS.items() if number in cv2.videoio_registry.getCameraBackends())
    with pytest.raises(SourceError, match="camera 97"):
        open_camera(97, Wish(api=ours))


def test_a_number_that_no_camera_can_have_is_one_message():
    for number in (99999999999, -1):
        with pytest.raises(SourceError, match=f"camera {number} does not"):
            open_camera(number)


def test_cameras_are_listed_with_their_sizes_largest_first_and_their_highest_rate():
    device = pytest.importorskip("linuxpy.video.device")
    types = [
        device.FrameType(device.FrameIntervalType.DISCRETE, None, *size, Fraction(rate), Fraction(rate), Fraction(rate))
        for *size, rate in [(640, 480, 30), (1280, 720, 10), (1280, 720, 30), (320, 240, 0)]
    ]
    assert modes(types) == "1280x720 at 30, 640x480 at 30, 320x240"
    assert modes([]) == "sends no pictures"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells sizes")
def test_a_camera_whose_sizes_cannot_be_read_is_listed_all_the_same(monkeypatch: pytest.MonkeyPatch):
    device = pytest.importorskip("linuxpy.video.device")

    def fail(_: object, path: str) -> None:
        raise UnboundLocalError(path)

    monkeypatch.setattr(device.Device, "__init__", fail)
    assert _modes_of("/dev/video0").startswith("sizes unknown")


def test_the_cameras_of_this_machine_can_be_listed():
    pytest.importorskip("cv2_enumerate_cameras")
    for found in find_cameras():
        assert str(found).startswith(f"{found.number} ")
        assert found.name in str(found)


def test_a_mirrored_frame_is_the_same_but_for_left_and_right(portrait: np.ndarray):
    (mirror,) = mirrored([Frame(portrait, 3, 0.5, "face.png")])
    assert (mirror.image == portrait[:, ::-1]).all()
    assert (mirror.index, mirror.timestamp, mirror.name) == (3, 0.5, "face.png")


def test_a_real_camera_that_does_not_exist_is_refused_without_noise(capfd: pytest.CaptureFixture[str]):
    opencv = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = opencv.getLogLevel()
    with pytest.raises(SourceError, match="camera 97"):
        open_source(None, camera=97)
    assert capfd.readouterr() == ("", "")
    assert opencv.getLogLevel() == level


# The demo


def test_the_demo_is_ten_seconds_of_a_webcam():
    with open_source(None, demo=True) as demo:
        first = next(iter(demo))
        info = demo.info
    assert (info.kind, info.width, info.height, info.rate, info.frames) == ("demo", 640, 480, Fraction(30), 300)
    assert first.image.shape == (480, 640, 3)
    with open_demo() as demo:
        last = max(frame.timestamp for frame in demo)
    assert last == pytest.approx(299 / 30)


@pytest.fixture(autouse=True)
def _warnings_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


# Pictures of phones and of several pages


def turned(path: Path, frames: list[Image]) -> Path:
    """A small picture that is stored lying on its side, with an EXIF tag that says so."""
    from PIL import Image as Pillow

    if path.suffix in (".heic", ".avif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    tags = Pillow.Exif()
    tags[0x0112] = 6  # to be turned clockwise
    stored = cv2.rotate(cv2.resize(frames[0], (96, 64)), cv2.ROTATE_90_COUNTERCLOCKWISE)
    Pillow.fromarray(stored[..., ::-1]).save(path, exif=tags.tobytes(), quality=95)
    return path


@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize("suffix", [".heic", ".avif", ".jpg"])
def test_pictures_of_phones_come_upright(
    tmp_path: Path, frames: list[Image], suffix: str, extra: bool, monkeypatch: pytest.MonkeyPatch
):
    path = turned(tmp_path / f"IMG_1{suffix}", frames)
    if not extra:
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (frame,) = read(path)
    assert frame.image.shape == (64, 96, 3)
    assert difference(frame.image, cv2.resize(frames[0], (96, 64))) < 6


def test_a_picture_in_tiles_names_the_extra_that_reads_it(
    tmp_path: Path, frames: list[Image], monkeypatch: pytest.MonkeyPatch
):
    path = turned(tmp_path / "IMG_1.heic", frames)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(heif, "MOST_STREAMS", 0)
    with pytest.raises(SourceError, match=r"cut into tiles, .*pip install \"fkp\[heic\]\""):
        open_images(path)


def test_what_a_folder_of_pictures_leaves_out_is_said_once(
    tmp_path: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
):
    cv2.imwrite(str(tmp_path / "a.png"), frames[0])
    for name in ("b.gif", "c.GIF", "d.nef", "notes.txt", ".e.gif"):
        (tmp_path / name).write_bytes(b"")
    assert len(read(tmp_path)) == 1
    assert caplog.messages == [
        f"{tmp_path}: pictures left out: .gif: 2, .nef: 1; a GIF is tracked as a film if you name it"
    ]


def test_of_a_file_with_several_pictures_the_first_is_read_and_the_others_are_counted(
    tmp_path: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
):
    cv2.imwritemulti(str(tmp_path / "scan.tif"), frames[:3])
    (frame,) = read(tmp_path / "scan.tif")
    assert difference(frame.image, frames[0]) < 1
    assert "scan.tif holds 3 pictures; only the first one is tracked" in caplog.text


@pytest.mark.skipif(not hasattr(cv2, "imdecodeWithMetadata"), reason="needs OpenCV 4.12")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_colour_profile_of_a_picture_arrives_and_its_place_does_not(
    tmp_path: Path, frames: list[Image], suffix: str
):
    from PIL import Image as Pillow
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = Pillow.Exif()
    tags.get_ifd(0x8825)[1] = "N"  # GPS
    Pillow.fromarray(frames[0][..., ::-1]).save(tmp_path / f"a{suffix}", icc_profile=profile, exif=tags.tobytes())
    with open_images(tmp_path / f"a{suffix}") as source:
        (frame,) = source
        assert frame.profile == profile
        sink = write_images(tmp_path / f"out{suffix}", source.info, overwrite=False)
        sink.write(nobody(frame))
    with Pillow.open(tmp_path / f"out{suffix}") as written:
        assert written.info["icc_profile"] == profile
        assert not written.getexif()


# What cameras send


@pytest.mark.parametrize(
    "image",
    [
        np.full((48, 64), 90, np.uint8),
        np.full((48, 64, 1), 90, np.uint8),
        np.full((48, 64, 4), 90, np.uint8),
        np.full((48, 64), 90 << 8, np.uint16),
        np.full((48, 64, 3), 90 << 8, np.uint16),
        np.dstack([np.full((48, 64), 94, np.uint8), np.full((48, 64), 128, np.uint8)]),
    ],
    ids=["gray", "one channel", "BGRA", "16-bit gray", "16-bit colour", "YUYV"],
)
def test_whatever_a_camera_sends_becomes_bgr(image: Image):
    converted = as_bgr(image)
    assert (converted.shape, converted.dtype) == ((48, 64, 3), np.dtype(np.uint8))
    assert abs(converted.astype(int) - 90).max() <= 2


def test_what_no_camera_should_send_is_one_message():
    with pytest.raises(SourceError, match="48x64x3 float32, which are not known"):
        as_bgr(np.zeros((48, 64, 3), np.float32))


def test_a_camera_that_changes_its_size_keeps_its_px(caplog: pytest.LogCaptureFixture):
    script = ScriptedCamera([1, 2, 3, 200])
    opened = script.open

    def open_capture(index: int) -> object:
        capture = opened(index)
        read_on = capture.read

        def read_next() -> tuple[bool, Image | None]:
            arrived, image = read_on()
            return arrived, image if image is None or image[0, 0, 0] < 100 else cv2.resize(image, (48, 64))

        capture.read = read_next
        return capture

    with open_camera(open_capture=open_capture) as camera:
        frames = iter(camera)
        for frame in frames:
            if frame.image.max() > 100:
                break
    assert frame.image.shape == (48, 64, 3)
    assert frame.image[:, 32].min() == 200
    assert frame.image[:, 2].max() == 0
    assert caplog.text.count("camera 0 changes to 48x64; pictures are fitted into 64x48") == 1
