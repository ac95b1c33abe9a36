"""The client of an open-loop load: connections kept and opened as they are needed, a record of every request."""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

import msgspec

LOOPBACK: Final = "127.0.0.1"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_ERROR_EVENT: Final = b'data: {"error"'
_TAIL: Final = 2048
"""Bytes of the end of a stream that are looked at: its last event."""


class Record(msgspec.Struct):
    """One request. Seconds from when it was due, but ``due_s``, which is of the plan."""

    flow: str
    due_s: float
    streamed: bool = False
    late_s: float = 0.0
    """How late it left."""
    status: int = 0
    """0 = no answer began."""
    first_s: float = 0.0
    """The first byte of the body."""
    end_s: float = 0.0
    complete: bool = False
    """The answer came to its end, as HTTP says."""
    error_event: bool = False
    """It is a stream, and its last event is an error."""
    retry_after_s: float | None = None
    deployment: str = ""
    attempts: int = 0
    why: str = ""
    """What ended it, where that is no whole answer: ``cut``, ``given up``, ``not sent``, or what connecting said."""

    @property
    def good(self) -> bool:
        """It is an answer, and all of it came."""
        return self.status == 200 and self.complete and not self.error_event


class Client:
    """To one port."""

    def __init__(self, port: int, most_open: int, patience_s: float) -> None:
        """``most_open``: connections; who would need one more is not sent."""
        self._port = port
        self._most_open = most_open
        self._patience_s = patience_s
        self._idle: list[_Connection] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._records: list[Record] = []
        self._now = asyncio.get_running_loop().time

    def send(self, record: Record, began: float, headers: Mapping[str, str], body: bytes) -> None:
        """Begin a request; ``began``: when the plan did."""
        self._records.append(record)
        due = began + record.due_s
        record.late_s = self._now() - due
        if len(self._asking) >= self._most_open:
            record.why = "not sent"
            return
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {LOOPBACK}:{self._port}\r\n{''.join(lines)}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        task = asyncio.ensure_future(self._ask(record, due, head.encode() + body))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def done(self) -> list[Record]:
        """Every record, once all have ended."""
        while self._asking:
            await asyncio.wait(self._asking)
        for connection in self._idle:
            connection.close()
        return self._records

    async def _ask(self, record: Record, due: float, request: bytes) -> None:
        connection = None
        try:
            async with asyncio.timeout(self._patience_s):
                connection = await self._connection()
                await connection.ask(record, due, request)
        except TimeoutError:
            record.why = "given up"
        except OSError as error:
            record.why = type(error).__name__
        record.end_s = self._now() - due
        if connection is not None and record.complete and connection.open:
            self._idle.append(connection)
        elif connection is not None:
            connection.close()

    async def _connection(self) -> "_Connection":
        while self._idle:
            if (kept := self._idle.pop()).open:
                return kept
        _, made = await asyncio.get_running_loop().create_connection(_Connection, LOOPBACK, self._port)
        return made


class _Connection(asyncio.Protocol):
    """A request at a time."""

    def __init__(self) -> None:
        self.open = True
        self._now = asyncio.get_running_loop().time
        self._transport: asyncio.Transport | None = None
        self._record = Record("", 0)
        self._due = 0.0
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        """Bytes of the body that have not come; None = it is chunked."""
        self._ended: asyncio.Future[None] | None = None

    async def ask(self, record: Record, due: float, request: bytes) -> None:
        """Send it, and fill its record."""
        self._record, self._due, self._head, self._tail = record, due, b"", b""
        self._ended = asyncio.get_running_loop().create_future()
        if self._transport is not None:
            self._transport.write(request)
        await self._ended

    def close(self) -> None:
        """Leave."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Head, then body."""
        if not self._record.status:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._read_head(head.decode("latin-1"))
        if data:
            self._read_body(data)
        if self._left == 0 or (self._left is None and self._tail.endswith(_LAST_CHUNK)):
            self._record.complete = True
            self._record.error_event = self._record.streamed and _ERROR_EVENT in self._tail
            self._end("")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by either side."""
        self.open = False
        self._end("cut" if exc is None else f"cut: {type(exc).__name__}")

    def _read_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        record = self._record
        record.status = int(first.split(" ")[1])
        record.retry_after_s = float(headers["retry-after"]) if "retry-after" in headers else None
        record.deployment = headers.get("x-penstock-deployment", "")
        record.attempts = int(headers.get("x-penstock-attempts", "0"))
        self._left = int(headers["content-length"]) if "content-length" in headers else None
        self.open = self.open and headers.get("connection", "") != "close"

    def _read_body(self, data: bytes) -> None:
        if not self._record.first_s:
            self._record.first_s = self._now() - self._due
        self._tail = (self._tail + data)[-_TAIL:]
        if self._left is not None:
            self._left -= len(data)

    def _end(self, why: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._record.why = why
            self._ended.set_result(None)
