"""Places as people type them, if they are no files: HOST:PORT and standard output.  Nothing is looked up here."""

import re
from pathlib import Path
from typing import NamedTuple

_LABEL = r"[^\s:\[\].]{1,63}"
_SHAPE = re.compile(
    rf"(?:(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|{_LABEL}(?:\.{_LABEL})*):)?(?P<port>\d{{1,5}})", re.ASCII
)

LOOPBACK = "127.0.0.1"

STDOUT = Path("-")
"""A name that means standard output."""


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
