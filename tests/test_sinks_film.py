"""Annotated films: timing, sound, size and colours of the source, and a file that plays whatever happens."""

import itertools
import logging
import signal
import subprocess
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import nobody, write_film, written
from programs import no_file_longer_than, wait_until

from tracker.errors import SinkError
from tracker.sinks import film as film_module
from tracker.sinks.film import open_video
from tracker.sources.contract import SourceInfo
from tracker.sources.film import open_film
from tracker.types import Frame

SIZE = (160, 120)


def tracked(image, index, timestamp):
    return nobody(Frame(image, index, timestamp))


def moving_square(count, size=SIZE):
    """BGR pictures of a bright square that wanders over a soft background."""
    width, height = size
    ramp = np.linspace(40, 160, width, dtype=np.uint8)
    for index in range(count):
        image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)))
        left = index * 3 % max(1, width - 20)
        image[10:30, left : left + 20] = (30, 200, 240)
        yield image


def camera(size=SIZE):
    return SourceInfo("camera", "0", *size, rate=None, frames=None)


def convert(source, target, *, overwrite=False, frames=None):
    """The `target` of `written`."""
    written(source, target, frames=frames, overwrite=overwrite)
    return target


def write_frames(sink, count, rate=30):
    for index, image in enumerate(moving_square(count)):
        sink.write(tracked(image, index, index / rate))


def start_of_picture(path):
    """When the first picture is shown, s; the zero of the times below, because containers start where they like."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).time


def times_of(path, kind="video"):
    """Times of the packets that have one, s after the first picture, in order."""
    start = start_of_picture(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.best(kind)) if packet.pts is not None]
        return np.array(sorted(float(packet.pts * packet.time_base) for packet in packets)) - start


def duration_of(path):
    with av.open(str(path)) as container:
        return container.duration / av.time_base


def codec_of(path, kind):
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        return stream and stream.codec_context.codec.canonical_name


def sound_of(path, rate=16_000):
    """Mono samples from the first picture on."""
    start = start_of_picture(path)
    with av.open(str(path)) as container:
        to_mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
        samples = np.zeros(rate * 30, np.float32)
        end = 0
        for frame in container.decode(container.streams.best("audio")):
            at = end if frame.time is None else round((frame.time - start) * rate)
            frame.pts = None
            for mono in to_mono.resample(frame):
                chunk = mono.to_ndarray()[0][max(0, -at) :]
                at = max(at, 0)
                end = at + len(chunk)
                samples[at:end] = chunk
                at = end
        return samples[:end]


def delay_ms(reference, other, rate=16_000):
    """How much later `other` is, where the two agree best."""
    length = 1 << int(np.ceil(np.log2(len(reference) + len(other))))
    agreement = np.fft.irfft(np.fft.rfft(other, length) * np.conj(np.fft.rfft(reference, length)))
    best = int(np.argmax(agreement))
    return (best if best < length // 2 else best - length) / rate * 1e3


def last_picture(path):
    """When the last picture of a film that is being written is shown, s; 0 while there is none."""
    try:
        return times_of(path)[-1]
    except (av.FFmpegError, StopIteration):
        return 0.0


def film_with_noise(
    path,
    codec,
    *,
    seconds=3.0,
    sound_from=0.0,
    sound_until=None,
    gap=(0, 0),
    layout="stereo",
    rate=32_000,
    aspect=Fraction(1),
):
    """A film at 20 pictures a second with a sound that is different at every moment, for as long as there is one.

    Of the sound the packets that begin within `gap`, s, are missing.
    """
    length_s = (sound_until or seconds) - sound_from
    noise = np.random.default_rng(1).normal(0, 0.1, round(length_s * rate)).astype(np.float32)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=20)
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        picture.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream(codec, rate=rate, layout=layout)
        sound.bit_rate = 64_000
        for image in moving_square(round(seconds * 20)):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(picture.encode(None))
        channels = av.AudioLayout(layout).nb_channels
        to_encoder = av.AudioResampler(format=sound.codec_context.format, layout=layout, rate=rate)
        for start in range(0, len(noise), 1024):
            chunk = np.repeat(noise[start : start + 1024], channels)
            frame = av.AudioFrame.from_ndarray(chunk[None], format="flt", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round(sound_from * rate)
            for ready in to_encoder.resample(frame):
                packets = sound.encode(ready)
                container.mux([packet for packet in packets if not gap[0] <= packet.pts * packet.time_base < gap[1]])
        container.mux(sound.encode(None))
    return path


def test_every_timestamp_of_a_variable_frame_rate_survives(tmp_path):
    times = np.cumsum([0, 0.04, 0.011, 0.2, 0.033, 0.033, 0.5, 0.017, 0.04, 0.04])
    source = write_film(tmp_path / "in.mp4", moving_square(10), times=times)
    target = convert(source, tmp_path / "out.mp4")
    np.testing.assert_allclose(times_of(target), times_of(source), atol=1e-6)
    assert duration_of(target) == pytest.approx(duration_of(source), abs=0.034)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_h264_in_each_container_with_the_same_length(tmp_path, suffix):
    source = write_film(tmp_path / "in.mp4", moving_square(45), rate=Fraction(30_000, 1001), audio=True)
    target = convert(source, tmp_path / f"out{suffix}")
    assert (codec_of(target, "video"), codec_of(target, "audio")) == ("h264", "aac")
    assert len(times_of(target)) == 45
    np.testing.assert_allclose(np.diff(times_of(target)), np.diff(times_of(source)), atol=0.0011)  # Matroska counts ms
    assert duration_of(target) == pytest.approx(duration_of(source), abs=0.03)


def test_sound_is_copied_bit_by_bit_at_its_own_time(tmp_path):
    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    source = write_film(tmp_path / "in.mp4", moving_square(40), audio=True)
    target = convert(source, tmp_path / "out.mp4")
    assert packets(target) == packets(source)
    np.testing.assert_allclose(times_of(target, "audio"), times_of(source, "audio"), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "layout", "target", "expected"),
    [
        ("in.avi", "pcm_s16le", "stereo", "out.mp4", "aac"),
        ("in.wmv", "wmav2", "mono", "out.mp4", "aac"),
        ("in.avi", "libmp3lame", "stereo", "out.mp4", "mp3"),
        ("in.mkv", "ac3", "stereo", "out.mov", "ac3"),
        ("in.mkv", "pcm_s16le", "mono", "out.mkv", "pcm_s16le"),
    ],
)
def test_sound_of_any_codec_arrives_in_step(tmp_path, name, codec, layout, target, expected):
    source = film_with_noise(tmp_path / name, codec, layout=layout)
    convert(source, tmp_path / target)
    assert codec_of(tmp_path / target, "audio") == expected
    before, after = sound_of(source), sound_of(tmp_path / target)
    assert abs(delay_ms(before, after)) < 1
    assert len(after) == pytest.approx(len(before), abs=0.1 * 16_000)


@pytest.mark.parametrize(
    ("layout", "rate", "expected"),
    [
        ("6 channels", 32_000, ("5.1", 32_000)),
        ("downmix", 32_000, ("stereo", 32_000)),
        ("22.2", 32_000, ("stereo", 32_000)),
        ("mono", 22_254, ("mono", 22_050)),
        ("mono", 4_000, ("mono", 7_350)),
        ("mono", 96_000, ("mono", 48_000)),
    ],
)
def test_sound_that_aac_does_not_know_becomes_the_nearest_that_it_does(tmp_path, layout, rate, expected):
    source = film_with_noise(tmp_path / "in.mkv", "pcm_s16le", seconds=1, layout=layout, rate=rate)
    target = convert(source, tmp_path / "out.mp4")
    with av.open(str(target)) as container:
        sound = container.streams.audio[0]
        assert (sound.layout.name, sound.sample_rate) == expected
    before, after = sound_of(source), sound_of(target)
    assert abs(delay_ms(before, after)) < 3  # `sound_of` itself delays 4000 Hz by 2 ms more than 7350 Hz
    assert len(after) == pytest.approx(len(before), abs=0.2 * 16_000)


def test_a_film_whose_sound_cannot_be_encoded_is_written_without_it(tmp_path, caplog):
    source = film_with_noise(tmp_path / "in.mkv", "pcm_s16le", seconds=1, layout="9 channels")
    target = convert(source, tmp_path / "out.mp4")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the sound is left out: pcm_s16le 9 channels cannot become AAC"
    ]
    assert len(times_of(target)) == 20
    assert codec_of(target, "audio") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no colons in names")
def test_a_relative_name_with_a_colon_is_a_file_not_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(open_video(Path("12:30:00.mp4"), camera(), overwrite=False)) as sink:
        write_frames(sink, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["12:30:00.mp4"]


def test_what_is_encoded_anew_is_said(tmp_path, caplog):
    source = film_with_noise(tmp_path / "in.avi", "pcm_s16le")
    with caplog.at_level(logging.INFO):
        convert(source, tmp_path / "out.mp4")
    assert "the sound becomes AAC, because pcm_s16le does not go into .mp4 files" in caplog.text


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_starts_late_stays_late(tmp_path, codec):
    source = film_with_noise(tmp_path / "in.mkv", codec, sound_from=1.2)
    target = convert(source, tmp_path / "out.mp4")
    assert times_of(target, "audio")[0] == pytest.approx(times_of(source, "audio")[0], abs=0.04)
    assert abs(delay_ms(sound_of(source), sound_of(target))) < 1


def test_sound_with_a_gap_is_in_step_after_it(tmp_path):
    source = film_with_noise(tmp_path / "in.mkv", "pcm_s16le", gap=(1.0, 1.7))
    target = convert(source, tmp_path / "out.mp4")
    before, after = (sound_of(path)[2 * 16_000 :] for path in (source, target))
    assert len(after) > 0.9 * 16_000
    assert abs(delay_ms(before, after)) < 1
    steps = np.diff(times_of(target, "audio"))
    assert steps.max() < 0.1  # silence, not nothing: not every player minds the times of sound


def test_picture_and_sound_stay_in_step_when_the_container_starts_late(tmp_path):
    source = film_with_noise(tmp_path / "in.ts", "aac", sound_from=0.5)  # MPEG-TS begins at 1.4 s
    target = convert(source, tmp_path / "out.mp4")
    assert duration_of(target) == pytest.approx(duration_of(source), abs=0.05)
    between = [times_of(path, "audio")[0] - times_of(path)[0] for path in (source, target)]
    assert between[0] == pytest.approx(between[1], abs=0.002)
    assert abs(delay_ms(sound_of(source), sound_of(target))) < 2


def test_a_run_that_is_stopped_early_stops_the_sound_too(tmp_path):
    source = write_film(tmp_path / "in.mp4", moving_square(120), audio=True)
    target = convert(source, tmp_path / "out.mp4", frames=45)
    assert len(times_of(target)) == 45
    assert times_of(target, "audio")[-1] == pytest.approx(1.5, abs=0.05)


def test_sound_longer_than_the_picture_is_kept(tmp_path):
    film_with_noise(tmp_path / "long.mkv", "aac", seconds=2)
    write_film(tmp_path / "short.mp4", moving_square(20), rate=20)
    source = tmp_path / "in.mp4"
    with (
        av.open(str(source), "w") as both,
        av.open(str(tmp_path / "short.mp4")) as picture,
        av.open(str(tmp_path / "long.mkv")) as sound,
    ):
        copies = [(each, both.add_stream_from_template(each)) for each in (picture.streams[0], sound.streams[1])]
        for original, copy in copies:
            for packet in original.container.demux(original):
                if packet.dts is not None:
                    packet.stream = copy
                    both.mux(packet)
    target = convert(source, tmp_path / "out.mp4")
    assert times_of(target)[-1] < 1
    assert times_of(target, "audio")[-1] == pytest.approx(2, abs=0.05)


def test_odd_sizes_get_another_row_and_column(tmp_path):
    images = list(moving_square(5, (63, 47)))
    sink = open_video(tmp_path / "out.mp4", camera((63, 47)), overwrite=False)
    for index, image in enumerate(images):
        sink.write(tracked(image, index, index / 30))
    sink.close()
    with open_film(tmp_path / "out.mp4") as film:
        frames = [frame.image for frame in film]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    assert np.abs(frames[0][:47, :63].astype(int) - images[0]).mean() < 4


def test_a_picture_of_another_size_is_fitted_in(tmp_path):
    sink = open_video(tmp_path / "out.mp4", camera(), overwrite=False)
    sink.write(tracked(np.full((120, 160, 3), 200, np.uint8), 0, 0.0))
    sink.write(tracked(np.full((240, 240, 3), 200, np.uint8), 1, 0.1))
    sink.close()
    with open_film(tmp_path / "out.mp4") as film:
        _, second = (frame.image for frame in film)
    assert second.shape == (120, 160, 3)
    assert second[:, 24:136].mean() > 190
    assert second[:, :16].mean() < 10


@pytest.mark.parametrize("read", ["ffmpeg", "opencv"])
def test_colours_do_not_shift(tmp_path, portrait, read):
    sink = open_video(tmp_path / "out.mp4", camera((512, 512)), overwrite=False)
    sink.write(tracked(portrait, 0, 0.0))
    sink.close()
    if read == "opencv":
        capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
        _, seen = capture.read()
        capture.release()
    else:
        with open_film(tmp_path / "out.mp4") as film:
            (seen,) = (frame.image for frame in film)
    difference = seen.astype(int) - portrait
    assert np.abs(difference.mean((0, 1))).max() < 2
    assert np.sqrt((difference**2).mean()) < 7


def test_thin_coloured_lines_keep_their_colour():
    image = np.full((64, 64, 3), 128, np.uint8)
    image[1::4] = (40, 40, 240)  # rows whose colour OpenCV's own conversion does not even look at
    seen = cv2.cvtColor(film_module.yuv420_from_bgr(image), cv2.COLOR_YUV2BGR_I420)
    assert np.abs(seen.mean((0, 1)) - image.mean((0, 1))).max() < 3


def test_chroma_is_that_of_the_mean_of_four_pixels(portrait):
    image = portrait[:64, :96]
    planes = film_module.yuv420_from_bgr(image)
    blue, green, red = image.reshape(32, 2, 48, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    luma = 0.114 * blue + 0.587 * green + 0.299 * red
    u, v = (128 + 224 / 255 * 0.5 * (each - luma) / share for each, share in ((blue, 0.886), (red, 0.701)))
    assert np.abs(planes[64:].reshape(2, 32, 48) - [u, v]).max() < 1.6  # the mean and the result are rounded


@pytest.mark.parametrize(("size", "most"), [((640, 480), 1), ((1280, 720), 2)])
def test_a_small_picture_is_not_cut_into_slices_for_many_threads(tmp_path, size, most):
    with closing(open_video(tmp_path / "out.mp4", camera(size), overwrite=False)) as sink:
        for index, image in enumerate(moving_square(3, size)):
            sink.write(tracked(image, index, index / 30))
    with av.open(str(tmp_path / "out.mp4")) as film:
        packets = [bytes(packet) for packet in film.demux(video=0) if packet.size]
    assert [1 <= slices_in(packet) <= most for packet in packets] == [True] * 3


def slices_in(packet):
    """How many slices an H.264 picture has; in MP4 each unit follows its length."""
    units, rest = [], packet
    while rest:
        end = 4 + int.from_bytes(rest[:4], "big")
        units.append(rest[4] & 31)
        rest = rest[end:]
    return sum(unit in (1, 5) for unit in units)


def test_turned_films_come_out_upright(tmp_path):
    source = write_film(tmp_path / "in.mp4", moving_square(5), rotation=90)
    target = convert(source, tmp_path / "out.mp4")
    with open_film(source) as film, open_film(target) as written:
        assert (written.info.width, written.info.height) == (120, 160)
        for before, after in zip(film, written, strict=True):
            assert np.abs(before.image.astype(int) - after.image).mean() < 3


def test_pixels_that_are_not_square_stay_so(tmp_path):
    source = film_with_noise(tmp_path / "in.mp4", "aac", seconds=0.5, aspect=Fraction(16, 11))
    target = convert(source, tmp_path / "out.mp4")
    with av.open(str(target)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from threading import Event
from test_sinks_film import tracked
from tracker.sinks.film import open_video
from tracker.sources.film import open_film

with open_film(Path(sys.argv[2])) as film:
    sink = open_video(Path(sys.argv[3]), film.info, overwrite=False)
    for frame in film:
        sink.write(tracked(frame.image, frame.index, frame.timestamp))
        if frame.index == 200:
            print("half way", flush=True)
            Event().wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_killed_run_leaves_a_film_that_plays_with_its_sound(tmp_path, suffix):
    source = write_film(tmp_path / "in.mp4", moving_square(400), audio=True)
    command = [sys.executable, "-c", ENDLESS, str(Path(__file__).parent), str(source), str(tmp_path / f"out{suffix}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half way\n"
        process.kill()
    assert not (tmp_path / f"out{suffix}").exists()
    (left,) = tmp_path.glob(f"out.partial-*{suffix}")
    with open_film(left) as film:
        last = max(frame.timestamp for frame in film)
        assert film.skipped == 0
    assert 200 / 30 - 2 < last <= 200 / 30
    assert times_of(left, "audio")[-1] == pytest.approx(last, abs=0.3)


@pytest.mark.parametrize(("sound_from", "sound_until"), [(5.0, 6.0), (0.0, 1.0)], ids=["begins late", "ends early"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_plays_while_its_sound_is_still_to_come_or_is_over(tmp_path, suffix, sound_from, sound_until):
    source = film_with_noise(tmp_path / "in.mkv", "aac", seconds=6.0, sound_from=sound_from, sound_until=sound_until)
    with open_film(source) as film:
        sink = open_video(tmp_path / f"out{suffix}", film.info, overwrite=False)
        for frame in itertools.islice(film, 81):
            sink.write(tracked(frame.image, frame.index, frame.timestamp))
        wait_until(lambda: last_picture(*tmp_path.glob("out.partial-*")) > 2, minutes=1)
        sink.close()


def test_a_sound_that_begins_late_has_every_packet_at_its_time(tmp_path):
    source = film_with_noise(tmp_path / "in.mkv", "aac", seconds=12.0, sound_from=9.0)
    target = convert(source, tmp_path / "out.mp4")
    np.testing.assert_allclose(times_of(target, "audio"), times_of(source, "audio"), atol=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_one_message_and_keeps_what_plays(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)

    def fill(sink):
        for index in range(1000):
            sink.write(tracked(np.roll(noise, index, axis=1), index, index / 30))

    sink = open_video(tmp_path / f"out{suffix}", camera(), overwrite=False)
    told = r"cannot write .*out.*: .*; what was written until then is kept as .*partial"
    with no_file_longer_than(1_500_000):
        with pytest.raises(SinkError, match=told):
            fill(sink)
        sink.close()  # has been told
        sink.close()
    (left,) = tmp_path.iterdir()
    with open_film(left) as film:
        assert len(list(film)) > 30


def test_an_existing_film_is_refused_untouched_or_replaced_at_the_end(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_text("precious")
    with pytest.raises(SinkError, match="exists already; add --overwrite"):
        open_video(target, camera(), overwrite=False)
    sink = open_video(target, camera(), overwrite=True)
    write_frames(sink, 5)
    assert target.read_text() == "precious"
    sink.close()
    sink.close()
    assert len(times_of(target)) == 5
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_the_source_is_never_written_over(tmp_path):
    source = write_film(tmp_path / "in.mp4", moving_square(5))
    with pytest.raises(SinkError, match="is the source itself"):
        convert(source, source, overwrite=True)


@pytest.mark.parametrize("name", ["out.avi", "out.webm", "out"])
def test_other_containers_are_refused_with_those_that_work(tmp_path, name):
    with pytest.raises(SinkError, match=r"only \.mp4, \.mov, \.mkv"):
        open_video(tmp_path / name, camera(), overwrite=False)
    assert not list(tmp_path.iterdir())


def test_without_a_frame_there_is_no_film(tmp_path):
    sink = open_video(tmp_path / "out.mp4", camera(), overwrite=False)
    sink.close()
    assert not list(tmp_path.iterdir())


def test_another_encoder_steps_in_where_the_usual_one_is_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(film_module, "ENCODERS", ("no_such_encoder", "libx264"))
    sink = open_video(tmp_path / "out.mp4", camera(), overwrite=False)
    write_frames(sink, 5)
    sink.close()
    assert len(times_of(tmp_path / "out.mp4")) == 5
    assert "libx264 encodes the film, because no_such_encoder does not work here" in caplog.text


def test_a_size_no_encoder_takes_is_one_message(tmp_path):
    with pytest.raises(SinkError, match=r"no H\.264 encoder takes pictures of 40000x4 px here"):
        open_video(tmp_path / "out.mp4", camera((40_000, 4)), overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_mistake_of_ours_is_not_dressed_up_as_the_disks(tmp_path):
    sink = open_video(tmp_path / "out.mp4", camera(), overwrite=False)
    sink.write(tracked(np.zeros((120, 160), np.uint8), 0, 0.0))
    with pytest.raises(Exception, match=r".") as caught:
        sink.close()
    assert not isinstance(caught.value, SinkError)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["face_leaves.mov", "sign_language.mkv"])
def test_real_clips_keep_length_timing_and_sound(tmp_path, shared, name):
    source = shared / "videos" / name
    target = convert(source, tmp_path / "out.mp4")
    with open_film(source) as film, open_film(target) as written:
        before, after = ([frame.timestamp for frame in each] for each in (film, written))
        period = float(1 / film.info.rate)
    assert duration_of(target) == pytest.approx(duration_of(source), abs=period)
    assert len(after) == len(before)
    np.testing.assert_allclose(np.diff(after), np.diff(before), atol=1e-4)
    assert (codec_of(source, "audio") is None) == (codec_of(target, "audio") is None)
    if codec_of(source, "audio") == "aac":
        assert abs(delay_ms(sound_of(source), sound_of(target))) < 2
