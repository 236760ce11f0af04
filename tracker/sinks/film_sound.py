"""The sound of the source film, carried into the annotated one.

In: the film's audio packets.  Out: the same packets where the new container can hold their codec, else AAC.  Their
times count from the container's start, as the frames' timestamps do, so sound and picture keep their distance.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from tracker.errors import SourceError
from tracker.sources.film import open_container

log = logging.getLogger(__name__)

_COMMON = frozenset({"aac", "ac3", "alac", "eac3", "mp3"})
CARRIED: dict[str, frozenset[str]] = {
    ".mp4": _COMMON | {"flac", "opus"},
    ".mov": _COMMON | {"pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"},
    ".mkv": _COMMON | {"dts", "flac", "opus", "pcm_s16le", "pcm_s24le", "vorbis"},
}
"""Codecs that are copied untouched, because common players expect them in that container; others become AAC."""

AAC_MAX_RATE_HZ = 48_000
AAC_BITS_PER_CHANNEL = 96_000
SYNC_TOLERANCE_S = 0.05
"""Where decoded sound and its time stamps drift further apart, silence fills in or sound is cut; WMA's stamps jump by
28 ms, and its first one is 64 ms off."""


class Sound:
    """Puts the film's audio packets between the picture's, as far as the picture has come."""

    def __init__(
        self, packets: Iterator[Any], mux: Callable[[Any], None], close: Callable[[], None], film_end_s: float
    ) -> None:
        self._packets = packets
        self._mux = mux
        self._close = close
        self._film_end_s = film_end_s
        self._reached_s = -math.inf

    def write_until(self, time_s: float) -> None:
        """Write packets until one lies past `time_s`.  Raises FFmpeg's errors when the output cannot be written."""
        while self._reached_s <= time_s:
            packet = self._next()
            if packet is None:
                self._reached_s = math.inf
                return
            self._reached_s = float(packet.dts * packet.time_base)
            self._mux(packet)

    def finish(self, picture_end_s: float, period_s: float) -> None:
        """Write the rest: all of it where the picture has run to the film's end, else none past the picture."""
        stopped_early = picture_end_s < self._film_end_s - period_s
        self.write_until(picture_end_s if stopped_early else math.inf)

    def close(self) -> None:
        self._close()

    def _next(self) -> Any:
        """The next packet; None at the end, and where the sound is damaged beyond reading on."""
        try:
            return next(self._packets, None)
        except av.FFmpegError as error:
            log.warning("the sound ends at %.2f s: %s", max(self._reached_s, 0), error.strerror)
            return None


def silence() -> Sound:
    """For sources without sound."""
    return Sound(iter(()), lambda packet: None, lambda: None, math.inf)


def open_sound(film: Path, output: Any, suffix: str) -> Sound:
    """Add the first choice of the film's audio streams to `output`, a PyAV container not yet begun with `suffix`.

    Without an audio stream, or where it cannot be read, the answer is silent, with a warning in the second case.
    """
    try:
        source = open_container(film)
    except SourceError as error:
        log.warning("no sound: %s", error)
        return silence()
    stream = source.streams.best("audio")
    if stream is None or stream.codec_context is None:
        if stream is not None:
            log.warning("%s: its sound is left out, because its codec is unknown", film)
        source.close()
        return silence()
    origin_s = (source.start_time or 0) / av.time_base
    packets = _packets(source, stream, output, suffix, origin_s)
    return Sound(packets, output.mux, source.close, _picture_end_s(source) - origin_s)


def _picture_end_s(source: Any) -> float:
    """Where the film's picture ends, s on its own clock; of the whole container where the picture does not say."""
    video = source.streams.best("video")
    if video is not None and video.duration is not None:
        end = ((video.start_time or 0) + video.duration) * video.time_base
    elif source.duration is not None:
        end = ((source.start_time or 0) + source.duration) / av.time_base
    else:
        return math.inf
    return float(end)


def _packets(source: Any, stream: Any, output: Any, suffix: str, origin_s: float) -> Iterator[Any]:
    """Prepare a stream of `output` now, and yield its packets when asked for."""
    codec = stream.codec_context.codec.canonical_name
    if codec in CARRIED[suffix]:
        return _copied(source, stream, output.add_stream_from_template(stream), origin_s)
    way = _way_to_aac(stream)
    if way is None:
        log.warning("the sound is left out, because %s of %s cannot become AAC", codec, stream.layout.name)
        return iter(())
    log.info("the sound becomes AAC, because %s is not for %s files", codec, suffix)
    encoder, graph = way
    return _as_aac(source, stream, graph, _add_like(encoder, output), origin_s)


def _copied(source: Any, stream: Any, target: Any, origin_s: float) -> Iterator[Any]:
    for packet in _lasting(_unframed(source, stream)):
        shift = round(origin_s / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = target
        yield packet


def _lasting(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets with rising times, each as long as until the next where its container does not say: Matroska's do
    not, and the last one of a fragment would have no length."""
    held = None
    for packet in packets:
        if packet.dts is None or (held is not None and packet.dts <= held.dts):
            continue  # the empty packet at the end, and repeated times, which no container takes
        if held is not None:
            held.duration = held.duration or packet.dts - held.dts
            yield held
        held = packet
    if held is not None:
        yield held


def _unframed(source: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets; AAC as broadcast, each packet with its own ADTS header, becomes AAC as in a file."""
    if stream.codec_context.codec.canonical_name != "aac" or stream.codec_context.extradata:
        yield from source.demux(stream)
        return
    without_headers = av.BitStreamFilterContext("aac_adtstoasc", stream)
    for packet in source.demux(stream):
        yield from without_headers.filter(packet if packet.size else None)


def _way_to_aac(stream: Any) -> tuple[Any, Any] | None:
    """An AAC encoder that opens for such sound, and the filter from decoded frames to it; None where no layout works.

    The encoder is not the output's own: that one opens only with the first packet, when it cannot be left out any more.
    """
    for layout in _layouts(stream.layout):
        with suppress(av.FFmpegError, ValueError):  # the second where a damaged film has no channels or rate
            encoder = _aac(stream.sample_rate, layout)
            return encoder, _to_format_of(stream, encoder)
    return None


def _layouts(layout: Any) -> list[str]:
    """The sound's own, which AAC may not know, the usual one of as many channels where there is one, and stereo."""
    usual = f"{layout.nb_channels}c"
    try:
        return [layout.name, av.AudioLayout(usual).name, "stereo"]
    except ValueError:
        return [layout.name, "stereo"]


def _aac(rate_hz: int, layout: str) -> Any:
    """An open encoder with the nearest rate that AAC has.  Raises FFmpeg's error where it does not take `layout`."""
    encoder: Any = av.CodecContext.create("aac", "w")
    rates = [rate for rate in encoder.codec.audio_rates if rate <= AAC_MAX_RATE_HZ]
    encoder.sample_rate = min(rates, key=lambda rate: abs(rate - rate_hz))
    encoder.layout, encoder.format = layout, encoder.codec.audio_formats[0]
    encoder.open()
    return encoder


def _add_like(encoder: Any, output: Any) -> Any:
    target = output.add_stream("aac", rate=encoder.sample_rate, layout=encoder.layout.name)
    target.bit_rate = AAC_BITS_PER_CHANNEL * encoder.layout.nb_channels
    return target


def _as_aac(source: Any, stream: Any, graph: Any, target: Any, origin_s: float) -> Iterator[Any]:
    for frame in _decoded(source, stream):
        frame.pts -= round(origin_s / frame.time_base)
        graph.push(frame)
        yield from _encoded(graph, target)
    graph.push(None)
    yield from _encoded(graph, target)
    yield from target.encode(None)


def _to_format_of(stream: Any, encoder: Any) -> Any:
    """A filter from decoded frames to the encoder's format that fills gaps with silence, so that sync survives them."""
    graph = av.filter.Graph()
    formats = f"sample_fmts={encoder.format.name}:sample_rates={encoder.sample_rate}"
    graph.link_nodes(
        graph.add_abuffer(template=stream),
        graph.add("aresample", f"async=1:min_hard_comp={SYNC_TOLERANCE_S}"),
        graph.add("aformat", f"{formats}:channel_layouts={encoder.layout.name}"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _decoded(source: Any, stream: Any) -> Iterator[Any]:
    """The frames, each with a time; corrupt packets give none, and their gap is filled later."""
    next_pts = None
    for packet in source.demux(stream):
        with suppress(av.InvalidDataError):
            for frame in packet.decode():
                if frame.pts is None:
                    frame.pts = next_pts  # as decoders leave the last ones
                if frame.pts is not None:
                    next_pts = frame.pts + round(frame.samples / frame.sample_rate / frame.time_base)
                    yield frame


def _encoded(graph: Any, target: Any) -> Iterator[Any]:
    """What the filter has ready, encoded."""
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield from target.encode(graph.pull())
