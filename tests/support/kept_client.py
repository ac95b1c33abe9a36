"""Clients that keep their connections, as SDKs do, and hold the server to what HTTP lets them rely on.

A connection that the server has closed before a request is written is not used: that is a client's own duty. A request
that was written and is not answered, or not to its end, is a failure: it is never asked again.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.bill_provider_words import prompt_of

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: ``say`` words, ``gap_ms`` milliseconds before each."""

    marker: str
    model: str
    say: int
    gap_ms: int
    streamed: bool
    user: str
    max_tokens: int = 400


@dataclass(slots=True)
class Answered:
    """What came of one request."""

    marker: str
    streamed: bool
    status: int = 0
    """0 = no answer began."""
    body: bytes = b""
    complete: bool = False
    why: str = ""
    """What broke it."""
    last: bool = False
    """The server said that the connection ends with it."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def usable(self) -> bool:
        """The server has not closed it, as far as we know."""
        return not (self.reader.at_eof() or self.writer.transport.is_closing())


@dataclass(slots=True)
class KeptClient:
    """A pool of connections to one port."""

    port: int
    opened: int = 0
    """How many connections there were, ever."""
    closed: int = 0
    """How many of them the server asked to close."""
    _idle: list[_Connection] = field(default_factory=list)

    async def ask(self, wanted: Wanted) -> Answered:
        """One chat request, and its answer to the end."""
        answered = Answered(wanted.marker, wanted.streamed)
        try:
            connection = await self._connection()
        except OSError as error:
            answered.why = repr(error)
            return answered
        try:
            connection.writer.write(_request(self.port, wanted))
            await asyncio.wait_for(_take(connection.reader, answered), PATIENCE_S)
        except (OSError, EOFError, TimeoutError) as error:
            answered.why = repr(error)
            connection.writer.close()
            return answered
        if answered.last:
            self.closed += 1
            connection.writer.close()
        else:
            self._idle.append(connection)
        return answered

    async def close(self) -> None:
        """All of them."""
        for connection in self._idle:
            connection.writer.close()
            with suppress(OSError):
                await connection.writer.wait_closed()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop(0)
            if connection.usable:
                return connection
            connection.writer.close()
        self.opened += 1
        return _Connection(*await asyncio.open_connection("127.0.0.1", self.port))


def _request(port: int, wanted: Wanted) -> bytes:
    prompt = prompt_of(wanted.marker, say=wanted.say, gap_ms=wanted.gap_ms)
    fields: dict[str, Any] = {"model": wanted.model, "user": wanted.user, "max_tokens": wanted.max_tokens}
    if wanted.streamed:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(fields | {"messages": [{"role": "user", "content": prompt}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"x-penstock-tags: marker={wanted.marker}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _take(reader: asyncio.StreamReader, answered: Answered) -> None:
    status, headers = await _head(reader)
    answered.status, answered.last = status, headers.get("connection") == "close"
    if "content-length" in headers:
        answered.body = await reader.readexactly(int(headers["content-length"]))
    else:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            answered.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    answered.complete = not answered.streamed or status != 200 or answered.body.rstrip().endswith(b"data: [DONE]")


async def _head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
