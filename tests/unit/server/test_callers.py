"""Whose address a request comes from: proxies are believed, and nobody else."""

import pytest

from penstock.server.callers import Callers

TRUSTED = ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")
FROM_PROXY = [
    (b"198.51.100.1", "198.51.100.1"),
    (b"203.0.113.9, 198.51.100.1", "198.51.100.1"),
    (b"198.51.100.1, 10.9.9.9", "198.51.100.1"),
    (b"203.0.113.9,198.51.100.1 , 192.0.2.7,10.0.0.2", "198.51.100.1"),
    (b"10.0.0.9, 10.0.0.2", "10.0.0.9"),
    (b"2001:db9::1, 2001:db8::2", "2001:db9::1"),
    (b"::ffff:198.51.100.1", "198.51.100.1"),
    (b"198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
    (b"198.51.100.1, unknown", "10.0.0.1"),
    (b"198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
    (b"198.51.100.1:4711", "10.0.0.1"),
    (b"_hidden", "10.0.0.1"),
    (b"", "10.0.0.1"),
    (b", ,", "10.0.0.1"),
    (b"\xff\xfe", "10.0.0.1"),
]


@pytest.mark.parametrize(("forwarded", "wanted"), FROM_PROXY)
def test_trusted_proxies_say_who_came_to_them(forwarded: bytes, wanted: str) -> None:
    """From the right, past those that are trusted; what is no address ends the way."""
    assert Callers(TRUSTED).address("10.0.0.1", forwarded) == wanted


@pytest.mark.parametrize("peer", ["198.51.100.5", "11.0.0.1", "2001:db9::1", "", "unix"])
def test_others_say_nothing_that_counts(peer: str) -> None:
    """Their own address does."""
    assert Callers(TRUSTED).address(peer, b"203.0.113.9") == peer


@pytest.mark.parametrize("peer", ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.7", "2001:db8:1::1"])
def test_a_trusted_peer_is_one_of_the_list(peer: str) -> None:
    """By address or network; one of IPv4 told in IPv6 too."""
    assert Callers(TRUSTED).address(peer, b"203.0.113.9") == "203.0.113.9"


def test_nobody_is_two_callers() -> None:
    """An address of IPv4 told in IPv6 is that address."""
    assert Callers(TRUSTED).address("::ffff:198.51.100.5", None) == "198.51.100.5"


def test_where_nobody_is_trusted_nobody_is_believed() -> None:
    """The default."""
    assert Callers(()).address("127.0.0.1", b"203.0.113.9") == "127.0.0.1"


def test_without_the_header_it_is_the_peer() -> None:
    """A proxy's own request."""
    assert Callers(TRUSTED).address("10.0.0.1", None) == "10.0.0.1"
