"""The head of a request: what its headers ask, and which of them are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadRequest
from penstock.server.head import read_asked, read_headers, read_timeout

LOOPBACK = (b"host", b"127.0.0.1:8787")


def asked_timeout(*lines: tuple[bytes, bytes]) -> float | None:
    """The timeout of a request with these header lines."""
    headers = read_headers({"headers": [LOOPBACK, *lines]}, open_mode=True)
    return read_asked("chat", headers).timeout_s


@pytest.mark.parametrize("name", [b"timeout", b"x-penstock-timeout"])
@pytest.mark.parametrize(("value", "seconds"), [(b"30", 30.0), (b"2.5", 2.5), (b"0.001", 0.001), (b"86400", 86400.0)])
def test_a_timeout_is_seconds(name: bytes, value: bytes, seconds: float) -> None:
    """Under either name."""
    assert asked_timeout((name, value)) == seconds


def test_nothing_asked_is_nothing_narrowed() -> None:
    """Also where other headers ask something."""
    assert asked_timeout() is None
    assert asked_timeout((b"x-penstock-tags", b"a=b")) is None


def test_the_shorter_of_two_timeouts_counts() -> None:
    """A proxy may have added one."""
    assert asked_timeout((b"timeout", b"30"), (b"x-penstock-timeout", b"4")) == 4.0


@pytest.mark.parametrize(
    "value", [b"", b"0", b"0.0", b"-1", b"30s", b"1e3", b"inf", b"nan", b"1_0", b"\xb2", b"1 2", b"9" * 400, b"ten"]
)
def test_what_is_no_time_is_refused(value: bytes) -> None:
    """By the name of its header."""
    with pytest.raises(BadRequest, match=r"timeout: .* is no number of seconds above 0"):
        asked_timeout((b"timeout", value))


def test_two_different_timeouts_of_one_name_are_refused() -> None:
    """It is no list."""
    with pytest.raises(BadRequest, match="two different timeout headers"):
        asked_timeout((b"timeout", b"30"), (b"timeout", b"31"))


@pytest.mark.parametrize("name", [b"x-stainless-timeout", b"x-stainless-read-timeout"])
def test_what_sdks_tell_of_themselves_narrows_nothing(name: bytes) -> None:
    """They say 600 by default, ``NOT_GIVEN`` in some versions, and mean silence."""
    assert asked_timeout((name, b"600")) is None
    assert asked_timeout((name, b"NOT_GIVEN")) is None


@given(st.binary(max_size=24))
def test_any_bytes_are_a_time_or_refused(value: bytes) -> None:
    """Never another error, never a time that is none."""
    try:
        seconds = read_timeout({b"timeout": value})
    except BadRequest:
        return
    assert seconds is not None
    assert 0 < seconds < 1e9


def test_trace_context_is_read_and_never_refuses_a_request() -> None:
    """As it came; two parents are no parent's form."""
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert read_asked("chat", {b"traceparent": parent, b"tracestate": b"a=1"}).trace == (parent, b"a=1")
    assert read_asked("chat", {b"tracestate": b"a=1"}).trace is None
    lines = [(b"host", b"x"), (b"traceparent", parent), (b"traceparent", parent)]
    assert read_asked("chat", read_headers({"headers": lines}, open_mode=False)).trace == (parent + b", " + parent, b"")
