"""Annotated films: H.264 with the source's sound and timing, playable even while they are written.

In: `Tracked` with an annotated image, BGR, and its timestamp in seconds.  Out: an .mp4, .mov or .mkv in yuv420p.  MP4
and MOV are written in fragments of about a second; when the film is finished they get the ordinary index on top.
So a killed run leaves a film that plays, and a finished film is what every player expects.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tracker.errors import SinkError
from tracker.sinks.contract import Sink
from tracker.sinks.film_sound import Sound, is_text_for, open_sound
from tracker.sources.contract import SourceInfo
from tracker.sources.film import open_container
from tracker.sources.fit import fitted
from tracker.sources.hdr import is_hdr
from tracker.support.atomic import PartialFile, open_partial
from tracker.support.threads import Behind
from tracker.types import Frame, Image, Tracked

log = logging.getLogger(__name__)

_AT_ONCE = {
    "flush_packets": "1",  # else the end of each fragment waits in a buffer for the next
    "max_interleave_delta": "1",  # us; else pictures wait 10 s for a sound that has ended
}
_FRAGMENTED = {
    # delay_moov: the first fragment waits for the first packet of sound, then also a killed film has it in step.
    "movflags": "frag_keyframe+default_base_moof+delay_moov+hybrid_fragmented",
    "audio_preload": str((1 << 31) - 2),  # us; else that packet waits until the picture has come as far
    "movie_timescale": "90000",  # the default of 1000 rounds the sound's offset to milliseconds
    **_AT_ONCE,
}
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", _FRAGMENTED),
    ".mov": ("mov", _FRAGMENTED),
    ".mkv": ("matroska", {"cluster_time_limit": "1000", **_AT_ONCE}),
}
"""Suffix -> FFmpeg's name of the container and its options."""

X264 = {"preset": "superfast", "crf": "20", "bf": "0", "x264-params": "cabac=0"}
"""Film to film has about 8 ms of processor time a frame to stay eight times faster than a webcam's film.  On 640x480
webcam films this takes 2.1 ms at 45 dB and 11 kB a frame; with CABAC 2.5 ms and 8 % less space, veryfast 5 ms and 35 %
less, ultrafast 1.5 ms and 30 % more.  Without B-frames nothing waits inside the encoder."""

PIXELS_PER_THREAD = 500_000
"""Of the encoder.  Threads share a frame in slices: each costs bits and an eighth of the processor time, so a small
picture, which has cores to share with detector and network, gets one; 720p gets two, 1080p four."""

ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "h264_nvenc")
"""The first one that works on this machine encodes the film."""

TOLD = frozenset(
    {"album", "artist", "comment", "copyright", "creation_time", "date", "description", "genre", "synopsis", "title"}
)
"""The film's metadata that its annotated copy keeps.  Cameras also write their location, which is left out."""

KEYFRAME_INTERVAL_S = 1
COARSEST_TICK = Fraction(1, 10_000)
FINEST_TICK = Fraction(1, 1_000_000)
DEFAULT_TICK = Fraction(1, 90_000)
"""Seconds per unit of the film's timestamps if the source has none, as in MPEG."""

DEPTH = 4
"""Maximum number of frames that wait for the encoder."""

BT709, BT601, UNSPECIFIED = 1, 6, 2
LIMITED_RANGE = 1
"""FFmpeg's numbers of colours, their matrices and ranges; `yuv420_from_bgr` makes BT.601 in limited range."""

_U_FROM_BGR, _V_FROM_BGR = (0.439, -0.291, -0.148, 128), (-0.071, -0.368, 0.439, 128)
_CHROMA_FROM_BGR = np.array([_U_FROM_BGR, _V_FROM_BGR, _V_FROM_BGR], np.float32)
"""OpenCV converts three channels to three ten times as fast as three to two."""


class Video:
    """A film being written; encoding runs in a thread behind the loop."""

    def __init__(self, container: Any, stream: Any, sound: Sound, file: PartialFile, period_s: float) -> None:
        self._container = container
        self._stream = stream
        self._sound = sound
        self._file = file
        self._interval_ticks = max(1, round(period_s / stream.codec_context.time_base))
        """From the last frame but one to the last: as long as that the last one is shown."""
        self._last_ticks: int | None = None
        self._closed = False
        self._behind = Behind(self._encode, depth=DEPTH)

    def write(self, tracked: Tracked) -> None:
        """Queue one frame for the encoder.  Raises SinkError if an earlier frame could not be written."""
        if self._behind.failure is not None:
            self.close()  # raises it
        self._behind.put(tracked.frame)

    def close(self) -> None:
        """Finish the film and move it into place; without a frame there is none.  A second call does nothing.

        Raises SinkError when it could not be written to its end; what there is then keeps its partial name.
        """
        if self._closed:
            return
        self._closed = True
        failure = self._behind.close() or _failure_of(self._flush)
        failure = _failure_of(self._container.close) or failure
        self._sound.close()
        if isinstance(failure, (av.FFmpegError, OSError)):
            kept = f"what was written until then is kept as {self._file.path}"
            raise SinkError(f"cannot write {self._file.target}: {failure.strerror}; {kept}") from failure
        if failure is not None:
            raise failure
        if self._last_ticks is not None:
            self._file.deliver()
        else:
            self._file.discard()
            log.warning("no frame came, so there is no %s", self._file.target)

    def _encode(self, frame: Frame) -> None:
        stream = self._stream
        planes = yuv420_from_bgr(_fitted(frame.image, stream.width, stream.height))
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.time_base = stream.codec_context.time_base
        picture.pts = self._ticks(frame.timestamp)
        self._mux(stream.encode(picture))

    def _ticks(self, timestamp: float) -> int:
        """Seconds -> the film's own unit, at least one more than for the frame before."""
        ticks = round(timestamp / self._stream.codec_context.time_base)
        if self._last_ticks is not None:
            ticks = max(ticks, self._last_ticks + 1)
            self._interval_ticks = ticks - self._last_ticks
        self._last_ticks = ticks
        return ticks

    def _flush(self) -> None:
        if self._last_ticks is None:
            return
        self._mux(self._stream.encode(None))
        tick_s = float(self._stream.codec_context.time_base)
        self._sound.finish((self._last_ticks + self._interval_ticks) * tick_s, self._interval_ticks * tick_s)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._interval_ticks
            self._sound.write_until(float(packet.dts * packet.time_base))
            self._container.mux(packet)


def open_video(path: Path, info: SourceInfo, *, overwrite: bool, anonymous: bool = False, mute: bool = False) -> Sink:
    """Begin a film of the source's size, timing and sound (unless `mute`) at `path`: .mp4, .mov or .mkv.

    Title, chapters, subtitles and time of creation come along unless it is `anonymous`; where it was filmed never does.
    Odd sizes get one more row or column, because yuv420p needs even sizes.  Raises SinkError when the suffix is another
    one, `path` exists without `overwrite`, is the source itself or cannot be written, or when there is no encoder.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise SinkError(f"{path}: cannot write films as {suffix or 'a name without suffix'}, only {', '.join(FORMATS)}")
    if info.path is not None and path.exists() and path.samefile(info.path):
        raise SinkError(f"{path} is the source itself; choose another name")
    width, height = info.width + info.width % 2, info.height + info.height % 2
    encoder = _pick_encoder(width, height)
    file = open_partial(path, overwrite=overwrite)
    name, options = FORMATS[suffix]
    container = av.open(f"file:{file.path}", "w", format=name, options=options)
    rate = info.rate or Fraction(30)
    stream = _add_picture(container, encoder, (width, height), rate, info.sample_aspect)
    sound = Sound()
    if info.stream is not None and info.path is None and not mute:
        log.warning("%s can be read only once: %s gets its picture without sound", info.name, path.name)
    if info.kind == "film" and info.path is not None:
        texts = not (anonymous or mute)
        with open_container(info.path) as film:
            source = film.streams[info.stream] if info.stream is not None else film.streams.video[0]
            _look_like(source, stream)
            if not anonymous:
                container.metadata.update({key: text for key, text in film.metadata.items() if key.lower() in TOLD})
                container.set_chapters(_chapters(film))
            _tell_of_the_rest(film, suffix, texts=texts)
            picture = int(source.index)
        sound = Sound() if mute else open_sound(info.path, picture, container, suffix, texts=texts)
    return Video(container, stream, sound, file, period_s=float(1 / rate))


def yuv420_from_bgr(image: Image) -> Image:
    """BGR (H, W, 3) uint8 with even H and W -> planes Y, U, V (H * 3 / 2, W) uint8, BT.601, limited range.

    OpenCV's luma with the mean of 2x2 pixels as chroma: OpenCV itself takes every fourth pixel's, which frays thin
    coloured lines; FFmpeg's conversion is ten times slower and 2 gray levels off.
    """
    height, width = image.shape[:2]
    planes: Image = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    quarter = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    chroma = cv2.transform(quarter, _CHROMA_FROM_BGR)
    u, v = planes.reshape(-1)[height * width :].reshape(2, height // 2, width // 2)
    cv2.split(chroma, [u, v, np.empty_like(v)])
    return planes


def encodes(name: str) -> bool:
    """Whether this encoder works here: FFmpeg lists many whose library or driver is missing."""
    return _failure_of(partial(_probe, name, 256, 256)) is None


def _pick_encoder(width: int, height: int) -> str:
    failures: dict[str, Exception] = {}
    for name in ENCODERS:
        failure = _failure_of(partial(_probe, name, width, height))
        if failure is None:
            if failures:
                log.warning("%s encodes the film, because %s does not work here", name, " and ".join(failures))
            return name
        failures[name] = failure
    reasons = ", ".join(f"{name}: {failure}" for name, failure in failures.items())
    raise SinkError(
        f"no H.264 encoder takes pictures of {width}x{height} px here ({reasons}); "
        "if the size is ordinary, pip install --force-reinstall av"
    )


def _probe(encoder: str, width: int, height: int) -> None:
    """Raises what opening `encoder` raises."""
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = DEFAULT_TICK
    context.open()


def _add_picture(container: Any, encoder: str, size: tuple[int, int], rate: Fraction, aspect: Fraction) -> Any:
    pixels = size[0] * size[1]
    options = X264 if encoder == "libx264" else {"b": str(round(0.15 * pixels * rate))}
    stream = container.add_stream(encoder, rate=rate, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = max(1, min(round(pixels / PIXELS_PER_THREAD), os.cpu_count() or 1))
    context.time_base = DEFAULT_TICK
    context.gop_size = max(1, round(KEYFRAME_INTERVAL_S * rate))
    context.colorspace, context.color_range = BT601, LIMITED_RANGE
    context.sample_aspect_ratio = aspect
    return stream


def _look_like(source: Any, stream: Any) -> None:
    """Take over what the source film's picture says of its clock and its colours."""
    said, context = source.codec_context, stream.codec_context
    context.time_base = _tick(source.time_base)
    hdr = is_hdr(said)  # it was tone-mapped
    context.color_primaries = BT709 if hdr else said.color_primaries
    context.color_trc = BT709 if hdr else said.color_trc
    if said.colorspace == UNSPECIFIED:
        # It was decoded by BT.601 like all unmarked films; a player that guesses otherwise guesses so for both.
        context.colorspace = UNSPECIFIED


def _chapters(film: Any) -> list[Any]:
    """The film's chapters, counted from its start as everything else is."""
    start_s = Fraction(film.start_time or 0, av.time_base)
    shifted = ((each, round(start_s / each["time_base"])) for each in film.chapters() if each["time_base"])
    return [each | {"start": each["start"] - shift, "end": each["end"] - shift} for each, shift in shifted]


def _tell_of_the_rest(film: Any, suffix: str, *, texts: bool) -> None:
    """Say which streams of the film do not come along; chapters are a stream of texts in some containers."""
    left = Counter(
        f"{stream.type} (.mkv keeps it)" if texts and is_text_for(".mkv", stream) else stream.type
        for stream in film.streams
        if stream.type not in ("video", "audio")
        and not (film.chapters() and stream.codec_tag == "text")
        and not (texts and is_text_for(suffix, stream))
    )
    if left:
        log.info("left out of the annotated film: %s", ", ".join(f"{count} {kind}" for kind, count in left.items()))


def _tick(time_base: Fraction) -> Fraction:
    """`time_base`, s, divided until it is fine enough for any frame rate, so that every time stays exact."""
    tick = time_base / math.ceil(time_base / COARSEST_TICK)
    usable = time_base >= FINEST_TICK and tick.denominator < 1 << 31  # a damaged film may claim anything
    return tick if usable else DEFAULT_TICK


def _fitted(image: Image, width: int, height: int) -> Image:
    """The image with its last row or column repeated to reach an even size; another size altogether gets borders."""
    down, across = height - image.shape[0], width - image.shape[1]
    if (down, across) == (0, 0):
        return image
    if down in (0, 1) and across in (0, 1):
        return cv2.copyMakeBorder(image, 0, down, 0, across, cv2.BORDER_REPLICATE)
    return fitted(image, width, height)


def _failure_of(action: Callable[[], object]) -> Exception | None:
    try:
        action()
    except Exception as error:
        return error
    return None
