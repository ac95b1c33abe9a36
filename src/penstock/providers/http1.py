"""One HTTP/1.1 connection to a provider and the response on it. The parser is httptools (llhttp), strict.

    idle ── start ──> head ── headers complete ──> body ── message complete ──> idle (kept) or closed
      └── bytes or end of file: closed       └── error, end of file, cancelled: closed, the reader is told why

Held, per connection: at most ``HIGH_WATER`` bytes that nobody has read yet plus one read of the socket; above that the
socket is not read, so the provider is slowed down. A body shorter than its framing says never ends cleanly. A reader
is woken when its turn comes (``turns.py``). Cancelling whoever waits here closes the connection at once: that is how a
provider sees us leave.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

import httptools

from penstock.errors import BadAnswer, Reach, Unreachable, UpstreamError
from penstock.providers.coding import CodingError, Decoder, decoder_for
from penstock.providers.turns import Turns

HIGH_WATER: Final = 256 * 1024
"""Bytes of body held for the reader before reading stops."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of a response's head; also of all informational responses before it."""
_NO_BODY: Final = frozenset({204, 304})


class Response:
    """An UpstreamResponse: filled by its connection, emptied by its reader."""

    __slots__ = (
        "_connection", "_decoder", "_error", "_held", "_host", "_parts", "_waiter", "complete", "head_done", "headers",
        "in_line", "status",
    )  # fmt: skip

    def __init__(self, connection: "Connection", host: str) -> None:
        """``host``: whom errors name."""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.head_done = False
        self.complete = False
        self.in_line = False
        """Its reader is to be woken when its turn comes."""
        self._connection = connection
        self._host = host
        self._parts: list[bytes] = []
        self._held = 0
        self._decoder: Decoder | None = None
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # --- for the reader

    async def head(self) -> None:
        """Wait for the status and the headers. Raises Unreachable or BadAnswer."""
        while not self.head_done:
            if self._error is not None:
                raise self._error
            await self._wait()
        if coding := self.headers.get("content-encoding", ""):
            try:
                self._decoder = decoder_for(coding)
            except CodingError as error:
                raise self._broken(str(error)) from error

    async def next(self) -> bytes:
        """The next non-empty read, decoded; b"" at the end. Raises BadAnswer when the body is cut short."""
        while True:
            if self._parts or (self._decoder is not None and self._decoder.pending):
                if data := self._take():
                    return data
            elif self._error is not None:
                raise self._error
            elif self.complete:
                self._check_end()
                return b""
            else:
                await self._wait()

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises BadAnswer above ``limit`` bytes, or when it is cut short."""
        parts: list[bytes] = []
        left = limit
        while data := await self.next():
            parts.append(data)
            left -= len(data)
            if left < 0:
                raise self._broken(f"the body is larger than {limit} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        """Let the connection go; an unfinished body closes it."""
        self._connection.drop(self)

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._held = 0
        self._connection.resume(self)
        if self._decoder is None:
            return data
        try:
            return self._decoder.decode(data)
        except CodingError as error:
            raise self._broken(str(error)) from error

    def _check_end(self) -> None:
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except CodingError as error:
                raise self._broken(str(error)) from error

    def _broken(self, what: str) -> BadAnswer:
        self._connection.drop(self)
        return BadAnswer("the provider's answer cannot be read", detail=f"{self._host}: body: {what}")

    async def _wait(self) -> None:
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except BaseException:
            self._connection.drop(self)
            raise
        finally:
            self._waiter = None

    # --- for the connection

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is there."""
        self.status = status
        self.headers = headers
        self.head_done = True

    def add(self, data: bytes) -> None:
        """More of the body."""
        self._parts.append(data)
        self._held += len(data)

    @property
    def held(self) -> int:
        """Bytes that nobody has read."""
        return self._held

    def fail(self, error: UpstreamError) -> None:
        """There will be no more: the reader gets what came, then the error."""
        self._error = error
        self.wake()

    def wake(self) -> None:
        """Let the reader look again."""
        self.in_line = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection: a request and its response at a time."""

    __slots__ = (
        "_extra", "_head_bytes", "_headers", "_host", "_informational", "_keep", "_on_idle", "_on_lost", "_parser",
        "_paused", "_problem", "_response", "_transport", "_turns", "_until_close",
    )  # fmt: skip

    _headers: dict[str, str]

    def __init__(
        self,
        host: str,
        on_idle: Callable[["Connection", Response], None],
        on_lost: Callable[["Connection"], None],
        turns: Turns,
    ) -> None:
        """``on_idle``: it may serve again; ``on_lost``: it is closed; ``turns``: when its readers are woken."""
        self._host = host
        self._turns = turns
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._paused = False
        self._reset()

    def start(self, request: bytes) -> Response:
        """Send a request; the response will fill itself."""
        self._reset()
        self._response = response = Response(self, self._host)
        if self._transport is None or self.closing:
            detail = f"{self._host}: send: already closed"
            self._fail(Unreachable("the provider cannot be reached", detail=detail, reach=Reach.NOWHERE))
        else:
            self._transport.write(request)
        return response

    def drop(self, response: Response) -> None:
        """Its reader leaves: close, unless the response is complete and the connection has moved on."""
        if self._response is response:
            self._response = None
            self.abort()

    def resume(self, response: Response) -> None:
        """Its reader has caught up."""
        if self._paused and self._response is response and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    @property
    def closing(self) -> bool:
        """Whether it is closed, or about to be: the loop tells of it only later."""
        return self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the provider."""
        response = self._response
        if response is None:
            self.abort()
            return
        self._parse(data, response)
        if self._problem:
            self._fail(self._bad(self._problem))
            return
        if response.complete:
            self._finish(response)
        elif response.held > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if not response.in_line:
            response.in_line = True
            self._turns.take(len(data), response.wake)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by either side."""
        self._on_lost(self)
        response = self._response
        if response is None:
            return
        if response.head_done and self._until_close and exc is None:
            response.complete = True
            self._response = None
            response.wake()
        elif response.head_done:
            self._fail(self._bad(f"cut short: {exc or 'end of file'}", Reach.BROKEN))
        else:
            detail = f"{self._host}: head: {exc or 'closed before it answered'}"
            public = "the provider closed the connection before it answered"
            self._fail(Unreachable(public, detail=detail, reach=Reach.BROKEN))

    # --- the parser's side

    def on_message_begin(self) -> None:
        """Something after the end of a response is no response of ours."""
        if self._response is not None and self._response.complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers are dropped."""
        if self._response is None or self._response.head_done:
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD:
            self._problem = "the head is too large"
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The head is whole; informational ones are passed over."""
        response, status = self._response, self._parser.get_status_code()
        self._informational = 100 <= status < 200  # noqa: PLR2004 - the 1xx class
        if response is None or response.complete:
            return
        if self._informational:
            self._headers = {}
            return
        coding = self._headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            self._problem = f"unknown transfer-encoding {coding[:40]!r}"
        if self._problem:
            return
        self._until_close = coding is None and "content-length" not in self._headers and status not in _NO_BODY
        self._keep = self._parser.should_keep_alive()
        response.begin(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._response is not None and not self._response.complete:
            self._response.add(data)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._response is not None and not self._informational:
            self._response.complete = True

    # --- inside

    def _parse(self, data: bytes, response: Response) -> None:
        """Feed the parser. What follows a whole response is not its fault: it only ends the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._extra = True
            if not response.complete:
                self._problem = self._problem or f"not HTTP/1.1: {error}"
        if not response.head_done:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._problem = "the head is too large"

    def _reset(self) -> None:
        self._headers = {}
        self._head_bytes = 0
        self._informational = False
        self._until_close = False
        self._keep = False
        self._extra = False
        self._problem = ""

    def _finish(self, response: Response) -> None:
        """A whole response: keep the connection if both sides are through with it."""
        self._response = None
        transport = self._transport
        if self._keep and not self._extra and transport is not None and not transport.get_write_buffer_size():
            self._on_idle(self, response)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        response, self._response = self._response, None
        self.abort()
        if response is not None:
            response.fail(error)

    def _bad(self, what: str, reach: Reach = Reach.SENT) -> BadAnswer:
        return BadAnswer("the provider's answer cannot be read", detail=f"{self._host}: {what}", reach=reach)
