"""Films through PyAV (FFmpeg): every frame, upright, at its true presentation time.

In: any file FFmpeg can read.  Out: Frames, BGR uint8, all of the first one's size, timestamps in seconds since the
film's start and strictly increasing, so variable frame rates survive.  Each decoded frame counts, not the container's
claims: pictures that change their size, rotation or shape are fitted into the first one's.  A thread decodes ahead.
"""

import heapq
import itertools
import logging
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from tracker.errors import SourceError
from tracker.sources.contract import TOO_LARGE, Source, SourceInfo, existing
from tracker.sources.fit import fitted
from tracker.sources.hdr import ToneMap, is_hdr
from tracker.sources.timeline import open_reader
from tracker.support.threads import Background
from tracker.types import Frame, Image

log = logging.getLogger(__name__)

AHEAD = 4
"""Number of frames decoded ahead; each costs 3 bytes per pixel."""

MAX_THREADS = 4
"""Threads of the decoder.  Each keeps its own frames: 16 threads add 40 MB at 960x540."""

MAX_RATE = 300
"""Higher nominal rates are a container's clock (1000 in browser recordings), not a frame rate."""

LONGEST_DELAY_S = 0.5
"""No decoder keeps a picture for longer; a time that waits longer belongs to a lost picture."""

LENIENT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""A title that is no UTF-8 must not cost the film; since version 19 PyAV sees to that itself."""

MOST_PIXELS = {"max_pixels": os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]}
"""FFmpeg's option for decoders: a film that claims larger pictures must not fill the memory."""

_NOT_FILMS = {"concat", "dash", "hls", "image2", "image2pipe", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"}
"""Formats that name other files or hosts: a film from a stranger must not decide what else is read."""
_ONLY_FILMS = {"format_whitelist": ",".join(sorted(av.formats_available - _NOT_FILMS))}


def open_film(path: Path, stream: int | None = None) -> Source:
    """Open a film and decode its first frame.  `stream` is FFmpeg's number of the picture; None takes the main one.

    Time 0 is where the container starts, as for a player, so that a picture that starts after the sound stays in step
    with it: subtract the container's `start_time` from the sound's timestamps too.

    Raises SourceError when the file is missing, no film, cut off before its index, or has no such picture.
    """
    return film_of(str(path), open_container(path), stream, path if path.is_file() else None)


def film_of(name: str, container: Any, number: int | None, path: Path | None = None) -> Source:
    """The film in an open container, which is closed with it; its sound can be read again from `path`.

    Raises SourceError, and closes the container, when it has no picture `number` or nothing in it decodes.
    """
    decoder = _Decoder(name, container, chosen_picture(name, container, number))
    try:
        frames = decoder.frames()
        first = next(frames, None)
        if first is None:
            reasons = f"the film is damaged, get another copy, or {TOO_LARGE}"
            raise SourceError(f"{name}: no frame could be decoded; {reasons}")
    except BaseException:
        container.close()
        raise
    height, width = first.image.shape[:2]
    info = SourceInfo(
        "film",
        name,
        width,
        height,
        decoder.rate,
        decoder.frame_count(),
        path,
        stream=decoder.stream.index,
        sample_aspect=decoder.upright.aspect,
        started=_made(container),
    )
    whole = (frame for frame in itertools.chain([first], frames))  # a generator, because its thread closes it
    ahead = Background(whole, depth=AHEAD)

    def close() -> None:
        if ahead.close():  # never free the decoder under a thread that is still inside it
            container.close()

    return Source(info, ahead, close, lambda: decoder.skipped)


def _made(container: Any) -> datetime | None:
    """When the film was made, if its container says so."""
    try:
        made = datetime.fromisoformat(container.metadata.get("creation_time", "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return made if made.tzinfo is not None and made.year > 1970 else None  # cameras without a clock write 1904 or 1970


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
        except ValueError:  # PyAV gives no side data at all if it does not know a kind of it, such as EXIF
            turns = round(picture.rotation / 90) % 4  # counter-clockwise
            return cls(transpose=turns % 2 == 1, mirror=turns in (2, 3), flip=turns in (1, 2))
        # A stored pixel (x, y) is shown at (a x + c y, b x + d y).
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror=c < 0, flip=b < 0)
        return cls(mirror=a < 0, flip=d < 0)

    def apply(self, image: Image) -> Image:
        """(H, W, 3) as stored -> upright, (W, H, 3) when transposed."""
        if self.transpose:
            image = cv2.transpose(image)
        if self.mirror or self.flip:
            image = cv2.flip(image, -1 if self.mirror and self.flip else int(self.mirror))
        return image


class Rising:
    """Times in seconds that always increase, whatever the film claims.

    A missing time is one frame period after the last one.  A time that does not rise is half a period after it, so that
    a picture that was held up catches up with its sound.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._last: float | None = None

    def __call__(self, claimed: float | None) -> float:
        """`claimed` is the frame's own time, s, or None; anything but a finite number counts as None."""
        time = claimed if claimed is not None and math.isfinite(claimed) else None
        if self._last is None:
            time = max(time or 0.0, 0.0)
        elif time is None:
            time = self._last + self._period
        elif time <= self._last:
            time = self._last + self._period / 2
        self._last = time
        return time


class _View(NamedTuple):
    """How a decoded picture must be shown."""

    width: int
    """px, as stored."""
    height: int
    orientation: Orientation
    aspect: Fraction
    """Width of a px of the upright picture, in heights."""

    def __str__(self) -> str:
        width, height = (self.height, self.width) if self.orientation.transpose else (self.width, self.height)
        return f"{width}x{height}" + ("" if self.aspect == 1 else f" (pixels {self.aspect} as wide as high)")


class Upright:
    """Decoded pictures as BGR, upright and in the first one's size: others are fitted into it, with a warning.

    One reformatter for all of them: a new one each costs ten times the conversion.
    """

    def __init__(self, name: str) -> None:
        self.aspect = Fraction(1)
        """Width of a px of the first picture, in heights."""
        self._name = name
        self._reformatter = VideoReformatter()
        self._tone_map = ToneMap()
        self._first: _View | None = None
        self._last: _View | None = None
        self._size = 0, 0
        self._shapes: tuple[Any, Fraction, Fraction | None] | None = None
        """A stream, the shape of its pixels, and what its decoder said of it at that time."""
        self._turned: tuple[int, Orientation] | None = None
        """The rotation of the last key frame, degrees, and what it means."""

    def __call__(self, stream: Any, picture: Any, time_s: float) -> Image:
        """A picture that the decoder of `stream` gave -> (H, W, 3)."""
        view = self._view(stream, picture)
        image = view.orientation.apply(self._bgr(picture))
        if self._first is None or self._last is None:
            self._first = self._last = view
            self._size, self.aspect = (image.shape[1], image.shape[0]), view.aspect
        if view != self._last:
            told = "%s: its pictures change to %s at %.2f s; fitting them into %s"
            log.warning(told, self._name, view, time_s, self._first)
        self._last = view
        return image if view == self._first else fitted(image, *self._size, shape=view.aspect / self.aspect)

    def _bgr(self, picture: Any) -> Image:
        """(H, W, 3), of standard range."""
        if is_hdr(picture):
            return self._tone_map(picture)
        bgr = self._reformatter.reformat(picture, format="bgr24", threads=1)
        return np.ascontiguousarray(bgr.to_ndarray())  # which shares its memory where rows are not padded

    def _view(self, stream: Any, picture: Any) -> _View:
        """What is said of the shape of pixels and of rotation holds until a key frame says something else.  What the
        decoder knows between them may be about pictures to come, and H.264 tells rotation at key frames only."""
        if self._shapes is None or self._shapes[0] is not stream:
            told = stream.sample_aspect_ratio or Fraction(1)
            self._shapes = stream, told, stream.codec_context.sample_aspect_ratio
        elif picture.key_frame and (coded := stream.codec_context.sample_aspect_ratio) != self._shapes[2]:
            self._shapes = stream, coded or Fraction(1), coded
        if self._turned is None or (picture.key_frame and self._turned[0] != picture.rotation):
            # Only then: a PyAV frame that was asked for its side data is in a circle with it, and stays in memory.
            self._turned = picture.rotation, Orientation.of(picture)
        aspect, orientation = self._shapes[1], self._turned[1]
        return _View(picture.width, picture.height, orientation, 1 / aspect if orientation.transpose else aspect)


class _DisplayTimes:
    """The times of an AVI's pictures.  Its packets only say when they are decoded, and pictures with B-frames come in
    another order: the first one shown takes the first time, and so on.  As many times at the beginning as the decoder
    holds pictures back are no picture's: with them, the film would lag behind its gaps."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._delay: int | None = None
        """How much later pictures are decoded than shown, in the film's unit."""

    def coming(self, packet: Any) -> None:
        """A packet goes into the decoder."""
        if packet.dts is not None:
            heapq.heappush(self._waiting, packet.dts)

    def lost(self, packet: Any) -> None:
        """It could not be decoded."""
        if packet.dts in self._waiting:
            self._waiting.remove(packet.dts)
            heapq.heapify(self._waiting)

    def give(self, picture: Any) -> None:
        """Set the time of a picture that comes out."""
        if self._delay is None:
            self._delay = self._skipped(picture)
        due = None
        while self._waiting:
            due = heapq.heappop(self._waiting)
            if picture.dts is None or (picture.dts - due) * picture.time_base <= LONGEST_DELAY_S:
                break
        picture.pts = None if due is None else due - self._delay

    def _skipped(self, first: Any) -> int:
        """Drop the times before that of the packet with which the first picture came out; returns how many ticks."""
        begin = self._waiting[0] if self._waiting else 0
        while first.dts is not None and self._waiting and self._waiting[0] < first.dts:
            heapq.heappop(self._waiting)
        return self._waiting[0] - begin if self._waiting else 0


class _Decoder:
    """One container, its video stream, and its faults so far."""

    def __init__(self, name: str, container: Any, stream: Any) -> None:
        self.stream = stream
        self._undecoded = 0
        self._name = name
        self._container = container
        self._reader = open_reader(container, name, clocked(container, stream), tell=True)
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = min(MAX_THREADS, os.cpu_count() or 1)
        self.upright = Upright(name)
        claimed = (stream.guessed_rate, stream.average_rate)
        self.rate = next((Fraction(rate) for rate in claimed if rate is not None and 0 < rate <= MAX_RATE), None)

    @property
    def skipped(self) -> int:
        return self._undecoded + self._reader.skipped

    def frame_count(self) -> int | None:
        """What the container's header says, or its duration allows."""
        if self.stream.frames > 0:
            return int(self.stream.frames)
        rate, duration = self.stream.average_rate or self.rate, self._container.duration
        return None if duration is None or rate is None else max(1, round(duration / av.time_base * float(rate)))

    def frames(self) -> Generator[Frame, None, None]:
        rising = Rising(1 / float(self.rate or 30))
        for index, picture in enumerate(self._pictures()):
            time = rising(picture.time)
            image = self.upright(self.stream, picture, time)
            yield Frame(image, index, time, aspect=float(self.upright.aspect))
        if self.skipped:
            bare = self._container.format.name == "rawvideo"  # which are only cut off, not corrupt
            hint = "; do --width, --height and bgr24 fit what is sent?" if bare else ""
            log.warning("%s: %d corrupt packets skipped%s", self._name, self.skipped, hint)

    def _pictures(self) -> Iterator[Any]:
        times = _DisplayTimes() if self._container.format.name == "avi" else None
        wanted = self.stream.index
        for packet in self._reader:
            number = packet.stream_index if packet.size else packet.stream.index  # at the end, its own number is 0
            if number != wanted:
                continue
            if times is not None:
                times.coming(packet)
            for picture in self._decoded(packet, times):
                if times is not None:
                    times.give(picture)
                yield picture
        if self._reader.gave_up:
            yield from self._decoded(None, times)

    def _decoded(self, packet: Any | None, times: _DisplayTimes | None) -> Sequence[Any]:
        """The pictures that a packet gives; None asks for those that the decoder still holds."""
        try:
            return self.stream.decode(packet)
        except av.FFmpegError as error:
            self._undecoded += 1
            log.debug("%s: packet skipped: %r: %s", self._name, packet, error)
            if times is not None and packet is not None:
                times.lost(packet)
            return ()


def open_container(path: Path) -> Any:
    """The film as a PyAV container, whatever its name and title.  Raises SourceError if it is missing or not a film."""
    try:
        # The prefix keeps FFmpeg from taking a name like concat:a or http:b for another protocol than a file.
        return av.open(f"file:{existing(path)}", options=_ONLY_FILMS | MOST_PIXELS, **LENIENT)
    except av.FFmpegError as error:
        raise SourceError(f"{path} cannot be read as a film: {_reason(path, error)}") from error


def _reason(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, av.EOFError):
        return "it ends before its first frame; get a complete copy"
    if isinstance(error, av.ArgumentError):
        return "it is a playlist or another list of films; give the films themselves"
    if not isinstance(error, av.InvalidDataError):
        return f"{error.strerror}; check the file and its permissions"
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return "it is empty; get a complete copy"
    if head[4:8] == b"ftyp":
        return "it starts as MP4 but its index (moov) is missing or damaged, probably cut off; get a complete copy"
    return "its content is no film format that FFmpeg knows; check that it is what its name says"


def chosen_picture(name: str, container: Any, number: int | None) -> Any:
    """The stream with FFmpeg's number `number`; for None the first one marked as default, else the first.

    Album covers and streams without a decoder do not count.  Raises SourceError, and closes the container, if there is
    no such stream; warns if there are others.
    """
    pictures = [stream for stream in container.streams.video if _moves(stream)]
    if number is None:
        main = [stream for stream in pictures if stream.disposition & av.stream.Disposition.default]
        chosen = next(iter(main or pictures), None)
    else:
        chosen = next((stream for stream in pictures if stream.index == number), None)
    if chosen is None:
        kinds = ", ".join("album cover" if _is_cover(each) else each.type for each in container.streams) or "nothing"
        told = f"contains no video that can be decoded (it contains: {kinds}); give a film with pictures"
        if pictures:
            told = f"has no video stream number {number}; it has {_listed(pictures)}"
        container.close()  # after which its streams say anything
        raise SourceError(f"{name} {told}")
    if number is None and len(pictures) > 1:
        told = "%s has several video streams: tracking %s, not %s; choose with --stream"
        log.warning(told, name, _listed([chosen]), _listed(stream for stream in pictures if stream is not chosen))
    chosen.codec_context.options = MOST_PIXELS
    return chosen


def clocked(container: Any, picture: Any) -> list[Any]:
    """The streams that make a film's clock: its picture and all its sounds that can be decoded.

    The sound that is marked as default comes first; in a broadcast, which marks none, one of the picture's programme.
    """
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    marked = [stream for stream in sounds if stream.disposition & av.stream.Disposition.default]
    related = container.streams.best("audio", related=picture) if container.format.name == "mpegts" else None
    main = next(iter(marked), related)
    return [picture, *sorted(sounds, key=lambda stream: stream is not main)]


def _moves(stream: Any) -> bool:
    return stream.codec_context is not None and not _is_cover(stream)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))


def _listed(pictures: Iterable[Any]) -> str:
    return ", ".join(f"{stream.index} ({stream.width}x{stream.height})" for stream in pictures)
