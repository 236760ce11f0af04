"""UDP datagrams to one receiver: sent immediately or dropped, so that no receiver can slow the tracker."""

import errno
import logging
import socket
from typing import Any

from tracker.errors import SinkError
from tracker.support.address import Address

log = logging.getLogger(__name__)

LARGEST_BYTES = 8192
"""The size to stay below: macOS refuses more than 9216 by default, IPv4 more than 65507."""


class Datagrams:
    """Sends to one address, whether or not a program listens there."""

    def __init__(self, sock: socket.socket, where: Any, address: Address) -> None:
        self._socket = sock
        self._where = where
        self._address = address
        self._complained = False

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


def open_datagrams(address: Address) -> Datagrams:
    """A socket for datagrams to `address`; nothing is sent yet.

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
    return Datagrams(sock, where, address)
