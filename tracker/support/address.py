"""Places as people type them, if they are no files: HOST:PORT and standard output.  Nothing is looked up here."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

_LABEL = r"[^\s:\[\].]{1,63}"
_SHAPE = re.compile(
    rf"(?:(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|{_LABEL}(?:\.{_LABEL})*):)?(?P<port>\d{{1,5}})", re.ASCII
)

LOOPBACK = "127.0.0.1"

STDIN = STDOUT = Path("-")
"""A name that means standard input or output."""


def flows(path: Path) -> bool:
    """Whether it is standard output, a pipe or a device, also the null device: written at once, never replaced."""
    return path == STDOUT or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))


class Address(NamedTuple):
    """An address to send to or to listen at."""

    host: str
    """A name or an IPv4 or IPv6 address, without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, host: str | None = None, lowest_port: int = 1) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT`; also just `PORT` if `host` is given as the default.

    Raises ValueError with what was expected.
    """
    found = _SHAPE.fullmatch(text)
    if found is None or not (found["host"] or host):
        raise ValueError(f"{text!r} is not {'PORT or ' if host else ''}HOST:PORT, such as {LOOPBACK}:9000")
    port = int(found["port"])
    if not lowest_port <= port < 2**16:
        raise ValueError(f"{text!r} has port {port}, expected {lowest_port} to 65535")
    return Address((found["host"] or host or "").strip("[]"), port)


STREAMS = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "tcp", "udp")
"""What addresses of network cameras and streams begin with."""

FILES = frozenset({".avi", ".bmp", ".jpeg", ".jpg", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".png", ".webm", ".wmv"})
"""Names of films and pictures: an address by HTTP that ends so is that of a file, not of a stream."""


class StreamUrl(str):
    """The address of a network camera or a stream; it may hold a password, so show `shown` only."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """What it begins with, lower case."""
        return urlsplit(self).scheme.lower()

    @property
    def shown(self) -> str:
        """The address without user, password and query."""
        parts = urlsplit(self)
        return f"{self.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")

    def __repr__(self) -> str:
        return f"<{self.shown}>"


def stream_url(text: object) -> StreamUrl | None:
    """`text` as the address of a stream; None for whatever is none."""
    if not isinstance(text, str):
        return None
    scheme, separator, _ = text.partition("://")
    if not separator or scheme.lower() not in STREAMS:
        return None
    is_file = scheme.lower() in ("http", "https") and PurePosixPath(urlsplit(text).path).suffix.lower() in FILES
    return None if is_file else StreamUrl(text)
