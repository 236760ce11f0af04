"""What a film holds besides one picture and one sound: what of it comes along and what does not."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import encoded, heard_at, nobody, noise, samples_of, written
from programs import wait_until

from tracker.sinks.film import open_video
from tracker.sources.film import open_film
from tracker.types import Frame

WHERE = "+52.5200+013.4050/"


@pytest.fixture
def interview(tmp_path: Path) -> Path:
    """Two languages, two chapters, subtitles, a title, a time and a place."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as film:
        film.metadata.update({"title": "Interview 7", "creation_time": "2024-05-01T10:00:00.000000Z"})
        film.metadata.update({"location": WHERE, "com.apple.quicktime.location.ISO6709": WHERE})
        tick = Fraction(1, 1000)
        film.set_chapters(
            [
                {"id": 1, "start": 0, "end": 1000, "time_base": tick, "metadata": {"title": "One"}},
                {"id": 2, "start": 1000, "end": 2000, "time_base": tick, "metadata": {"title": "Two"}},
            ]
        )
        picture = film.add_stream("libx264", rate=20, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
        sounds = [film.add_stream(codec, rate=48_000, layout="mono") for codec in ("aac", "pcm_s16le")]
        for sound, language in zip(sounds, ("deu", "eng"), strict=True):
            sound.metadata["language"] = language
        text = film.add_mux_stream("subrip")
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 90, np.uint8), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            film.mux(picture.encode(frame))
        film.mux(picture.encode(None))
        for seed, sound in enumerate(sounds, start=1):
            for packet in encoded(sound, noise(seed, 2)):
                film.mux(packet)
        subtitle = av.Packet(b"Hello")
        subtitle.stream, subtitle.pts, subtitle.dts, subtitle.duration = text, 0, 0, 1000
        subtitle.time_base = tick
        film.mux(subtitle)
    return path


def run(source: Path, target: Path, *, anonymous: bool = False) -> Path:
    written(source, target, anonymous=anonymous)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_sounds_with_their_languages_chapters_title_and_time_come_along(
    tmp_path: Path, interview: Path, suffix: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO"):
        made = run(interview, tmp_path / f"out{suffix}")
    with av.open(str(made)) as film:
        languages = [stream.metadata.get("language") for stream in film.streams.audio]
        assert languages == [None if suffix == ".mov" else "deu", "eng"]  # QuickTime knows no deu
        chapters = [(each["start"] * each["time_base"], each["metadata"]["title"]) for each in film.chapters()]
        assert [title for _, title in chapters] == ["One", "Two"]
        assert float(chapters[1][0]) == pytest.approx(1, abs=0.03)
        assert film.metadata["title"] == "Interview 7"
        assert film.metadata["creation_time"].startswith("2024-05-01T10:00:00")
        left_out = "left out of the annotated film: 1 subtitle (.mkv keeps it)" in caplog.text
        assert left_out == (suffix != ".mkv") == (not film.streams.subtitles)
    for track in (0, 1):
        assert heard_at(samples_of(made, track=track), noise(track + 1, 1.5)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_no_film_says_where_it_was_taken_and_an_anonymous_one_not_what_it_is(
    tmp_path: Path, interview: Path, suffix: str
):
    assert WHERE.encode() in interview.read_bytes()
    assert WHERE.encode() not in run(interview, tmp_path / f"out{suffix}").read_bytes()
    with av.open(str(run(interview, tmp_path / f"hidden{suffix}", anonymous=True))) as film:
        told = " ".join(film.metadata.values())
        assert "Interview" not in told
        assert "2024" not in told
        assert not film.chapters()
        assert len(film.streams.audio) == 2
        assert not film.streams.subtitles


@pytest.mark.parametrize(
    ("codec", "text", "suffix"), [("subrip", b"Hello", ".mkv"), ("mov_text", b"\0\5Hello", ".mp4")]
)
def test_subtitles_stay_at_their_time_where_the_container_holds_them(
    tmp_path: Path, codec: str, text: bytes, suffix: str
):
    source = tmp_path / f"in{suffix}"
    with av.open(str(source), "w") as film:
        picture = film.add_stream("libx264", rate=20)
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
        titles = film.add_mux_stream(codec)
        titles.metadata["language"] = "fra"
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 90, np.uint8), format="bgr24")
            frame.pts, frame.time_base = index + 20, Fraction(1, 20)  # the film starts at 1 s
            film.mux(picture.encode(frame))
        film.mux(picture.encode(None))
        for content, at_ms, length_ms in ((b"\0\0", 1000, 500), (text, 1500, 700)):  # MP4 has no gaps between texts
            title = av.Packet(content)
            title.stream, title.pts, title.dts, title.duration = titles, at_ms, at_ms, length_ms
            title.time_base = Fraction(1, 1000)
            film.mux(title)
    start_s, (at_s, length_s, _) = title_of(source, "fra")
    _, kept = title_of(run(source, tmp_path / f"out{suffix}"), "fra")
    assert kept[:2] == pytest.approx((at_s - start_s, length_s), abs=0.002)
    assert kept[2] == text


def title_of(path: Path, language: str) -> tuple[float, tuple[float, float, bytes]]:
    """When the film starts, and when its only title is shown, for how long, and what it says."""
    with av.open(str(path)) as film:
        (titles,) = film.streams.subtitles
        assert titles.metadata["language"] == language
        (shown,) = [packet for packet in film.demux(titles) if packet.size > 2]
        at_s, length_s = (float(ticks * titles.time_base) for ticks in (shown.pts, shown.duration))
        return film.start_time / av.time_base, (at_s, length_s, bytes(shown))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_with_chapters_plays_while_it_is_written(tmp_path: Path, interview: Path, suffix: str):
    with open_film(interview) as film:
        frames = list(film)
    with closing(open_video(tmp_path / f"out{suffix}", film.info, overwrite=False)) as sink:
        for index in range(120):
            sink.write(nobody(Frame(frames[index % 40].image, index, index / 20)))
        wait_until(lambda: sum(path.stat().st_size for path in tmp_path.glob("out.partial-*")) > 10_000, minutes=1)
        (partial,) = tmp_path.glob("out.partial-*")
        left = tmp_path / f"left{suffix}"
        left.write_bytes(partial.read_bytes())
    with av.open(str(left)) as film:
        assert sum(1 for _ in film.decode(video=0)) >= 15
