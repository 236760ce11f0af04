"""UDP datagrams to one receiver: sent immediately or dropped, so that no receiver can slow the tracker."""

import errno
import logging
import socket
from collections.abc import Callable, Iterable

from tracker.errors import SinkError
from tracker.sinks.contract import Sink, Writer
from tracker.support.address import Address
from tracker.types import Tracked

log = logging.getLogger(__name__)

Payloads = Callable[[Tracked], Iterable[bytes]]
"""One frame's result -> its datagrams."""

LARGEST_BYTES = 8192
"""The size to stay below: macOS refuses more than 9216 by default, IPv4 more than 65507."""


def open_datagrams(address: Address, payloads: Payloads) -> Sink:
    """Sends every frame's `payloads` to one address, whether or not a program listens there; it never waits.

    A datagram that cannot be sent now is dropped; the first of several drops in a row is logged.  Raises SinkError when
    the host is unknown or no network leads there; UDP cannot tell whether a program listens.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        # Receivers listen on 127.0.0.1 more often than on ::1, and localhost may be both.
        family, kind, protocol, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(where)  # asks for a route; no datagram leaves
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        broadcast = " (broadcast addresses are not supported)" if error.errno == errno.EACCES else ""
        raise SinkError(f"cannot send to {address}: {error.strerror}{broadcast}; check host and network") from error
    sock.setblocking(False)
    failing = False

    def write(tracked: Tracked) -> None:
        nonlocal failing
        for payload in payloads(tracked):
            try:
                sock.sendto(payload, where)
                failing = False
            except OSError as error:
                if not failing:
                    log.warning("cannot send to %s (%s); dropping datagrams until it recovers", address, error.strerror)
                failing = True

    return Writer(write, sock.close)
