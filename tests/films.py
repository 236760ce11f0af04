"""Films written by a real encoder, some of whose picture and sound tell which moment they are."""

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tracker.sinks.film import open_video
from tracker.sources.film import open_film
from tracker.types import Frame, Image, Tracked

RATE = 20
SOUND_HZ = 48_000
WRAP_S = 2**33 / 90_000
CLOCK = 60_000
"""Ticks per second of written films: divides by every common rate, and MPEG-4 takes no finer one."""
AUDIO_RATE = 44_100


def write_film(
    path: Path,
    frames: Iterable[Image],
    *,
    rate: Fraction | int = 30,
    times: Sequence[float] | None = None,
    audio: bool = False,
    rotation: int = 0,
    mirror: bool = False,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode BGR `frames` (H, W, 3) uint8 to `path`, whose suffix picks the container; returns `path`.

    `times`, s, are the presentation times where they are not `index / rate`.  `audio` adds a 440 Hz tone in AAC, as
    long as the picture.  A player turns the picture by `rotation` degrees CLOCKWISE (0, 90, 180, 270), after mirroring
    it left to right when `mirror`; both are written as a phone does, in the track header, so mp4 and mov only.
    """
    end = 0.0
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=Fraction(rate), options=options or _fast_options(codec))
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, CLOCK)
        tone = container.add_stream("aac", rate=AUDIO_RATE, layout="mono") if audio else None
        for index, image in enumerate(frames):
            if index == 0:
                video.height, video.width = image.shape[:2]
            start = index / rate if times is None else times[index]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.time_base, frame.pts = Fraction(1, CLOCK), round(start * CLOCK)
            container.mux(video.encode(frame))
            end = float(start) + float(1 / Fraction(rate))
        container.mux(video.encode(None))
        if tone is not None:
            _write_tone(container, tone, end)
    if rotation or mirror:
        _write_display_matrix(path, rotation, mirror)
    return path


def _fast_options(codec: str) -> dict[str, str]:
    return {"preset": "ultrafast"} if codec in ("libx264", "libx265") else {}


def _write_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = np.arange(math.ceil(seconds * AUDIO_RATE))
    wave = (0.2 * np.sin(2 * np.pi * 440 * samples / AUDIO_RATE)).astype(np.float32)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = AUDIO_RATE, Fraction(1, AUDIO_RATE), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_display_matrix(path: Path, rotation: int, mirror: bool) -> None:
    """Overwrite the matrix in the first track header (ISO 14496-12, 8.3.2); older PyAV cannot set it."""
    radians = math.radians(rotation)
    cos, sin = round(math.cos(radians)), round(math.sin(radians))
    across = -1 if mirror else 1
    rows = [(cos * across, sin * across, 0), (-sin, cos, 0), (0, 0, 1)]
    matrix = [value << (30 if column == 2 else 16) for row in rows for column, value in enumerate(row)]
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    wide = content[header] == 1  # version 1 has 64-bit times
    struct.pack_into(">9i", content, header + (52 if wide else 40), *matrix)
    path.write_bytes(content)


def nobody(frame: Frame) -> Tracked:
    """A result without a face."""
    return Tracked(frame, (), np.zeros((0, 15, 2), np.float32), np.zeros((0, 15), np.float32))


def written(source: Path, target: Path, *, frames: int | None = None, **how: Any) -> list[float]:
    """Write a film, unchanged, as a run would, at most its first `frames`; `how` is for the sink.  The times, s."""
    times = []
    with open_film(source) as film, closing(open_video(target, film.info, **{"overwrite": False} | how)) as sink:
        for frame in islice(film, frames):
            times.append(frame.timestamp)
            sink.write(nobody(frame))
    return times


def noise(seed: int, seconds: float) -> NDArray[np.float32]:
    """Sound that is different at every moment, 48 kHz."""
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * SOUND_HZ)).astype(np.float32)


def write_part(
    path: Path,
    *,
    seed: int = 1,
    gray: int = 60,
    seconds: float = 2.0,
    picture: str = "libx264",
    sound: str | None = "aac",
    size: tuple[int, int] = (160, 120),
    layout: str = "stereo",
    rate_hz: int = SOUND_HZ,
    options: dict[str, str] | None = None,
    aspect: Fraction = Fraction(1),
    form: str | None = None,
    at: Sequence[int] | None = None,
) -> Path:
    """A film of one gray whose sound is `noise(seed)`; `at` has the times of its pictures if there are gaps."""
    with av.open(str(path), "w", format=form) as container:
        frames = container.add_stream(picture, rate=RATE, options=options or {})
        frames.width, frames.height, frames.pix_fmt = *size, "yuv420p"
        frames.codec_context.sample_aspect_ratio = aspect
        tone = None if sound is None else container.add_stream(sound, rate=rate_hz, layout=layout)
        for index in range(round(seconds * RATE)) if at is None else at:
            image = np.full((size[1], size[0], 3), gray, np.uint8)
            image[:16, : 8 + 2 * (index % 32)] = 255 - gray
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(frames.encode(frame))
        container.mux(frames.encode(None))
        if tone is not None:
            for packet in encoded(tone, noise(seed, seconds)):
                container.mux(packet)
    return path


def encoded(stream: Any, samples: NDArray[np.float32]) -> Iterator[Any]:
    """48 kHz mono samples as packets of `stream`, whatever its codec takes."""
    context = stream.codec_context
    to_encoder = av.AudioResampler(context.format, context.layout, context.sample_rate)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="flt", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = SOUND_HZ, Fraction(1, SOUND_HZ), start
        for ready in to_encoder.resample(frame):
            yield from stream.encode(ready)
    yield from stream.encode(None)


def remuxed(source: Path, target: Path, clock: Callable[[float], float]) -> Path:
    """`source` in another container with each packet at `clock(its time)`, s."""
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        copies = {stream.index: copy.add_stream_from_template(stream) for stream in film.streams}
        for packet in film.demux(list(film.streams)):
            if packet.dts is None:
                continue
            shift = round((clock(packet.dts * packet.time_base) - packet.dts * packet.time_base) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = copies[packet.stream.index]
            copy.mux(packet)
    return target


def joined(target: Path, *parts: Path) -> Path:
    """The parts one after the other, byte by byte, as `cat` joins broadcasts."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def appended(target: Path, first: Path, second: Path) -> Path:
    """Two parts of 2 s in one container, which has the headers of the first one only."""
    with av.open(str(first)) as one, av.open(str(second)) as other, av.open(str(target), "w") as whole:
        copies = {stream.type: whole.add_stream_from_template(stream) for stream in one.streams}
        for film, start_s in ((one, Fraction(0)), (other, 2 + Fraction(1, RATE))):
            for packet in film.demux():
                if packet.dts is not None and packet.pts >= 0:
                    shift = round(start_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copies[packet.stream.type]
                    whole.mux(packet)
    return target


def pictures(path: Path) -> list[tuple[float, int]]:
    """(time, s, gray of the lower half) of each picture, in order."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.video[0])
        return [(frame.time, round(float(frame.to_ndarray(format="gray")[60:].mean()))) for frame in frames]


def samples_of(path: Path, seconds: float = 20.0, track: int = 0) -> NDArray[np.float32]:
    """Mono, 48 kHz, each sample at its time on the container's own clock, which may count by milliseconds only."""
    found = np.zeros(round(seconds * SOUND_HZ), np.float32)
    with av.open(str(path)) as container:
        end, form, to_mono = 0, (), None
        for frame in container.decode(container.streams.audio[track]):
            if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
                form = (frame.format.name, frame.layout.name, frame.sample_rate)
                to_mono = av.AudioResampler("flt", "mono", SOUND_HZ)
            at = end if frame.time is None else round(frame.time * SOUND_HZ)
            at = end if abs(at - end) < 0.01 * SOUND_HZ else at
            frame.pts = None
            for mono in to_mono.resample(frame):
                chunk = mono.to_ndarray()[0][max(0, -at) :]
                at, end = max(at, 0), max(at, 0) + len(chunk)
                found[at : at + len(chunk)] = chunk[: max(0, len(found) - at)]
                at = end
    return found


def heard_at(samples: NDArray[np.float32], part: NDArray[np.float32]) -> float:
    """When `part`, 48 kHz, begins in `samples`, s: where the two agree best.  NaN where they do not."""
    length = 1 << int(np.ceil(np.log2(len(samples) + len(part))))
    agreement = np.fft.irfft(np.fft.rfft(samples, length) * np.conj(np.fft.rfft(part, length)), length)
    best = int(np.argmax(agreement))
    if agreement[best] < 0.2 * float(part @ part):
        return float("nan")
    return (best if best < length // 2 else best - length) / SOUND_HZ
