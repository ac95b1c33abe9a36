"""Slow, large, leaving and staying clients, against a real socket with bounds of a fraction of a second."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest
import uvloop

from penstock.server.edge import Bounds
from tests.support.tiny_app import FLOOD, PIECE, QUICK, RawClient, TinyApp, connected, listening, until

pytestmark = pytest.mark.alone

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /x" + HEAD + b"\r\n"

Scenario = Callable[[TinyApp, RawClient], Awaitable[None]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def play(scenario: Scenario, bounds: Bounds = QUICK, loop_factory: LoopFactory = uvloop.new_event_loop) -> TinyApp:
    """Run a scenario with one client against one server."""

    async def run() -> TinyApp:
        app = TinyApp()
        async with listening(app, bounds) as listener, connected(listener) as client:
            async with asyncio.timeout(5):
                await scenario(app, client)
        return app

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(run())


def test_a_silent_connection_is_closed_without_a_word() -> None:
    """It may be a pool's spare one."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        assert await client.rest() == b""

    play(scenario)


def test_a_header_trickle_ends_with_a_408() -> None:
    """However steadily its bytes come."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        started = asyncio.get_running_loop().time()
        client.writer.write(b"POST /x" + HEAD)
        answer = asyncio.ensure_future(client.rest())
        while not answer.done():
            client.writer.write(b"X")
            await asyncio.sleep(0.02)
        assert answer.result().startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer.result()
        assert asyncio.get_running_loop().time() - started < QUICK.header_s + 0.2

    assert play(scenario).paths == []


def test_blank_lines_do_not_keep_a_connection() -> None:
    """Neither before a request nor between two."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        await client.send(GET)
        assert await client.answer() == (200, b"0")
        await client.send(b"\r\n")
        assert await client.rest() == b""

    play(scenario)


def test_a_body_trickle_ends_with_a_408_and_the_app_knows() -> None:
    """The app gets http.disconnect and finds the reason in the scope."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        client.writer.write(b"POST /x" + HEAD + b"Content-Length: 1000\r\n\r\n")
        answer = asyncio.ensure_future(client.rest())
        while not answer.done():
            client.writer.write(b"x")
            await asyncio.sleep(0.02)
        assert answer.result().startswith(b"HTTP/1.1 408 ")
        await until(lambda: app.refused)

    assert play(scenario).refused == ["BodyTooSlow"]


def test_a_body_that_keeps_up_may_take_longer_than_the_grace() -> None:
    """The rate decides, not the size."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        await client.send(b"POST /x" + HEAD + b"Content-Length: 6000\r\n\r\n")
        for _piece in range(6):
            await client.send(b"x" * 1000)
            await asyncio.sleep(0.1)
        assert await client.answer() == (200, b"6000")

    play(scenario)


def test_a_broken_chunk_is_a_400_and_the_app_knows() -> None:
    """The app had already begun to read."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"POST /x" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: app.paths)
        await client.send(b"zz\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await until(lambda: app.refused)

    assert play(scenario).refused == ["BadRequest"]


@pytest.mark.parametrize("size", [33_000, 70_000, 1_000_000])
def test_headers_beyond_the_bound_are_a_431(size: int) -> None:
    """In one read or many."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        client.writer.write(b"GET /x" + HEAD + b"X-A: " + b"a" * size + b"\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 431 ")

    assert play(scenario).paths == []


def test_headers_within_the_bound_pass_whatever_follows_in_the_same_read() -> None:
    """The body is not counted."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        head = b"POST /x" + HEAD + b"X-A: " + b"a" * 30_000 + b"\r\nContent-Length: 50000\r\n\r\n"
        await client.send(head + b"x" * 50_000)
        assert await client.answer() == (200, b"50000")

    play(scenario)


def test_connections_are_kept_between_requests() -> None:
    """SDK pools live on it."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        for _request in range(5):
            await client.send(GET)
            assert await client.answer() == (200, b"0")
            await asyncio.sleep(QUICK.header_s / 4)

    assert len(play(scenario).paths) == 5


def test_an_idle_connection_is_closed_at_the_end_of_its_life() -> None:
    """Not before, and not while an answer is awaited."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"GET /hold" + HEAD + b"\r\n")
        await asyncio.sleep(0.4)
        app.release.set()
        assert await client.answer() == (200, b"0")
        await client.send(GET)
        assert await client.answer() == (200, b"0")
        started = asyncio.get_running_loop().time()
        assert await client.rest() == b""
        assert 0.1 < asyncio.get_running_loop().time() - started < 1

    play(scenario, replace(QUICK, keep_alive_s=0.2, idle_look_s=0.03))


def test_an_app_that_fails_is_answered_for() -> None:
    """With a 500 where nothing has been sent, and the end of the connection in any case."""

    async def scenario() -> bytes:
        async def app(_scope: object, _receive: object, _send: object) -> None:
            raise ValueError("a mistake")

        async with listening(cast("TinyApp", app)) as listener, connected(listener) as client:
            await client.send(GET)
            return await client.rest()

    answer = uvloop.run(scenario())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b'"code":"internal_error"' in answer
    assert b"mistake" not in answer


def test_an_early_answer_keeps_the_connection_if_little_of_the_body_is_left() -> None:
    """The SDKs send head and body in two writes: a 401 in between must not reset them."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        await client.send(b"POST /early" + HEAD + b"Content-Length: 500\r\n\r\n")
        assert await client.answer() == (401, b"no")
        await client.send(b"x" * 500 + GET)
        assert await client.answer() == (200, b"0")

    play(scenario)


def test_an_early_answer_reaches_a_client_that_goes_on_sending() -> None:
    """No reset overtakes it, and the rest of the body is not read for ever."""

    async def scenario(_: TinyApp, client: RawClient) -> None:
        client.writer.write(b"POST /early" + HEAD + b"Content-Length: 90000000\r\n\r\n" + b"x" * 10_000_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 401 ")

    play(scenario)


def test_an_answer_that_others_wait_for_does_not_wait_for_its_client() -> None:
    """What a slow client leaves is buffered once ``penstock.hurry`` is called; the next answer keeps its pace."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        for _ in range(2):
            await client.send(b"GET /flood" + HEAD + b"\r\n")
            await until(lambda: app.flooded)
            await asyncio.sleep(0.05)
            assert app.flooded < FLOOD
            app.hurry()
            await until(lambda: app.flooded == FLOOD)
            assert await client.answer() == (200, PIECE * FLOOD)

    play(scenario)


def test_a_hurried_answer_that_is_never_taken_is_dropped() -> None:
    """Buffered or not: nobody holds memory for ever."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"GET /flood" + HEAD + b"\r\n")
        await until(lambda: app.flooded)
        app.hurry()
        await until(lambda: app.flooded == FLOOD)
        await asyncio.sleep(QUICK.stall_s + 0.3)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.answer()

    play(scenario)


def test_a_client_that_takes_nothing_of_its_answer_is_dropped() -> None:
    """Its answer does not wait in memory for ever."""

    async def run() -> None:
        app = TinyApp()
        async with listening(app) as listener, asyncio.timeout(5):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((listener.address.host, listener.address.port))
            sock.sendall((b"GET /large" + HEAD + b"\r\n") * 8)
            await until(lambda: listener.connections)
            await until(lambda: not listener.connections)
            sock.close()

    uvloop.run(run())


def test_connections_beyond_the_bound_are_told_so() -> None:
    """503 and Retry-After, at once."""

    async def scenario() -> None:
        bounds = replace(QUICK, connections=1)
        async with (
            listening(TinyApp(), bounds) as listener,
            connected(listener) as first,
            connected(listener) as second,
        ):
            answer = await second.rest()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer
            await first.send(GET)
            assert await first.answer() == (200, b"0")

    uvloop.run(scenario())


def test_answers_leave_at_once(both_loops: LoopFactory) -> None:
    """TCP_NODELAY is set on every accepted connection: no 40 ms for a small write."""

    async def scenario() -> None:
        async with listening(TinyApp()) as listener, connected(listener) as client:
            await client.send(GET)
            await client.answer()
            (connection,) = listener.open_connections()
            sock = connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with asyncio.Runner(loop_factory=both_loops) as runner:
        runner.run(scenario())


def reset(client: RawClient) -> None:
    """Leave with a TCP reset."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


def close(client: RawClient) -> None:
    """Leave as programs do."""
    client.writer.close()


@pytest.mark.parametrize("leave", [reset, close])
@pytest.mark.parametrize("path", ["/hold", "/stream"])
def test_the_app_learns_within_a_second_that_its_client_left(
    path: str, leave: Callable[[RawClient], None], both_loops: LoopFactory
) -> None:
    """Before its answer as well as in the middle of it, once."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"GET " + path.encode() + HEAD + b"\r\n")
        await until(lambda: app.paths)
        if path == "/stream":
            await client.reader.readuntil(b"first")
        leave(client)
        left = asyncio.get_running_loop().time()
        await until(lambda: app.gone)
        assert asyncio.get_running_loop().time() - left < 1

    assert play(scenario, loop_factory=both_loops).gone == [path]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_closes_only_its_sending_side_gets_its_answer(version: bytes, both_loops: LoopFactory) -> None:
    """As ``nc`` does, also when the answer takes longer than the looks for a reset."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"GET /hold HTTP/" + version + b"\r\nHost: localhost\r\n\r\n")
        client.writer.write_eof()
        await asyncio.sleep(0.8)
        app.release.set()
        answer = (await client.rest()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer

    assert play(scenario, loop_factory=both_loops).gone == []


def test_a_client_that_leaves_while_its_next_request_waits_is_noticed_for_the_running_one() -> None:
    """Pipelined requests behind it are never begun."""

    async def scenario(app: TinyApp, client: RawClient) -> None:
        await client.send(b"GET /hold" + HEAD + b"\r\n" + GET)
        await until(lambda: app.paths)
        reset(client)
        app.release.set()
        await asyncio.sleep(0.05)

    app = play(scenario)
    assert app.paths == ["/hold"]


def test_refusals_are_counted_by_kind() -> None:
    """What never reaches the app is still seen in the metrics."""

    async def scenario() -> list[str]:
        seen: list[str] = []
        async with listening(TinyApp(), on_refusal=seen.append) as listener, connected(listener) as client:
            await client.send(b"nonsense\r\n\r\n")
            await client.rest()
        return seen

    assert uvloop.run(scenario()) == ["invalid_request"]
