"""Network cameras and streams through PyAV: the newest picture, with low delay, and reconnected after a drop-out.

In: a URL.  Out: Frames as a camera's, BGR uint8, timestamps in seconds since the first picture arrived.  A source with
an end, such as a film behind an HLS playlist, is read like a film instead: every frame, at its own time.  A playlist
may lead to other addresses of its own kind, and never to a file of this machine.
"""

import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import av

from tracker.errors import SourceError
from tracker.sources.contract import Source
from tracker.sources.film import LENIENT, MOST_PIXELS, Upright, chosen_picture, film_of
from tracker.sources.live import Shot, arrived, live
from tracker.support.address import StreamUrl
from tracker.types import Image

log = logging.getLogger(__name__)

OPEN_S = 15.0
READ_S = 10.0
"""How long a server may take to answer, and may send nothing."""
RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
"""Waiting times before reconnecting: the first, then twice as long each time, up to the second."""

_HTTP = "http,https,tcp,tls,crypto,data"
PROTOCOLS = {
    "http": _HTTP,
    "https": _HTTP,
    "rtsp": "rtsp,rtp,rtcp,udp,tcp,tls,crypto",
    "rtsps": "rtsp,rtsps,rtp,rtcp,srtp,udp,tcp,tls,crypto",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tcp,tls",
    "srt": "srt,udp",
    "tcp": "tcp",
    "udp": "udp",
}
"""The protocols that FFmpeg may use for such an address."""

LOW_DELAY = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "2000000", "max_delay": "500000"}
"""Pictures are passed on as they arrive; two seconds must suffice to recognise the stream."""


def open_stream(url: StreamUrl, stream: int | None = None, *, retry_s: float = RETRY_S) -> Source:
    """Connect and wait for the first picture; `stream` chooses one of several.

    Raises SourceError if there is no answer, or nothing can be decoded.
    """
    container, picture = _connect(url, stream)
    if container.duration is not None and container.duration > 0:
        container.close()
        return film_of(url.shown, _opened(url, low_delay=False), stream)
    line = _Line(url, stream, retry_s, Upright(url.shown))
    try:
        image = next(line.images(container, picture), None)
        if image is None:
            raise SourceError(f"{url.shown}: none of the pictures that it sends can be decoded")
    except BaseException:
        container.close()
        raise
    first = arrived(image)
    about = {"stream": picture.index, "sample_aspect": line.upright.aspect}
    return live(url.shown, first, line.shots(container, picture, first), line.stop, **about)


@dataclass(frozen=True, slots=True)
class _Line:
    """Connects, and reconnects until `stop`."""

    url: StreamUrl
    number: int | None
    retry_s: float
    upright: Upright
    stop: threading.Event = field(default_factory=threading.Event)

    def images(self, container: Any, picture: Any) -> Iterator[Image]:
        """Every picture until the connection ends, except those that cannot be decoded.  Raises FFmpeg's errors."""
        began = time.perf_counter()
        for packet in container.demux(picture):
            with suppress(av.InvalidDataError):
                for each in packet.decode():
                    yield self.upright(picture, each, time.perf_counter() - began)
            if self.stop.is_set():
                return

    def shots(self, container: Any, picture: Any, first: Shot) -> Generator[Shot, None, None]:
        """`first`, then all that follow, connected again whenever the connection ends."""
        wait_s = self.retry_s
        try:
            yield first
            while not self.stop.is_set():
                came = False
                with suppress(av.FFmpegError):
                    for image in self.images(container, picture):
                        came = True
                        yield arrived(image)
                container.close()
                wait_s = self.retry_s if came else min(2 * wait_s, LONGEST_RETRY_S)
                again = self._again(wait_s)
                if again is None:
                    return
                container, picture = again
        finally:
            container.close()

    def _again(self, wait_s: float) -> tuple[Any, Any] | None:
        """A new connection, as soon as there is one; None when `stop` comes first."""
        if not self.stop.is_set():
            log.warning("%s sends nothing more; connecting again", self.url.shown)
        while not self.stop.wait(wait_s):
            with suppress(SourceError):
                connected = _connect(self.url, self.number)
                log.warning("%s is back", self.url.shown)
                return connected
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)
        return None


def _connect(url: StreamUrl, number: int | None) -> tuple[Any, Any]:
    """A connection and the picture in it."""
    container = _opened(url, low_delay=True)
    picture = chosen_picture(url.shown, container, number)
    picture.thread_type = "SLICE"  # threads that share out frames keep some of them
    return container, picture


def _opened(url: StreamUrl, *, low_delay: bool) -> Any:
    """Raises SourceError, without the user's password.  With `low_delay` the beginning may be lost."""
    options = {"protocol_whitelist": PROTOCOLS[url.scheme]} | MOST_PIXELS | (LOW_DELAY if low_delay else {})
    if url.scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = "tcp"  # over UDP lost packets smear the picture
    try:
        return av.open(str(url), options=options, timeout=(OPEN_S, READ_S), **LENIENT)
    except av.ProtocolNotFoundError:
        raise SourceError(
            f"{url.shown} cannot be opened: this FFmpeg has no {url.scheme}; let another program read it: "
            f"ffmpeg -i {url.scheme}://... -f matroska - | fkp-track -"
        ) from None
    except av.FFmpegError as error:
        told = f"{url.shown} cannot be opened: {error.strerror}; check address, user and network"
        raise SourceError(told) from None  # FFmpeg's own error shows the password
