"""The fault proxy itself: each fault does what it says, to connections that are open already too, and is undone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.raw_server import RawServer, Read, Step, Wait, raw_server, whole

ASK = b"GET / HTTP/1.1\r\n\r\n"
ANSWER = whole(b"0123456789")
PATIENCE_S = 5.0


@asynccontextmanager
async def proxied(*script: Step, seed: int = 1, **faults: object) -> AsyncIterator[tuple[FaultProxy, RawServer]]:
    """A target that plays ``script`` on every connection, and a proxy before it."""
    async with raw_server(script or (Read(), ANSWER) * 50) as server:
        with fault_proxy(server.port, seed=seed, **faults) as proxy:
            yield proxy, server


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, size: int = len(ANSWER)) -> bytes:
        """So many bytes of an answer. Raises IncompleteReadError at an end before that, OSError at a reset."""
        self.writer.write(ASK)
        return await self.more(size)

    async def more(self, size: int) -> bytes:
        """So many bytes more."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def ask_often(self, times: int) -> None:
        """One whole answer after the other."""
        for _ in range(times):
            await self.ask()

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for so long."""
        try:
            await asyncio.wait_for(self.reader.read(1), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    """A connection to the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until_open(proxy: FaultProxy, count: int) -> None:
    """Until it has seen who left."""
    async with asyncio.timeout(PATIENCE_S):
        while proxy.counts.open != count:  # noqa: ASYNC110 - its loop is another, and tells us nothing
            await asyncio.sleep(0.005)


async def test_without_faults_all_goes_through() -> None:
    """Request after request on one connection, counted; nothing stays open."""
    async with proxied() as (proxy, server):
        async with connected(proxy) as client:
            assert [await client.ask() for _ in range(3)] == [ANSWER] * 3
            assert proxy.counts.open == 1
        await until_open(proxy, 0)
        counts = proxy.counts
        assert (counts.accepted, counts.requests, counts.resets) == (1, 3, 0)
        assert (counts.asked_bytes, counts.answered_bytes) == (3 * len(ASK), 3 * len(ANSWER))
        assert len(server.requests) == 3


async def test_latency_is_paid_each_way() -> None:
    """Twice per request, and jitter is on top and never turns bytes round."""
    async with proxied(latency_s=0.05, jitter_s=0.05) as (proxy, _), connected(proxy) as client:
        since = time.monotonic()
        assert await client.ask() == ANSWER
        assert time.monotonic() - since >= 0.1
        proxy.heal()
        assert await client.ask() == ANSWER


async def test_a_factor_is_of_what_the_target_took() -> None:
    """Fifty milliseconds become two hundred."""
    async with proxied(Read(), Wait(0.05), ANSWER, factor=4) as (proxy, _), connected(proxy) as client:
        since = time.monotonic()
        assert await client.ask() == ANSWER
        assert time.monotonic() - since >= 0.2


async def test_a_bandwidth_is_kept() -> None:
    """Fifty thousand bytes at half a megabyte a second."""
    body = b"x" * 50_000
    async with proxied(Read(), body, bandwidth_bps=500_000) as (proxy, _), connected(proxy) as client:
        since = time.monotonic()
        assert await client.ask(len(body)) == body
        assert time.monotonic() - since >= 0.08


async def test_nobody_listens_where_connections_are_refused() -> None:
    """Open ones go on; healed, the same port answers again."""
    async with proxied() as (proxy, _), connected(proxy) as client:
        await client.ask()
        proxy.set(refuse=True)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await client.ask() == ANSWER
        proxy.heal()
        async with connected(proxy) as again:
            assert await again.ask() == ANSWER
    with fault_proxy(1, refuse=True) as proxy, pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_a_black_hole_swallows_both_ways() -> None:
    """Also of connections that were open; nothing is lost when it heals; who leaves is seen to leave."""
    async with proxied() as (proxy, server), connected(proxy) as client:
        await client.ask()
        proxy.set(black_hole=True)
        async with connected(proxy) as other:
            other.writer.write(ASK)
            client.writer.write(ASK)
            assert await other.silent()
            assert len(server.requests) == 1
        await until_open(proxy, 1)
        proxy.heal()
        assert await client.more(len(ANSWER)) == ANSWER


async def test_connections_are_reset_by_chance() -> None:
    """The same ones with the same seed."""
    fates = []
    for _ in range(2):
        fate = ""
        async with proxied(reset_connect=0.5, seed=3) as (proxy, _):
            for _ in range(12):
                try:
                    async with connected(proxy) as client:
                        await client.ask()
                    fate += "."
                except (OSError, asyncio.IncompleteReadError):
                    fate += "x"
            assert proxy.counts.resets == fate.count("x")
        fates.append(fate)
    assert fates[0] == fates[1]
    assert set(fates[0]) == {".", "x"}


@pytest.mark.parametrize("after", [0, 1, len(ANSWER) - 1])
async def test_an_answer_is_reset_after_so_many_bytes(after: int) -> None:
    """Not before, and the request has been made."""
    async with proxied(reset_share=1.0, after=after) as (proxy, server), connected(proxy) as client:
        client.writer.write(ASK)
        assert await client.more(after) == ANSWER[:after]
        with pytest.raises(ConnectionResetError):
            await client.more(1)
        assert len(server.requests) == 1
        assert proxy.counts.resets == 1


async def test_each_request_has_its_own_chance() -> None:
    """On one connection, until one of them is struck."""
    async with proxied(reset_share=0.2, seed=1) as (proxy, _), connected(proxy) as client:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.ask_often(50)
        assert proxy.counts.requests == 7


async def test_an_answer_stalls_after_so_many_bytes() -> None:
    """Each answer anew; the rest comes when it is healed, and who leaves meanwhile is seen to."""
    async with proxied(stall=True, after=7) as (proxy, _):
        async with connected(proxy) as client:
            assert await client.ask(7) == ANSWER[:7]
            assert await client.silent()
        await until_open(proxy, 0)
        async with connected(proxy) as client:
            await client.ask(7)
            proxy.heal()
            assert await client.more(len(ANSWER) - 7) == ANSWER[7:]


async def test_bytes_come_one_by_one() -> None:
    """After those that come as they are."""
    async with proxied(slow_s=0.02, after=len(ANSWER) - 5) as (proxy, _), connected(proxy) as client:
        since = time.monotonic()
        assert await client.ask() == ANSWER
        assert time.monotonic() - since >= 0.08
        proxy.set(slow_s=60.0, after=3)
        assert await client.ask(4) == ANSWER[:4]
        assert await client.silent()


async def test_half_a_connection_is_closed() -> None:
    """An end after so many bytes, and no reset."""
    async with proxied(half_close=True, after=5) as (proxy, _), connected(proxy) as client:
        assert await client.ask(5) == ANSWER[:5]
        assert await client.reader.read() == b""
        assert proxy.counts.open == 1, "it still reads"


async def test_an_end_is_not_passed_on() -> None:
    """What has no other end then never ends."""
    async with proxied(Read(), b"all", hold_end=True) as (proxy, _), connected(proxy) as client:
        assert await client.ask(3) == b"all"
        assert await client.silent()
        proxy.heal()
        assert await client.reader.read() == b""


async def test_all_that_is_open_can_be_cut() -> None:
    """At once; new ones are welcome."""
    async with proxied() as (proxy, _), connected(proxy) as client:
        await client.ask()
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await client.more(1)
        assert proxy.counts.open == 0
        async with connected(proxy) as again:
            assert await again.ask() == ANSWER


async def test_a_target_that_is_down_resets() -> None:
    """Behind the proxy nobody listens: the reset comes at once, or upon the request."""
    with fault_proxy(1) as proxy:
        with pytest.raises(ConnectionResetError):
            await asked_once(proxy)
        assert proxy.counts.accepted == 1


async def asked_once(proxy: FaultProxy) -> bytes:
    """The answer on a connection of its own."""
    async with connected(proxy) as client:
        return await client.ask()
