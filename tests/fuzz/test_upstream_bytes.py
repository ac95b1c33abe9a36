"""Invariant: whatever bytes a provider sends, however they are cut, the reader gets the body or one named error.

The connection is driven without a socket; the same bytes whole and byte by byte end the same way.
"""

import asyncio
import gzip
import zlib
from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.clock import LoopClock
from penstock.errors import UpstreamError
from penstock.providers.http1 import HIGH_WATER, Connection, Response
from penstock.providers.turns import Turns

PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 500 No\r\n", b"HTTP/1.1 204 None\r\n\r\n",
        b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"content-encoding: gzip\r\n", b"x: y\r\n",
        b"\r\n", b"connection: close\r\n", b"content-encoding: deflate\r\n", b"content-encoding: br\r\n",
        b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"\r", b"\n", b"\x00",
        b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        gzip.compress(b"hello"), zlib.compress(b"hello"), b"ffffffffffffffffff\r\n",
    ]
)  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=6), max_size=12).map(b"".join)


class Wire:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        """Sent."""

    def abort(self) -> None:
        """Closed."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def pause_reading(self) -> None:
        """Read no more."""
        self.reading = False

    def resume_reading(self) -> None:
        """Read on."""
        self.reading = True


def connected(kept: list[Connection]) -> tuple[Connection, Wire]:
    """A connection on a wire; ``kept`` gets it when it may serve again."""
    wire = Wire()
    connection = Connection("host", lambda each, _: kept.append(each), lambda _: None, Turns(LoopClock.monotonic))
    connection.connection_made(cast("Any", wire))
    return connection, wire


async def outcome(reads: list[bytes]) -> tuple[int, bytes, str]:
    """Status, body and the name of the error that these reads, and then the end of file, give."""
    connection, wire = connected([])
    response = connection.start(b"GET")
    for data in reads:
        if wire.closed:
            break
        connection.data_received(data)
    connection.connection_lost(None)
    try:
        async with asyncio.timeout(1):
            await response.head()
            body = await response.read(1 << 20)
    except UpstreamError as error:
        return response.status, b"", type(error).__name__
    return response.status, body, ""


@given(STREAMS)
@example(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 25\r\n\r\n" + gzip.compress(b"hello"))
@example(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
def test_any_bytes_end_in_a_body_or_a_named_error(raw: bytes) -> None:
    """And byte by byte they end as they end whole."""
    whole = asyncio.run(outcome([raw] if raw else []))
    single = asyncio.run(outcome([raw[at : at + 1] for at in range(len(raw))]))
    assert whole[2] in {"", "BadAnswer", "Unreachable"}
    if whole[2] == "" or single[2] == "":
        assert whole == single


@given(st.lists(st.binary(min_size=1, max_size=200_000), max_size=8))
def test_what_is_held_is_bounded(parts: list[bytes]) -> None:
    """Above the high-water mark the wire is not read; once the reader has caught up it is."""

    async def run() -> None:
        connection, wire = connected([])
        response: Response = connection.start(b"GET")
        connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
        for part in parts:
            connection.data_received(part)
            assert wire.reading is (response.held <= HIGH_WATER)
            if not wire.reading:
                await response.next()
                assert wire.reading

    asyncio.run(run())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_kept_connection_keeps_answers_apart(sizes: list[int]) -> None:
    """Each call gets its own answer and the connection is kept after each."""

    async def run() -> None:
        kept: list[Connection] = []
        connection, wire = connected(kept)
        for number, size in enumerate(sizes):
            response = connection.start(b"GET")
            connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
            assert len(kept) == number + 1
            assert not wire.closed
            assert await response.read(100) == b"x" * size

    asyncio.run(run())
