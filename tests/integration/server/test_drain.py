"""The end of a server: no request is cut within the drain window, none outlives it."""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import uvloop

from penstock.config.settings import Address
from penstock.server.listener import ListenError, bind
from tests.support.tiny_app import QUICK, TinyApp, connected, listening, until

pytestmark = pytest.mark.alone

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /x" + HEAD + b"\r\n"


def test_requests_under_way_are_answered_and_the_door_is_closed() -> None:
    """Those in the app, and those whose headers are still arriving."""

    async def scenario() -> None:
        app = TinyApp()
        async with listening(app) as listener, connected(listener) as held, connected(listener) as half:
            await held.send(b"GET /hold" + HEAD + b"\r\n")
            await half.send(GET[:10])
            await until(lambda: app.paths)
            drained = asyncio.ensure_future(listener.drain(5))
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(listener.address.host, listener.address.port)
            await half.send(GET[10:])
            app.release.set()
            for client in (held, half):
                answer = await asyncio.wait_for(client.rest(), 2)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close\r\n" in answer
                client.writer.close()
            await asyncio.wait_for(drained, 2)
            assert listener.connections == 0

    uvloop.run(scenario())


def test_an_idle_connection_may_bring_one_last_request() -> None:
    """A pool that is about to use it does not run into a closed door."""

    async def scenario() -> None:
        bounds = replace(QUICK, header_s=5)
        async with listening(TinyApp(), bounds) as listener, connected(listener) as busy, connected(listener) as idle:
            for client in (busy, idle):
                await client.send(GET)
                await client.answer()
            drained = asyncio.ensure_future(listener.drain(5))
            await asyncio.sleep(0.05)
            await busy.send(GET)
            assert b"connection: close\r\n" in await asyncio.wait_for(busy.rest(), 2)
            busy.writer.close()
            assert await asyncio.wait_for(idle.rest(), 2) == b""
            idle.writer.close()
            await asyncio.wait_for(drained, 2)

    uvloop.run(scenario())


def test_who_was_not_told_that_it_was_the_last_may_ask_again() -> None:
    """The head of a stream said nothing of an end, so its client may ask on the same connection when it has read it."""

    async def scenario() -> None:
        go_on = asyncio.Event()

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"done"})

        async with listening(cast("TinyApp", app)) as listener, connected(listener) as client:
            await client.send(GET)
            assert b"connection: close" not in await client.reader.readuntil(b"begun ")
            drained = asyncio.ensure_future(listener.drain(5))
            go_on.set()
            await client.reader.readuntil(b"0\r\n\r\n")
            await asyncio.sleep(0.1)
            await client.send(GET)
            answer = await asyncio.wait_for(client.rest(), 2)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close\r\n" in answer
            client.writer.close()
            await asyncio.wait_for(drained, 2)

    uvloop.run(scenario())


def test_what_outlives_the_window_is_refused_and_cancelled() -> None:
    """The client is told to come back; the app's task ends before the drain does."""

    async def scenario() -> None:
        app = TinyApp()
        async with listening(app) as listener, connected(listener) as client:
            await client.send(b"GET /hold" + HEAD + b"\r\n")
            await until(lambda: app.paths)
            await asyncio.wait_for(listener.drain(0.1), 2)
            assert app.cancelled == ["/hold"]
            answer = await asyncio.wait_for(client.rest(), 2)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer

    uvloop.run(scenario())


def test_an_app_that_can_tells_its_client_why_it_ends() -> None:
    """A stream that outlives the window is ended by the app, whole, and the connection closes behind it."""

    async def scenario() -> None:
        async def app(scope: Any, _receive: Any, send: Any) -> None:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            scope["penstock.cut"] = lambda error: told.set_result(error.kind)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
            try:
                await asyncio.shield(told)
            finally:
                await send({"type": "http.response.body", "body": (await told).encode(), "more_body": False})

        async with listening(cast("TinyApp", app)) as listener, connected(listener) as client:
            await client.send(GET)
            await client.reader.readuntil(b"begun ")
            await asyncio.wait_for(listener.drain(0.1), 2)
            assert await asyncio.wait_for(client.rest(), 2) == b"\r\n8\r\ndraining\r\n0\r\n\r\n"
            assert listener.connections == 0

    uvloop.run(scenario())


def test_an_address_in_use_is_named() -> None:
    """The message says which one and what to do."""
    first = bind(Address("127.0.0.1", 0))
    first.listen()
    port = first.getsockname()[1]
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} is in use: .*choose another"):
        bind(Address("127.0.0.1", port))
    first.close()


def test_idle_connections_are_given_away(both_loops: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Idle ones at once, others when their answer has ended: their clients see nothing of it, and nothing is lost."""

    async def scenario() -> None:
        old, new = TinyApp(), TinyApp()
        bounds = replace(QUICK, header_s=5)
        async with (
            listening(old, bounds) as here,
            listening(new, bounds) as there,
            connected(here) as fresh,
            connected(here) as idle,
            connected(here) as busy,
        ):
            await idle.send(GET)
            await idle.answer()
            await busy.send(b"GET /stream" + HEAD + b"\r\n")
            await busy.reader.readuntil(b"first\r\n")
            given: list[asyncio.Task[None]] = []

            def give(file: int) -> bool:
                given.append(asyncio.ensure_future(there.adopt(socket.socket(fileno=os.dup(file)))))
                return True

            drained = asyncio.ensure_future(here.drain(5, give=give))
            await until(lambda: len(given) == 2)
            old.release.set()
            await busy.reader.readuntil(b"0\r\n\r\n")
            await asyncio.wait_for(drained, 2)
            for client in (fresh, idle, busy):
                await client.send(GET)
                assert await asyncio.wait_for(client.answer(), 2) == (200, b"0")
            assert (here.connections, there.connections) == (0, 3)
            assert (old.paths, new.paths) == (["/x", "/stream"], ["/x"] * 3)

    with asyncio.Runner(loop_factory=both_loops) as runner:
        runner.run(scenario())


def test_a_connection_that_nobody_takes_is_kept() -> None:
    """It may bring its next request here, and is told that it was the last."""

    async def scenario() -> None:
        async with listening(TinyApp(), replace(QUICK, header_s=5)) as listener, connected(listener) as client:
            await client.send(GET)
            await client.answer()
            asked: list[int] = []

            def give(file: int) -> bool:
                asked.append(file)
                return False

            drained = asyncio.ensure_future(listener.drain(5, give=give))
            await until(lambda: len(asked) > 2)
            await client.send(GET)
            assert b"connection: close\r\n" in await asyncio.wait_for(client.rest(), 2)
            client.writer.close()
            await asyncio.wait_for(drained, 2)

    uvloop.run(scenario())
