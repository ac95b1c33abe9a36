"""One connection to the load provider, and the call on it."""

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

from penstock.providers.answers import KEEP_ALIVE, error_body
from tests.support.load_provider_manner import Deployment, Manner, stream_events, whole_body

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM: Final = re.compile(rb'"stream" ?: ?true')
_USAGE: Final = re.compile(rb'"include_usage" ?: ?true')
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CLOSE: Final = b"connection: close"
_ERRORS: Final = {401: "authentication_error", 402: "insufficient_balance", 429: "rate_limit_error"}


class Connection(asyncio.Protocol):
    """Request after request."""

    def __init__(
        self, deployment: Callable[[str], Deployment], control: Callable[[str, str, bytes], bytes], control_path: str
    ) -> None:
        """``deployment``: by name; ``control``: answers what begins with ``control_path``."""
        self._deployment = deployment
        self._control = control
        self._control_path = control_path
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._call: Call | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; its call finds out, or is ended, by its deployment's manner."""
        del exc
        if self._call is not None and self._call.manner.stops:
            self._call.task.cancel()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or a whole one."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not found or len(rest) < size or self._transport is None:
            return
        self._buffer = rest[size:]
        method, target = head.split(b" ", 2)[:2]
        last = _CLOSE in head.lower()
        self._take(method.decode(), target.decode(), rest[:size], self._transport, last=last)

    def _take(self, method: str, target: str, body: bytes, transport: asyncio.Transport, *, last: bool) -> None:
        if target.startswith(self._control_path):
            told = self._control(method, target.removeprefix(self._control_path), body)
            transport.write(head(200, len(told)) + told)
            return
        self._call = Call(self._deployment(target.split("/")[1]), body, transport, last=last)


class Call:
    """From the request to the last byte, or to the client's leaving."""

    def __init__(self, deployment: Deployment, body: bytes, transport: asyncio.Transport, *, last: bool) -> None:
        """``last``: its client wants the connection closed after it."""
        self._deployment = deployment
        self.manner: Manner = deployment.manner
        self._body = body
        self._transport = transport
        self._last = last
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        """Answer, and count."""
        deployment = self._deployment
        status, left = deployment.begin(), True
        try:
            if status == 200:
                await self._answer()
            else:
                self._refuse(status)
            left = self._transport.is_closing()
            if self._last or (status == 200 and not self.manner.framed):
                self._transport.close()
        finally:
            deployment.end(status, left=left)

    async def _answer(self) -> None:
        manner = self.manner
        async with self._deployment.worker:
            await asyncio.sleep(self._deployment.service_s())
        if _STREAM.search(self._body):
            await self._stream()
        else:
            await asyncio.sleep(manner.latency_s)
            self._whole()

    def _whole(self) -> None:
        manner = self.manner
        body = whole_body(self._deployment.name, manner.says, manner.words)
        self._write(head(200, len(body) if manner.framed else None, chunked=False) + body)

    async def _stream(self) -> None:
        manner, framed = self.manner, self.manner.framed
        usage = _USAGE.search(self._body) is not None
        first, middle, last = stream_events(self._deployment.name, manner.says, manner.words, usage=usage)
        begun_s = manner.latency_s if manner.head_s is None else min(manner.head_s, manner.latency_s)
        await asyncio.sleep(begun_s)
        self._write(stream_head(framed=framed))
        await self._keep_alive(manner.latency_s - begun_s)
        self._say(first)
        if not manner.gap_s:
            self._say(b"".join(middle))
            middle = []
        for event in middle:
            await self._keep_alive(manner.gap_s)
            self._say(event)
        self._say(last)
        if framed:
            self._write(_LAST_CHUNK)

    async def _keep_alive(self, seconds: float) -> None:
        now, pause_s = asyncio.get_running_loop().time, self.manner.keep_alive_s
        until = now() + seconds
        while pause_s and until - now() > pause_s:
            await asyncio.sleep(pause_s)
            self._say(KEEP_ALIVE)
        await asyncio.sleep(max(0.0, until - now()))

    def _say(self, data: bytes) -> None:
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self.manner.framed else data)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _refuse(self, status: int) -> None:
        body = error_body("scripted: not now", kind=_ERRORS.get(status, "server_error"))
        retry_after_s = self.manner.retry_after_s
        more = "" if retry_after_s is None else f"retry-after: {retry_after_s:g}\r\n"
        self._write(head(status, len(body), more) + body)


def head(status: int, length: int | None, more: str = "", *, chunked: bool = True) -> bytes:
    """Of a JSON answer; without a length its body is chunked, or ends with the connection."""
    return _head(status, "application/json", length, more, chunked=chunked)


def stream_head(*, framed: bool = True) -> bytes:
    """Of a stream."""
    return _head(200, "text/event-stream", None, "", chunked=framed)


def _head(status: int, kind: str, length: int | None, more: str, *, chunked: bool) -> bytes:
    size = "transfer-encoding: chunked\r\n" if chunked else "connection: close\r\n"
    if length is not None:
        size = f"content-length: {length}\r\n"
    return f"HTTP/1.1 {status} Load\r\ncontent-type: {kind}\r\n{size}{more}\r\n".encode()
