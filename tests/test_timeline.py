"""One clock for picture and sound: joined, interrupted and wrapped clocks, B-frames without times, late starts."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from films import RATE, WRAP_S, appended, heard_at, joined, noise, pictures, remuxed, samples_of, write_part, written

from tracker.sources.film import Rising
from tracker.sources.timeline import Timeline

DARK, BRIGHT = 60, 180


FLV_HEADER = 13
"""Bytes before the first tag."""


class Told(NamedTuple):
    """What a run makes of a film."""

    times: list[float]
    """As keypoint files have them, s."""
    film: Path


def run(source: Path, target: Path) -> Told:
    return Told(written(source, target), target)


def out_of_step(told: Told, part: int, gray: int) -> float:
    """How much later than its picture the sound of a part is, s.  Both begin together in what `write_part` makes."""
    last = max(time for time, shade in pictures(told.film) if abs(shade - gray) < 30)
    return heard_at(samples_of(told.film), noise(part, 1.5)) - (last - 2 + 1 / RATE)


def in_step(told: Told) -> bool:
    """Whether keypoints, pictures and sound of both parts agree."""
    times = [time for time, _ in pictures(told.film)]
    assert np.all(np.diff(told.times) > 0)
    assert times == pytest.approx(told.times, abs=0.002)
    lags = out_of_step(told, 1, DARK), out_of_step(told, 2, BRIGHT)
    assert lags[0] == pytest.approx(lags[1], abs=0.005)
    assert lags[0] == pytest.approx(0, abs=0.022)  # a frame of AAC, where a container does not count it from its start
    return True


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """Two broadcasts of two seconds whose clocks both begin at 1.4 s."""
    return write_part(tmp_path / "1.ts", gray=DARK), write_part(tmp_path / "2.ts", seed=2, gray=BRIGHT)


@pytest.mark.slow
@pytest.mark.parametrize(("sound", "options"), [("aac", {}), ("mp2", {"bf": "0"}), ("ac3", {"bf": "3"})])
def test_a_clock_that_goes_back_keeps_the_sound_of_the_next_part_in_step(
    tmp_path: Path, sound: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
):
    first = write_part(tmp_path / "1.ts", gray=DARK, sound=sound, options=options)
    second = write_part(tmp_path / "2.ts", seed=2, gray=BRIGHT, sound=sound, options=options)
    told = run(joined(tmp_path / "in.ts", first, second), tmp_path / "out.mp4")
    assert in_step(told)
    assert len(told.times) == 4 * RATE
    assert told.times[-1] == pytest.approx(4, abs=0.2)
    assert caplog.text.count("its clock goes back by ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".flv"])
@pytest.mark.parametrize("ahead_s", [40, 40_000])
def test_a_clock_that_jumps_ahead_is_said_and_the_film_is_written(
    tmp_path: Path, parts: tuple[Path, Path], suffix: str, ahead_s: int, caplog: pytest.LogCaptureFixture
):
    whole = joined(tmp_path / "whole.ts", *parts)
    straight = run(whole, tmp_path / "straight.mkv").film
    source = remuxed(straight, tmp_path / f"in{suffix}", lambda time: time + (ahead_s if time > 1.9 else 0))
    caplog.clear()
    told = run(source, tmp_path / "out.mp4")
    gap = max(np.diff(told.times))
    kept = ahead_s == 40 and suffix != ".ts"  # a broadcast's clock breaks by design, a file's gaps are meant
    assert gap == pytest.approx(40 if kept else 0.05, abs=0.3)
    if not kept:
        assert in_step(told)
    assert caplog.text.count("the gap is kept" if kept else "its clock jumps ahead by") == 1


@pytest.mark.slow
@pytest.mark.parametrize("start_s", [WRAP_S - 1, WRAP_S - 30])
def test_a_broadcast_whose_clock_wraps_goes_on(
    tmp_path: Path, parts: tuple[Path, Path], start_s: float, caplog: pytest.LogCaptureFixture
):
    whole = run(joined(tmp_path / "whole.ts", *parts), tmp_path / "whole.mkv").film
    late = start_s + 29 if start_s < WRAP_S - 2 else start_s
    source = remuxed(whole, tmp_path / "in.ts", lambda time: time + late)
    caplog.clear()
    told = run(source, tmp_path / "out.mp4")
    assert in_step(told)
    assert "clock" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"bf": "3", "b-adapt": "0"}), ("libx264", {"bf": "0"}), ("mpeg4", {"bf": "2"}), ("mpeg4", {})],
)
def test_pictures_of_an_avi_are_shown_in_their_order_at_even_steps(tmp_path: Path, codec: str, options: dict[str, str]):
    source = write_part(tmp_path / "in.avi", picture=codec, options=options, sound="libmp3lame")
    told = run(source, tmp_path / "out.mp4")
    with av.open(str(source)) as film:
        stored = sorted(packet.dts for packet in film.demux(video=0) if packet.dts is not None)
    assert told.times == pytest.approx([each / RATE for each in stored], abs=1e-6)
    assert out_of_step(told, 1, DARK) == pytest.approx(0, abs=0.06)


def test_an_avi_with_gaps_and_b_frames_keeps_its_times(tmp_path: Path):
    shown = [10 * second + index for second in range(4) for index in (0, 1, 2, 7, 8, 9)]
    source = write_part(tmp_path / "in.avi", options={"bf": "3", "b-adapt": "0"}, sound=None, at=shown)
    told = run(source, tmp_path / "out.mp4")
    assert told.times == pytest.approx([index / RATE for index in shown], abs=1e-6)


class Packet:
    """What a timeline looks at."""

    def __init__(self, stream: int, at_s: float) -> None:
        self.stream_index, self.time_base, self.duration = stream, Fraction(1, 1000), 40
        self.pts = self.dts = round(1000 * at_s)


def test_sound_of_another_clock_begins_with_the_picture():
    timeline = Timeline("a.ts", zero_s=10.0, breaks=True)
    packets = [Packet(index % 2, (10 if index % 2 else 5000) + index * 0.02) for index in range(20)]
    for packet in packets:
        timeline.place(packet)
    assert [packet.pts for packet in packets] == pytest.approx([20 * index for index in range(20)], abs=25)


def test_a_single_wild_time_moves_nothing_else():
    timeline = Timeline("a.ts", zero_s=10.0, breaks=True, told=0)
    packets = [Packet(0, 10 + index * 0.04) for index in range(20)]
    packets[9] = Packet(0, 77_777)
    for packet in packets:
        timeline.place(packet)
    assert [packet.pts for packet in packets] == pytest.approx([40 * index for index in range(20)], abs=1)


def test_times_rise_whatever_is_claimed():
    rising = Rising(0.1)
    claimed = [-3.0, float("nan"), None, 0.25, 0.25, 0.2, 0.35, float("inf")]
    assert [rising(time) for time in claimed] == pytest.approx([0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])


def test_a_picture_that_was_held_up_catches_up():
    rising = Rising(0.1)
    claimed = [0.0, 0.1, 0.2, 0.05, *(0.15 + 0.1 * index for index in range(10))]
    assert [rising(time) for time in claimed][-1] == pytest.approx(claimed[-1])


def test_a_time_lapse_keeps_its_times(tmp_path: Path):
    source = write_part(tmp_path / "in.mkv", sound=None, options={"bf": "0"})
    told = run(remuxed(source, tmp_path / "lapse.mkv", lambda time: time * 1200), tmp_path / "out.mp4")
    assert np.diff(told.times) == pytest.approx(60, abs=0.1)


@pytest.mark.slow
def test_a_new_part_of_another_layout_or_rate_keeps_its_sound_in_step(tmp_path: Path):
    first = write_part(tmp_path / "1.ts", gray=DARK, layout="mono")
    second = write_part(tmp_path / "2.ts", seed=2, gray=BRIGHT, layout="stereo", rate_hz=44_100)
    assert in_step(run(joined(tmp_path / "in.ts", first, second), tmp_path / "out.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize(
    ("first", "second"), [(("mp2", "mono"), ("mp2", "stereo")), (("ac3", "stereo"), ("ac3", "5.1"))]
)
def test_layouts_may_change_in_mid_film(tmp_path: Path, first: tuple[str, str], second: tuple[str, str], target: str):
    one = write_part(tmp_path / "1.ts", gray=DARK, sound=first[0], layout=first[1])
    other = write_part(tmp_path / "2.ts", seed=2, gray=BRIGHT, sound=second[0], layout=second[1])
    assert in_step(run(joined(tmp_path / "in.ts", one, other), tmp_path / target))


def test_a_sound_that_is_lost_altogether_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = write_part(tmp_path / "in.mkv", sound="mp2")
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as film:
        packets = [bytes(packet) for packet in film.demux(audio=0) if packet.size]
    for packet in packets[0:]:
        at = content.find(packet)
        content[at : at + len(packet)] = bytes(len(packet))
    source.write_bytes(content)
    run(source, tmp_path / "out.mp4")
    assert "sound" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "decodes"), [("mono", True), ("5.1", False)])
def test_aac_that_changes_without_a_new_header_is_decoded_or_its_gap_is_said(
    tmp_path: Path, layout: str, decodes: bool, caplog: pytest.LogCaptureFixture
):
    first = write_part(tmp_path / "1.mp4", gray=DARK)
    second = write_part(tmp_path / "2.mp4", seed=2, gray=BRIGHT, layout=layout)
    told = run(appended(tmp_path / "in.mp4", first, second), tmp_path / "out.mp4")
    if decodes:
        assert in_step(told)
    else:
        assert "of its 188 packets cannot be decoded" in caplog.text
        assert out_of_step(told, 1, DARK) == pytest.approx(0, abs=0.022)


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "rate_hz"), [("mono", 44_100), ("5.1", 48_000)])
def test_aac_that_changes_with_a_new_header_stays_in_step(tmp_path: Path, layout: str, rate_hz: int):
    first = write_part(tmp_path / "1.flv", gray=DARK, rate_hz=44_100)
    second = write_part(tmp_path / "2.flv", seed=2, gray=BRIGHT, layout=layout, rate_hz=rate_hz)
    (tmp_path / "in.flv").write_bytes(first.read_bytes() + second.read_bytes()[FLV_HEADER:])
    assert in_step(run(tmp_path / "in.flv", tmp_path / "out.mp4"))
