"""The mock provider: an OpenAI-compatible upstream that costs next to nothing, so that the gateway is what is measured.

``python -m bench.load.upstream 9100``. One process, one core, a raw protocol on uvloop. ``POST .../chat/completions``
answers a JSON of 200 characters, or, when the body says ``"stream": true``, 100 content chunks with one write each, a
usage chunk and ``[DONE]``; with ``"user": "mock:pause"`` it waits ``PAUSE_S`` after the first chunk, as every real
model does. Anything else answers a small JSON, so that probes succeed.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any, cast

import uvloop

CHUNKS = 100
ANSWER_CHARACTERS = 200
PAUSE_S = 0.003
"""Long enough for the first chunk to get through any gateway before the others take the client's core."""
USAGE = {
    "prompt_tokens": 24,
    "completion_tokens": 48,
    "total_tokens": 72,
    "prompt_tokens_details": {"cached_tokens": 16},
    "prompt_cache_hit_tokens": 16,
    "prompt_cache_miss_tokens": 8,
}
BASE = {"id": "chatcmpl-mock0001", "created": 1700000000, "model": "mock-model"}

_ASKS_STREAM = re.compile(rb'"stream"\s*:\s*true')
_ASKS_PAUSE = re.compile(rb'"user"\s*:\s*"mock:pause"')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


def whole(body: dict[str, Any]) -> bytes:
    """A complete HTTP response with this JSON body."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nServer: mock\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def completion() -> bytes:
    """The answer to a request that wants no stream."""
    text = ("lorem ipsum dolor sit amet " * ANSWER_CHARACTERS)[:ANSWER_CHARACTERS]
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return whole({**BASE, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def frame(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**fields: Any) -> bytes:
    """One framed stream event."""
    return frame(b"data: " + json.dumps({**BASE, "object": "chat.completion.chunk", **fields}).encode() + b"\n\n")


def delta(content: dict[str, str], finish: str | None = None) -> bytes:
    """A framed content chunk."""
    return event(choices=[{"index": 0, "delta": content, "finish_reason": finish}])


def stream_writes() -> list[bytes]:
    """The writes of a streamed answer, in order."""
    head = (
        b"HTTP/1.1 200 OK\r\nServer: mock\r\nContent-Type: text/event-stream\r\n"
        b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    first = head + delta({"role": "assistant", "content": ""})
    last = delta({}, "stop") + event(choices=[], usage=USAGE) + frame(b"data: [DONE]\n\n") + _LAST_CHUNK
    return [first, *(delta({"content": f"token{i:03d} "}) for i in range(CHUNKS)), last]


COMPLETION = completion()
STREAM = stream_writes()
PROBE = whole({"status": "ok", "object": "list", "data": [{"id": "mock-model", "object": "model"}]})


def end_of_request(buffer: bytes, head_end: int) -> int:
    """Where the request whose head ends at ``head_end`` ends itself; -1 = not all of it is there."""
    start = head_end + 4
    head = buffer[:head_end]
    if length := _LENGTH.search(head):
        stop = start + int(length[1])
        return stop if len(buffer) >= stop else -1
    if _CHUNKED.search(head):
        last = buffer.find(_LAST_CHUNK, start)
        return last + len(_LAST_CHUNK) if last >= 0 else -1
    return start


class Connection(asyncio.Protocol):
    """One client connection; a pipelined request waits until the answer before it is out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._writes: Iterator[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, without Nagle's delay."""
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        """Stop whatever is being written."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        self._next()

    def _next(self) -> None:
        while self._writes is None and (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            stop = end_of_request(self._buffer, head_end)
            if stop < 0:
                return
            request, self._buffer = self._buffer[:stop], self._buffer[stop:]
            self._answer(request, head_end)

    def _answer(self, request: bytes, head_end: int) -> None:
        if not request.startswith(b"POST") or b"/chat/completions" not in request[:200]:
            self._write(PROBE)
        elif _ASKS_STREAM.search(request, head_end):
            self._writes = iter(STREAM)
            if _ASKS_PAUSE.search(request, head_end):
                self._write(next(self._writes))
                self._loop.call_later(PAUSE_S, self._write_on)
            else:
                self._write_on()
        else:
            self._write(COMPLETION)

    def _write_on(self) -> None:
        """One write per turn of the loop: chunks leave one by one, as a provider's do."""
        data = next(self._writes, None) if self._writes else None
        if self._transport is None:
            return
        if data is None:
            self._writes = None
            self._next()
        else:
            self._transport.write(data)
            self._loop.call_soon(self._write_on)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(port: int) -> None:
    """Listen until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(serve(int(sys.argv[1])))
