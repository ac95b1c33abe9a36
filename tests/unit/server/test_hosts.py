"""Which Host and Origin headers are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadHost
from penstock.server.hosts import check_headers, valid_host

LOOPBACK = [b"localhost", b"LOCALHOST:8787", b"127.0.0.1", b"127.0.0.1:1", b"127.255.255.254", b"[::1]", b"[::1]:8787"]
NAMES = [b"penstock", b"gate.example.com", b"gate.example.com.:443", b"10.0.0.7:8787", b"my_service:80", b"[fd00::7]:1"]
MALFORMED = [
    b"", b" ", b"x/admin?", b"x y", b"a@b", b"a:b", b"a:", b"a:123456", b"a:65536", b"[::1", b"::1", b"[1:2]",
    b"[::1]x", b"a..b", b".a", b"-a", b"a" * 64, b"a." * 130, b"\xff", b"a\x00", b"a,b", b"a#b", b"http://a", b"a\tb",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_always_pass(host: bytes) -> None:
    """With and without a port, in any case."""
    assert valid_host([host], open_mode=True)
    assert valid_host([host], open_mode=False)


@pytest.mark.parametrize("host", NAMES)
def test_other_names_pass_once_keys_are_asked_for(host: bytes) -> None:
    """In open mode they are what DNS rebinding looks like."""
    assert valid_host([host], open_mode=False)
    assert not valid_host([host], open_mode=True)


@pytest.mark.parametrize("host", MALFORMED)
def test_what_is_no_host_name_never_passes(host: bytes) -> None:
    """Whatever a proxy in front of us may make of it."""
    assert not valid_host([host], open_mode=False)
    assert not valid_host([host], open_mode=True)


@pytest.mark.parametrize(
    "host", [b"127.0.0.1.evil.example", b"localhost.evil.example", b"127.1", b"0.0.0.0", b"127.0.0.256"]
)
def test_names_that_only_look_like_loopback_are_not(host: bytes) -> None:
    """The whole name counts."""
    assert not valid_host([host], open_mode=True)


def test_there_is_one_host_header() -> None:
    """None or two is what smuggling looks like."""
    assert not valid_host([], open_mode=False)
    assert not valid_host([b"localhost", b"localhost"], open_mode=True)


def test_a_web_page_is_refused_in_open_mode_only() -> None:
    """Its Origin is the one thing that a page cannot hide."""
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    check_headers(headers, open_mode=False)
    with pytest.raises(BadHost, match="web pages"):
        check_headers(headers, open_mode=True)


@given(st.binary(max_size=40))
def test_any_bytes_get_a_verdict(host: bytes) -> None:
    """And what passes in open mode passes otherwise too."""
    assert valid_host([host], open_mode=True) <= valid_host([host], open_mode=False)
