"""Keypoints as datagrams, received by a real socket."""

import json
import logging
import socket

import pytest
from test_keypoints_record import tracked

from tracker.errors import SinkError
from tracker.sinks.keypoints.datagrams import LARGEST_BYTES, open_datagrams
from tracker.sinks.keypoints.record import record_of
from tracker.sinks.keypoints.udp import open_udp
from tracker.support.address import Address


def address_of(sock):
    return Address(*sock.getsockname()[:2])


def send(address, *results):
    sink = open_udp(address)
    for result in results:
        sink.write(result)
    sink.close()
    sink.close()


def received(sock):
    """The records sent so far, up to and with frame 99."""
    records = []
    while not records or records[-1]["frame"] != 99:
        payload = sock.recv(65536)
        assert payload.endswith(b"}\n")
        assert len(payload) <= LARGEST_BYTES
        records.append(json.loads(payload))
    return records


def test_every_frame_is_one_datagram_with_the_record_that_files_hold(receiver):
    results = [tracked(0, 2), tracked(1, 0), tracked(99, 1)]
    send(address_of(receiver), *results)
    assert received(receiver) == [record_of(result) for result in results]


def test_a_crowd_comes_in_several_datagrams_of_one_frame(receiver):
    crowd = tracked(7, 50)
    send(address_of(receiver), crowd, tracked(99, 0))
    *parts, _ = received(receiver)
    assert len(parts) > 1
    assert {part["frame"] for part in parts} == {7}
    assert [part.get("more") for part in parts] == [True] * (len(parts) - 1) + [None]
    assert [face for part in parts for face in part["faces"]] == record_of(crowd)["faces"]


def test_nobody_needs_to_listen(receiver):
    address = address_of(receiver)
    receiver.close()
    send(address, *(tracked(index, 1) for index in range(20)))


def test_a_receiver_that_never_reads_holds_nothing_up(receiver):
    send(address_of(receiver), *(tracked(index, 5) for index in range(1000)))


def test_a_receiver_that_comes_late_misses_no_later_frame(receiver):
    address = address_of(receiver)
    receiver.close()
    sink = open_udp(address)
    sink.write(tracked(0, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(address)
        late.settimeout(5)
        sink.write(tracked(99, 1))
        assert [record["frame"] for record in received(late)] == [99]
    sink.close()


def test_what_cannot_leave_now_is_dropped_and_said_once(receiver, caplog):
    datagrams = open_datagrams(address_of(receiver), lambda payload: [payload])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            datagrams.write(b"x" * 70_000)  # more than any IPv4 datagram holds
        assert len(caplog.records) == 1
        datagrams.write(b"fits")
        assert receiver.recv(100) == b"fits"
        datagrams.write(b"x" * 70_000)
        assert len(caplog.records) == 2
    datagrams.close()


def test_localhost_reaches_a_receiver_on_127_0_0_1(receiver):
    send(Address("localhost", address_of(receiver).port), tracked(99, 0))
    assert len(received(receiver)) == 1


@pytest.mark.parametrize("host", ["fe80::1%nowhere", "255.255.255.255"])
def test_an_address_that_cannot_be_reached_is_one_message(host):
    with pytest.raises(SinkError, match=r"cannot send to .*:9000: .*; check host and network"):
        open_udp(Address(host, 9000))
