"""UDP datagrams to one receiver: sent immediately or dropped, so that no receiver can slow the tracker."""

import errno
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tracker.errors import SinkError
from tracker.support.address import Address
from tracker.types import Tracked

log = logging.getLogger(__name__)

Payloads = Callable[[Tracked], Iterable[bytes]]
"""One frame's result -> its datagrams."""

LARGEST_BYTES = 8192
"""The size to stay below: macOS refuses more than 9216 by default, IPv4 more than 65507."""


class Datagrams:
    """Sends every frame's `payloads` to one address, whether or not a program listens there."""

    def __init__(self, sock: socket.socket, where: Any, address: Address, payloads: Payloads) -> None:
        self._socket = sock
        self._where = where
        self._address = address
        self._payloads = payloads
        self._complained = False

    def write(self, tracked: Tracked) -> None:
        """Send one frame; it never waits and never fails."""
        for payload in self._payloads(tracked):
            self.send(payload)

    def send(self, payload: bytes) -> None:
        """Send one datagram, or drop it if it cannot be sent now; the first of several drops in a row is logged."""
        try:
            self._socket.sendto(payload, self._where)
            self._complained = False
        except OSError as error:
            if not self._complained:
                log.warning(
                    "cannot send to %s (%s); dropping datagrams until it recovers", self._address, error.strerror
                )
            self._complained = True

    def close(self) -> None:
        """Free the socket; a second call does nothing."""
        self._socket.close()


def open_datagrams(address: Address, payloads: Payloads) -> Datagrams:
    """A sink that sends datagrams to `address`; nothing is sent yet.

    Raises SinkError when the host is unknown or no network leads there.  UDP cannot tell whether a program listens.
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
    return Datagrams(sock, where, address, payloads)
