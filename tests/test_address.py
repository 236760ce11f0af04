"""Addresses as people type them."""

import pytest

from tracker.support.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("studio.local:1", Address("studio.local", 1)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]:9000", Address("fe80::1%eth0", 9000)),
    ],
)
def test_an_address_is_read_and_said_again_as_typed(text, address):
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9000",
        "host",
        "host:",
        ":9000",
        "host:port",
        "host:-1",
        "::1:9000",
        "a..b:9000",
        "a b:9000",
        "host:٣",
        "h:1\n",
    ],
)
def test_what_is_no_address_is_refused_with_what_was_expected(text):
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 127\.0\.0\.1:9000"):
        parse_address(text)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(ValueError, match=f"has port {port}, expected 1 to 65535"):
        parse_address(f"127.0.0.1:{port}")


def test_a_port_alone_is_enough_where_a_host_goes_without_saying():
    assert parse_address("8010", host="127.0.0.1") == Address("127.0.0.1", 8010)
    assert parse_address("0", host="127.0.0.1", lowest_port=0) == Address("127.0.0.1", 0)
    assert parse_address("10.0.0.7:8010", host="127.0.0.1") == Address("10.0.0.7", 8010)
    with pytest.raises(ValueError, match="is not PORT or HOST:PORT"):
        parse_address("talk.mp4", host="127.0.0.1")
