"""Time to the first byte of the body at one client: ``python -m bench.load.firstbyte URL SECONDS BODY``.

A raw protocol on uvloop, one connection, one request at a time, each with a number of its own; prints one JSON line.
"""

import asyncio
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load.cases import NUMBER


class FirstByte(msgspec.Struct, frozen=True):
    """Medians in microseconds from the request to the first byte of the body, and to the last."""

    requests: int
    first_p50_us: float
    total_p50_us: float
    errors: int


class Client(asyncio.Protocol):
    """Asks on one connection and notes when the answer's body begins and ends."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._head = b""
        self._in_body = False
        self._left: int | None = None
        """Bytes of the body still to come; None = chunked."""
        self._tail = b""
        self.first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the answer being awaited."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    async def ask(self, request: bytes) -> bytes:
        """Send it and wait for the end of its answer; the answer's head, in lower case."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._head, self._in_body, self.first_at = b"", False, 0.0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Take the head off, then count the body."""
        if self._in_body:
            self._take(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            data, self._head = self._head[end + 4 :], self._head[:end].lower()
            at = self._head.find(b"content-length:")
            self._left = int(self._head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else None
            self._in_body, self._tail = True, b"\r\n"
            self._take(data)

    def _take(self, data: bytes) -> None:
        if data:
            self.first_at = self.first_at or time.perf_counter()
        if self._left is None:
            self._tail = (self._tail + data)[-7:]
            ended = self._tail == b"\r\n0\r\n\r\n"
        else:
            self._left -= len(data)
            ended = self._left <= 0
        if ended and self._answer and not self._answer.done():
            self._answer.set_result(self._head)


def request(url: str, body: str, number: int) -> bytes:
    """One POST."""
    parts = urlsplit(url)
    data = body.replace(NUMBER, str(number)).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer none\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def measure(url: str, body: str, secs: float) -> FirstByte:
    """Ask for that long, after ten requests to warm up."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    connection, client = await loop.create_connection(Client, parts.hostname or "127.0.0.1", parts.port or 80)
    number = time.time_ns() % 10**15
    firsts, totals, errors = [], [], 0
    for _ in range(10):
        await client.ask(request(url, body, number := number + 1))
    stop = time.perf_counter() + secs
    while (start := time.perf_counter()) < stop:
        head = await client.ask(request(url, body, number := number + 1))
        totals.append(time.perf_counter() - start)
        firsts.append(client.first_at - start)
        errors += head.split(b" ", 2)[1] != b"200"
    connection.close()
    return FirstByte(len(totals), median_us(firsts), median_us(totals), errors)


def median_us(times_s: list[float]) -> float:
    """The median, in microseconds."""
    return round(sorted(times_s)[len(times_s) // 2] * 1e6, 1)


if __name__ == "__main__":
    uvloop.install()
    sys.stdout.write(msgspec.json.encode(asyncio.run(measure(sys.argv[1], sys.argv[3], float(sys.argv[2])))).decode())
