"""A small ASGI app behind a real listener, and a client that sends exactly the bytes it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from penstock.clock import SystemClock
from penstock.config.settings import Address
from penstock.errors import BadHost
from penstock.server.edge import Bounds
from penstock.server.hosts import check_headers
from penstock.server.listener import Listener, bind
from penstock.server.replies import render_error

QUICK = Bounds(
    header_s=0.3,
    body_grace_s=0.3,
    body_rate=1000,
    stall_s=0.2,
    linger_s=0.2,
    lame_duck_s=0.2,
    interval_s=0.03,
    connections=20,
)

FLOOD: Final = 400
PIECE: Final = b"x" * 65536
FLOOD_BYTES: Final = FLOOD * len(PIECE)
"""More than the kernel buffers on both sides of a connection hold."""


class TinyApp:
    """Answers with the size of the body. ``/hold`` waits for ``release``, ``/early`` does not wait for the body.

    ``/flood`` streams FLOOD pieces, counted in ``flooded``; ``hurry`` is its scope's.
    """

    def __init__(self, *, open_mode: bool = False) -> None:
        """``open_mode``: as for ``valid_host``."""
        self.open_mode = open_mode
        self.release = asyncio.Event()
        self.paths: list[str] = []
        self.gone: list[str] = []
        self.refused: list[str] = []
        self.cancelled: list[str] = []
        self.flooded = 0
        self.hurry: Callable[[], None]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        path = scope["path"]
        self.paths.append(path)
        scope["penstock.gone"] = lambda: self.gone.append(path)
        try:
            check_headers(scope["headers"], open_mode=self.open_mode)
        except BadHost as error:
            status, body, headers = render_error("chat", error, "req_1")
            await _answer(send, status, body, [*headers, (b"connection", b"close")])
            return
        if path == "/early":
            await _answer(send, 401, b"no", [(b"content-length", b"2")])
        else:
            await self._read_and_answer(path, scope, receive, send)

    async def _read_and_answer(self, path: str, scope: Any, receive: Any, send: Any) -> None:
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.refused.append(type(scope.get("penstock.refused")).__name__)
                return
            size += len(message["body"])
            more = message["more_body"]
        if path == "/flood":
            self.hurry = scope["penstock.hurry"]
            await self._flood(send)
            return
        if path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if path in ("/hold", "/stream"):
            await self._hold(path)
        if path == "/stream":
            await send({"type": "http.response.body", "body": b"last"})
            return
        body = b"x" * 1_000_000 if path == "/large" else b"%d" % size
        await _answer(send, 200, body, [(b"content-length", b"%d" % len(body))])

    async def _flood(self, send: Any) -> None:
        self.flooded = 0
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % FLOOD_BYTES)]}
        )
        for piece in range(1, FLOOD + 1):
            await send({"type": "http.response.body", "body": PIECE, "more_body": piece < FLOOD})
            self.flooded = piece

    async def _hold(self, path: str) -> None:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """These bytes and no others."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """(status, body) of one answer with a content-length, the interim ones skipped."""
        while True:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            if status >= 200:
                break
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        return status, await self.reader.readexactly(int(lengths[0]))

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self.reader.read()


async def until(what: Callable[[], object]) -> None:
    """Wait for it, within the scenario's timeout."""
    while not what():  # noqa: ASYNC110 - what is waited for is at the other end of a socket
        await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(
    app: TinyApp, bounds: Bounds = QUICK, on_refusal: Callable[[str], None] | None = None
) -> AsyncIterator[Listener]:
    """A listener on an ephemeral port."""
    sock = bind(Address("127.0.0.1", 0))
    listener = await Listener(app, sock, clock=SystemClock(), bounds=bounds, on_refusal=on_refusal).start()
    try:
        yield listener
    finally:
        await listener.drain(0)


@asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[RawClient]:
    """A client of it."""
    reader, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
