"""Sound and subtitles of the source film, copied into the annotated one.

In: the film's audio packets, on its common clock.  Out: the same packets if the new container can hold their codec,
else AAC.  Subtitles that the container cannot hold are left out.  The decoded sound counts, not the container's claims:
layout, rate and format may change at any packet.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av

from tracker.errors import SourceError
from tracker.sources.film import clocked, open_container
from tracker.sources.timeline import Reader, open_reader

log = logging.getLogger(__name__)

_COMMON = frozenset({"aac", "ac3", "alac", "eac3", "mp3"})
CARRIED: dict[str, frozenset[str]] = {
    ".mp4": _COMMON | {"flac", "opus"},
    ".mov": _COMMON | {"pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"},
    ".mkv": _COMMON | {"dts", "flac", "opus", "pcm_s16le", "pcm_s24le", "vorbis"},
}
"""Codecs that are copied untouched, because common players expect them in that container; others become AAC."""

TEXTS: dict[str, frozenset[str]] = {
    ".mp4": frozenset({"mov_text"}),
    ".mov": frozenset({"mov_text"}),
    ".mkv": frozenset({"ass", "dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "subrip", "webvtt"}),
}
"""Subtitles that a container can hold."""

AAC_MAX_RATE_HZ = 48_000
AAC_BITS_PER_CHANNEL = 96_000
SYNC_TOLERANCE_S = 0.05
"""If decoded sound and its time stamps differ by more, silence fills the gap or sound is cut; WMA's stamps jump by
28 ms, and its first one is 64 ms off."""

PACKETS_TRIED = 200
"""How many packets of a sound may fail to decode before it counts as undecodable: some seconds of it."""

PATIENCE_S = 60.0
"""After this much sound without a picture, the picture has ended."""


class _Carried:
    """A sound track and its state."""

    def __init__(self, name: str, track: "_Copied | _Encoded") -> None:
        self.name = name
        self.written = 0
        self.seen = 0
        self.failure: str | None = None
        self._track = track
        self._reached_s = 0.0

    def take(self, packet: Any | None) -> Iterator[Any]:
        """Packets for the output; none after a failure.  None asks for what is left."""
        if self.failure is not None:
            return
        self.seen += packet is not None
        try:
            for ready in self._track.end() if packet is None else self._track.take(packet):
                self.written += 1
                self._reached_s = float(ready.dts * ready.time_base)
                yield ready
        except (av.FFmpegError, ValueError) as error:
            self.failure = getattr(error, "strerror", None) or str(error)
            if self.written:
                log.warning("%s ends at %.2f s: %s", self.name, self._reached_s, self.failure)

    def tell_loss(self) -> None:
        """Warn if there was sound and nothing or only a part of it arrived."""
        if self.seen and not self.written:
            why = self.failure or f"none of its {self.seen} packets can be decoded"
            log.warning("%s is lost completely: %s", self.name, why)
        elif self._track.lost:
            told = "%s has gaps: %d of its %d packets cannot be decoded"
            log.warning(told, self.name, self._track.lost, self.seen)


@dataclass(slots=True, eq=False)
class Sound:
    """Puts the film's audio packets and subtitles between the picture's, as far as the picture has come.

    Without arguments it is silent, for sources without sound.
    """

    mux: Callable[[Any], None] = lambda packet: None
    reader: Reader | None = None
    picture: int = -1
    """The source's number of its picture's stream."""
    tracks: dict[int, _Carried] = field(default_factory=dict)
    """By the source's number of their streams, like the output's `texts`."""
    texts: dict[int, Any] = field(default_factory=dict)
    _picture_s: float = -math.inf
    """How far the source's picture has come that was passed over."""
    _reached_s: float = -math.inf
    _packets: Iterator[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._packets = self._read()

    def write_until(self, time_s: float) -> None:
        """Write packets until one lies past `time_s`.  Raises FFmpeg's errors when the output cannot be written."""
        while self._reached_s <= time_s:
            packet = next(self._packets, None)
            if packet is None:
                self._reached_s = math.inf
                return
            self._write(packet)

    def finish(self, picture_end_s: float, period_s: float) -> None:
        """Write the rest: all of it if the picture reached the film's end, else nothing after the picture."""
        self.write_until(picture_end_s)
        held = []
        for packet in self._packets:
            if self._picture_s > picture_end_s + period_s:
                break  # the run was stopped early
            held.append(packet)
            if packet.dts * packet.time_base > picture_end_s + PATIENCE_S:
                held += self._packets
        else:
            for packet in held:
                self._write(packet)

    def close(self) -> None:
        """Free the source, and say what was lost of it."""
        for track in self.tracks.values():
            track.tell_loss()
        if self.reader is not None:
            self.reader.container.close()

    def _write(self, packet: Any) -> None:
        if packet.stream.type == "audio":
            self._reached_s = float(packet.dts * packet.time_base)
        self.mux(packet)

    def _read(self) -> Iterator[Any]:
        try:
            for packet in self.reader or ():
                if packet.stream_index == self.picture:
                    if packet.dts is not None:
                        self._picture_s = max(self._picture_s, float(packet.dts * packet.time_base))
                elif packet.size and packet.stream_index in self.tracks:
                    yield from self.tracks[packet.stream_index].take(packet)
                elif packet.stream_index in self.texts and packet.size and (packet.pts or 0) >= 0:
                    packet.stream = self.texts[packet.stream_index]
                    yield packet
        except SourceError as error:
            log.warning("the sound ends: %s", error)
        for track in self.tracks.values():
            yield from track.take(None)


def open_sound(film: Path, picture: int, output: Any, suffix: str, *, texts: bool) -> Sound:
    """Add the film's audio streams, the main one first, to `output`, a PyAV container with `suffix` before its start.

    With `texts` its subtitles follow.  `picture` is the number of the stream that is tracked.  Without an audio stream,
    or if it cannot be read, the answer is silent, with a warning in the second case.
    """
    try:
        source = open_container(film)
    except SourceError as error:
        log.warning("no sound: %s", error)
        return Sound()
    streams = clocked(source, source.streams[picture])
    unknown = [stream for stream in source.streams.audio if stream.codec_context is None]
    if unknown:
        log.warning("%s: left out %d sound tracks of an unknown codec", film, len(unknown))
    tracks = {}
    for number, stream in enumerate(streams[1:], start=1):
        name = "the sound" if number == 1 else f"sound {number}"
        track = _track(film, stream, output, suffix, name)
        if track is not None:
            tracks[stream.index] = _Carried(name, track)
    held = [stream for stream in source.streams.subtitles if texts and is_text_for(suffix, stream)]
    copies = {stream.index: _name_alike(stream, output.add_stream_from_template(stream)) for stream in held}
    reader = open_reader(source, str(film), streams, tell=False, texts=held)
    return Sound(output.mux, reader, picture, tracks, copies)


def is_text_for(suffix: str, stream: Any) -> bool:
    """Whether the stream is a subtitle that such an output can hold."""
    context = stream.codec_context
    return stream.type == "subtitle" and context is not None and context.codec.canonical_name in TEXTS[suffix]


def _track(film: Path, stream: Any, output: Any, suffix: str, name: str) -> "_Copied | _Encoded | None":
    """Prepare a stream of `output` for one of the source; None, and a warning, if that cannot be done."""
    codec = stream.codec_context.codec.canonical_name
    if codec in CARRIED[suffix]:
        return _Copied(stream, _name_alike(stream, output.add_stream_from_template(stream)))
    first = _first_frame(film, stream.index)
    encoder = None if first is None else _aac_for(first)
    if encoder is None:
        layout = stream.layout.name if first is None else first.layout.name
        log.warning("%s is left out: %s %s cannot become AAC", name, codec, layout)
        return None
    log.info("%s becomes AAC, because %s does not go into %s files", name, codec, suffix)
    target = _name_alike(stream, output.add_stream("aac", rate=encoder.sample_rate, layout=encoder.layout.name))
    target.bit_rate = AAC_BITS_PER_CHANNEL * encoder.layout.nb_channels
    return _Encoded(encoder, target.encode)


def _name_alike(stream: Any, target: Any) -> Any:
    """`target` with the language and the title of `stream`."""
    for key in ("language", "title"):
        if key in stream.metadata:
            target.metadata[key] = stream.metadata[key]
    return target


def _first_frame(film: Path, index: int) -> Any | None:
    """What the decoder makes of the first packet that decodes: containers claim another layout, rate or format."""
    with open_container(film) as container, suppress(av.FFmpegError):
        for number, packet in zip(count(), container.demux(container.streams[index]), strict=False):
            with suppress(av.InvalidDataError):
                for frame in packet.decode():
                    return frame
            if number == PACKETS_TRIED:
                break
    return None


class _Copied:
    """Packets as they are, with rising times: `take` gives what one packet of the source makes, `end` what is left.

    Each lasts until the next one if its container does not say how long: Matroska does not, and the last packet of a
    fragment would have no length.  Broadcast AAC has a header in each packet, AAC in a file has one for all: if the
    headers, or what the packets begin with, change in mid-film, the rest is encoded again.
    """

    def __init__(self, stream: Any, target: Any) -> None:
        self._stream = stream
        self._target = target
        self._held: Any = None
        self._again: _Encoded | None = None
        self._kind: bytes | None = None
        context = stream.codec_context
        self._is_aac = context.codec.canonical_name == "aac"
        framed = self._is_aac and not context.extradata
        self._without_headers = av.BitStreamFilterContext("aac_adtstoasc", stream) if framed else None

    def take(self, packet: Any) -> Iterator[Any]:
        if self._again is None and self._is_aac and self._has_changed(packet):
            self._again = _Encoded(_aac(self._stream.sample_rate, self._stream.layout.name))
            log.info("the sound changes during the film and becomes %s there", self._stream.layout.name)
        if self._again is not None:
            yield from self._lasting(self._again.take(packet))
        elif self._without_headers is not None:
            yield from self._lasting(self._without_headers.filter(packet))
        else:
            yield from self._lasting([packet])

    def end(self) -> Iterator[Any]:
        if self._again is not None:
            yield from self._lasting(self._again.end())
        elif self._without_headers is not None:
            yield from self._lasting(self._without_headers.filter(None))
        if self._held is not None:
            yield self._held

    @property
    def lost(self) -> int:
        return 0 if self._again is None else self._again.lost

    def _has_changed(self, packet: Any) -> bool:
        """Whether AAC is coded in another way from this packet on than it was at first."""
        is_first = self._kind is None
        kind = _adts_kind(packet) if self._without_headers is not None else _raw_kind(packet)
        self._kind = self._kind or kind or b""
        return not is_first and (kind not in (b"", self._kind) or packet.has_sidedata("new_extradata"))

    def _lasting(self, packets: Iterator[Any] | Sequence[Any]) -> Iterator[Any]:
        for packet in packets:
            held = self._held
            if packet.dts is None or (held is not None and _start(packet) <= _start(held)):
                continue  # repeated times, which no container takes
            if held is not None:
                held.duration = held.duration or round((_start(packet) - _start(held)) / held.time_base)
                yield held
            packet.stream = self._target
            self._held = packet


def _adts_kind(packet: Any) -> bytes:
    """Profile, rate and channels by the header of an AAC packet of a broadcast; empty if it has none."""
    header = bytes(memoryview(packet)[2:4])
    return bytes((header[0] & 0xFD, header[1] & 0xC0)) if len(header) == 2 else b""


def _raw_kind(packet: Any) -> bytes:
    """What an AAC packet without header begins with: one channel (0) or a pair (1); empty if with something else."""
    head = bytes(memoryview(packet)[:1])
    return bytes((head[0] >> 5,)) if head and head[0] >> 5 in (0, 1) else b""


def _start(packet: Any) -> Any:
    return packet.dts * packet.time_base


class _Encoded:
    """Decoded, brought into the encoder's form whatever form it has, laid on the clock, and encoded."""

    def __init__(self, encoder: Any, encode: Callable[[Any], Sequence[Any]] | None = None) -> None:
        """`encode` is that of the output's own encoder, which opens like `encoder`; without it `encoder` encodes."""
        self.lost = 0
        """Packets that could not be decoded; silence takes their place."""
        self._encoder = encoder
        self._encode = encode or encoder.encode
        self._graph = _filling_gaps(encoder)
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._next_pts: int | None = None

    def take(self, packet: Any) -> Iterator[Any]:
        for frame in self._decoded(packet):
            form = frame.format.name, frame.layout.name, frame.sample_rate, frame.time_base
            if form != self._form:
                yield from self._pushed(self._rest())
                self._form, self._resampler = form, _resampler_to(self._encoder)
            yield from self._pushed(self._resampler.resample(frame))

    def end(self) -> Iterator[Any]:
        yield from self._pushed([*self._rest(), None])
        yield from self._encode(None)

    def _rest(self) -> list[Any]:
        """The rest of the sound in the resampler of the previous form."""
        if self._resampler is None:
            return []
        return [frame for frame in self._resampler.resample(None) if frame is not None]

    def _pushed(self, frames: Sequence[Any]) -> Iterator[Any]:
        """Through the filter and the encoder, as far as both have something ready."""
        tick = Fraction(1, self._encoder.sample_rate)
        for frame in frames:
            if frame is not None:
                frame.pts, frame.time_base = round(frame.pts * frame.time_base / tick), tick
            self._graph.push(frame)
            with suppress(av.BlockingIOError, av.EOFError):
                while True:
                    yield from self._encode(self._graph.pull())

    def _decoded(self, packet: Any) -> Iterator[Any]:
        """The frames, each with a time; a corrupt packet gives none, and its gap is filled later."""
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            self.lost += 1
            return
        for frame in frames:
            if frame.pts is None:
                frame.pts = self._next_pts  # as decoders leave the last ones
            if frame.pts is not None:
                self._next_pts = frame.pts + round(frame.samples / frame.sample_rate / frame.time_base)
                yield frame


def _aac_for(frame: Any) -> Any | None:
    """An AAC encoder for sound like that of `frame`; None if no layout works.

    It is not the output's own: that one opens only with the first packet, when it is too late to leave it out.
    """
    for name in _layouts(frame.layout):
        with suppress(av.FFmpegError, ValueError):  # the second if a damaged film has no channels or rate
            encoder = _aac(frame.sample_rate, name)
            _resampler_to(encoder).resample(frame)
            return encoder
    return None


def _resampler_to(encoder: Any) -> Any:
    """Converts frames of one form into the encoder's."""
    return av.AudioResampler(encoder.format, encoder.layout, encoder.sample_rate)


def _layouts(layout: Any) -> list[str]:
    """The sound's own, which AAC may not know, the usual one with as many channels if there is one, and stereo."""
    usual = f"{layout.nb_channels}c"
    try:
        return [layout.name, av.AudioLayout(usual).name, "stereo"]
    except ValueError:
        return [layout.name, "stereo"]


def _aac(rate_hz: int, layout: str) -> Any:
    """An open encoder with the nearest rate that AAC has.  Raises FFmpeg's error if it does not take `layout`."""
    encoder: Any = av.CodecContext.create("aac", "w")
    rates = [rate for rate in encoder.codec.audio_rates if rate <= AAC_MAX_RATE_HZ]
    encoder.sample_rate = min(rates, key=lambda rate: abs(rate - rate_hz))
    encoder.layout, encoder.format = layout, encoder.codec.audio_formats[0]
    encoder.bit_rate = AAC_BITS_PER_CHANNEL * encoder.layout.nb_channels
    encoder.open()
    return encoder


def _filling_gaps(encoder: Any) -> Any:
    """A filter for frames in the encoder's form that fills gaps with silence, so that sync survives them."""
    graph = av.filter.Graph()
    form = {"sample_rate": encoder.sample_rate, "format": encoder.format.name, "layout": encoder.layout.name}
    graph.link_nodes(
        graph.add_abuffer(**form, time_base=f"1/{encoder.sample_rate}"),
        graph.add("aresample", f"async=1:min_hard_comp={SYNC_TOLERANCE_S}"),
        graph.add("aformat", f"sample_fmts={encoder.format.name}:channel_layouts={encoder.layout.name}"),
        graph.add("abuffersink"),
    ).configure()
    return graph
