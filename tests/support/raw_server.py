r"""A raw socket server that plays byte scripts: what providers do wrong, down to the last byte.

    async with raw_server([Read(), b"HTTP/1.1 200 OK\r\n...", Wait(0.05), Reset()]) as server:
        ...

Each connection plays the next script (the last one again and again). ``Read`` waits for one whole request; ``Wait``
passes real time, bounded by the test; ``Hold`` keeps the connection open until the peer leaves; ``Reset`` sends a TCP
reset. At the end of its script a connection is closed. ``Seen`` says when it was opened, what it got, when it ended.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for one whole request (its length by content-length), or for its head alone."""

    body: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds of real time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep silent until the peer closes."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Close with a TCP reset."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Send this again and again until the peer stops reading for ``stalled_s``; counts the bytes that went out."""

    chunk: bytes
    stalled_s: float = 0.3
    most: int = 512 * 1024 * 1024


Step = bytes | Read | Wait | Hold | Reset | Flood


@dataclass(slots=True)
class Seen:
    """One connection as the server saw it."""

    requests: list[bytes] = field(default_factory=list)
    sent: int = 0
    """Bytes that the kernel took from us."""
    peer_closed: asyncio.Event = field(default_factory=asyncio.Event)
    peer_closed_at: float | None = None
    """Monotonic seconds."""


@dataclass(slots=True)
class RawServer:
    """Where it listens and what it saw."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[bytes]:
        """Every request, over all connections."""
        return [request for seen in self.seen for request in seen.requests]


@asynccontextmanager
async def raw_server(
    *scripts: Sequence[Step], tls: ssl.SSLContext | None = None, tunnel: Sequence[Step] | None = None
) -> AsyncIterator[RawServer]:
    """Play ``scripts``, one per connection, on a loopback port; ``tunnel`` is played before TLS begins."""
    server = RawServer(0)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        seen = Seen()
        script = scripts[min(len(server.seen), len(scripts) - 1)]
        server.seen.append(seen)
        connection = _Connection(reader, writer, seen)
        with contextlib.suppress(asyncio.CancelledError):
            if tunnel is not None and tls is not None:
                await connection.play(tunnel, close=False)
                await writer.start_tls(tls)
            await connection.play(script)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=None if tunnel is not None else tls, backlog=256)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection:
    """One accepted connection and the script it plays."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self._reader = reader
        self._writer = writer
        self._seen = seen
        writer.transport.set_write_buffer_limits(0)

    async def play(self, script: Sequence[Step], *, close: bool = True) -> None:
        """The steps in order; the peer's leaving ends them."""
        try:
            for step in script:
                await self._step(step)
        except (OSError, asyncio.IncompleteReadError):
            self._seen.peer_closed_at = time.monotonic()
            self._seen.peer_closed.set()
        finally:
            if close:
                self._writer.close()

    async def _step(self, step: Step) -> None:
        match step:
            case bytes():
                await self._send(step)
            case Read():
                self._seen.requests.append(await self._request(step))
            case Wait():
                await asyncio.sleep(step.seconds)
            case Hold():
                await self._hold()
            case Flood():
                await self._flood(step)
            case Reset():
                self._writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self._writer.transport.abort()

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._seen.sent += len(data)

    async def _request(self, step: Read) -> bytes:
        found = await self._reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in found.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not lengths or not step.body:
            return found
        return found + await self._reader.readexactly(int(lengths[0].split(b":")[1]))

    async def _hold(self) -> None:
        while await self._reader.read(65536):
            pass
        raise ConnectionResetError

    async def _flood(self, step: Flood) -> None:
        while self._seen.sent < step.most:
            try:
                async with asyncio.timeout(step.stalled_s):
                    await self._send(step.chunk)
            except TimeoutError:
                return


def head(status: str = "200 OK", **headers: str) -> bytes:
    """The head of a response; ``_`` in header names stands for ``-``."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response with its length."""
    return head(status, content_length=str(len(body)), **headers) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
