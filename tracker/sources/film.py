"""Films through PyAV (FFmpeg): every frame, upright, at its true presentation time.

In: any file FFmpeg can read.  Out: Frames, BGR uint8, all of the first one's size, timestamps in seconds since the
film's start and strictly increasing, so variable frame rates survive.  Decoding runs a few frames ahead in a thread.
"""

import itertools
import logging
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tracker.errors import SourceError
from tracker.sources.contract import Source, SourceInfo, existing
from tracker.support.threads import Background
from tracker.types import Frame

log = logging.getLogger(__name__)

AHEAD = 4
"""Frames decoded before they are asked for; each costs its 3 bytes per pixel."""

MAX_THREADS = 4
"""Of the decoder.  Every thread keeps frames of its own: 16 of them add 40 MB at 960x540."""

MAX_RATE = 300
"""Faster nominal rates are a container's clock (browser recordings say 1000), not a frame rate."""

MAX_UNREADABLE = 1000
"""Errors in a row after which the rest of a damaged container is given up."""

_LENIENT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""A title that is no UTF-8 must not cost the film; since version 19 PyAV sees to that itself."""


class Film(Source):
    """A film being decoded; `skipped` counts its corrupt packets.

    Time 0 is where the container starts, as for a player, so that a picture that sets in after the sound stays in
    step with it: subtract the container's `start_time` from the sound's timestamps too.
    """

    def __init__(self, info: SourceInfo, decoder: "_Decoder", frames: Generator[Frame, None, None]) -> None:
        self.info = info
        self._decoder = decoder
        self._frames = Background(frames, depth=AHEAD)

    @property
    def skipped(self) -> int:
        return self._decoder.skipped

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None:
        if self._frames.close():  # never free the decoder under a thread that is still inside it
            self._decoder.close()


def open_film(path: Path) -> Film:
    """Open a film and decode its first frame.

    Raises SourceError when the file is missing, no film, cut off before its index, without a video stream, or when
    nothing in it decodes.
    """
    decoder = _Decoder(path, open_container(path))
    try:
        frames = decoder.frames()
        first = next(frames, None)
        if first is None:
            raise SourceError(f"{path}: not one frame could be decoded; the film is damaged, get another copy")
    except BaseException:
        decoder.close()
        raise
    height, width = first.image.shape[:2]
    info = SourceInfo("film", str(path), width, height, decoder.rate, decoder.frame_count(), path)
    return Film(info, decoder, _with_first(first, frames))


def _with_first(first: Frame, rest: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    yield from itertools.chain([first], rest)


class Orientation(NamedTuple):
    """How stored pixels become the upright picture: transpose, then mirror left-right, then top-bottom."""

    transpose: bool = False
    mirror: bool = False
    flip: bool = False

    @classmethod
    def of(cls, picture: Any) -> "Orientation":
        """The quarter turn and mirroring nearest to the display matrix of a PyAV frame (libavutil/display.h)."""
        try:
            a, b, _, c, d = np.frombuffer(picture.side_data["DISPLAYMATRIX"], np.int32)[:5].tolist()
        except KeyError:
            return cls()
        # A stored pixel (x, y) is shown at (a x + c y, b x + d y).
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror=c < 0, flip=b < 0)
        return cls(mirror=a < 0, flip=d < 0)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as stored -> upright, (W, H, 3) when transposed."""
        if self.transpose:
            image = cv2.transpose(image)
        if self.mirror or self.flip:
            image = cv2.flip(image, -1 if self.mirror and self.flip else int(self.mirror))
        return image


class _Clock:
    """Presentation times in seconds since `start`, strictly increasing whatever the film claims."""

    def __init__(self, start: float, period: float) -> None:
        self._start = start
        self._period = period
        self._last: float | None = None

    def __call__(self, claimed: float | None) -> float:
        """`claimed` is the film's own time, s, or None.  Missing or repeated times go on by one frame period."""
        time = None if claimed is None else claimed - self._start
        if self._last is None:
            time = max(time or 0.0, 0.0)
        elif time is None or time <= self._last:
            time = self._last + self._period
        self._last = time
        return time


class _Decoder:
    """One container, its video stream, and what was wrong with it so far."""

    def __init__(self, path: Path, container: Any) -> None:
        self.skipped = 0
        self._path = path
        self._container = container
        self._stream = _video_stream(path, container)
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = min(MAX_THREADS, os.cpu_count() or 1)
        self.rate = _nominal_rate(self._stream)

    def frame_count(self) -> int | None:
        """What the container's header says, or its duration allows."""
        if self._stream.frames > 0:
            return int(self._stream.frames)
        rate = self._stream.average_rate or self.rate
        if self._container.duration is None or rate is None:
            return None
        frames: int = round(self._container.duration / av.time_base * float(rate))
        return max(1, frames)

    def frames(self) -> Generator[Frame, None, None]:
        """Decode the film.  One reformatter for all frames: a new one each costs ten times the conversion."""
        start, reformatter = self._container.start_time, VideoReformatter()
        clock = _Clock((start or 0) / av.time_base, 1 / float(self.rate or 30))
        size, orientation = None, Orientation()
        for index, picture in enumerate(self._pictures()):
            if size is None:
                size, orientation = (picture.width, picture.height), Orientation.of(picture)
            bgr = reformatter.reformat(picture, *size, format="bgr24", threads=1)
            yield Frame(orientation.apply(_pixels(bgr)), index, clock(picture.time))
        if self.skipped:
            log.warning("%s: %d corrupt packets skipped", self._path, self.skipped)

    def close(self) -> None:
        self._container.close()

    def _pictures(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                pictures = packet.decode()
            except av.FFmpegError as error:
                self.skipped += 1
                log.debug("%s: packet at %s s skipped: %s", self._path, packet.dts, error)
                continue
            yield from pictures

    def _packets(self) -> Iterator[Any]:
        """The video packets; damage that the container's reader notices is stepped over."""
        in_a_row = 0
        while in_a_row < MAX_UNREADABLE:
            try:
                for packet in self._container.demux(self._stream):
                    in_a_row = 0
                    yield packet
                return
            except IndexError:  # PyAV 18, at the very end: a stream that showed up while reading is unknown to it
                return
            except av.InvalidDataError:
                in_a_row += 1
                self.skipped += 1
            except av.FFmpegError as error:
                raise SourceError(
                    f"{self._path}: reading broke off: {error.strerror}; is the disk still there?"
                ) from error


def open_container(path: Path) -> Any:
    """The film as PyAV has it, whatever its name and its title.  Raises SourceError when it is missing or no film."""
    try:
        # The prefix keeps FFmpeg from taking a name like concat:a or http:b for another protocol than a file.
        return av.open(f"file:{existing(path)}", **_LENIENT)
    except av.FFmpegError as error:
        raise SourceError(f"{path} cannot be read as a film: {_reason(path, error)}") from error


def _reason(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, av.EOFError):
        return "it ends before its first frame; get a complete copy"
    if not isinstance(error, av.InvalidDataError):
        return f"{error.strerror}; check the file and its permissions"
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return "it is empty; get a complete copy"
    if head[4:8] == b"ftyp":
        return "it starts as MP4 but its index (moov) is missing or damaged, probably cut off; get a complete copy"
    return "its content is no film format that FFmpeg knows; check that it is what its name says"


def _video_stream(path: Path, container: Any) -> Any:
    """The first moving picture: an album cover is not one, nor a stream that FFmpeg has no decoder for."""
    for stream in container.streams.video:
        cover = stream.disposition & av.stream.Disposition.attached_pic
        if stream.codec_context is not None and not cover:
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
    container.close()
    raise SourceError(f"{path} holds no video that can be decoded (it holds: {kinds}); give a film with a picture")


def _nominal_rate(stream: Any) -> Fraction | None:
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate is not None and 0 < rate <= MAX_RATE:
            return Fraction(rate)
    return None


def _pixels(bgr: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, contiguous, of a PyAV frame in bgr24; shares its memory where rows are not padded."""
    return np.ascontiguousarray(bgr.to_ndarray())
