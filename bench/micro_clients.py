"""``python bench/micro_clients.py``: CPU of the sender against the clients that were not taken (docs/adr/0004).

Microseconds of this process's CPU per call, all clients in the same run against a small upstream in a process of its
own: a whole answer of 1 KB, a stream of 100 chunks sent as fast as they go, and one with 1 ms between them. Beside it
the one fault that decided: whether leaving before the head closes the connection. The other clients are not installed
with Penstock: ``uv pip install pyreqwest aiohttp``; what is missing is left out.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import uvloop

from penstock.clock import SystemClock
from penstock.config.settings import ProviderSettings
from penstock.ports.providers import UpstreamCall
from penstock.providers.http import HttpTransport

CONCURRENT: Final = 16
CHUNKS: Final = 100
ROUNDS: Final = 3
WHOLE: Final = b'{"choices":[{"message":{"role":"assistant","content":"' + b"x" * 950 + b'"}}]}'
CHUNK: Final = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'
BODY: Final = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 150 + b'"}]}'
HEADERS: Final = {"content-type": "application/json", "authorization": "Bearer none", "accept": "application/json"}
CASES: Final = {"whole": (4000, "whole"), "stream": (300, "fast"), "paced stream": (200, "paced")}
"""Name -> (calls, path)."""

Call = Callable[[str, bool], Awaitable[None]]
"""Call a URL, as a stream or not, and read the answer to its end."""


class Upstream(asyncio.Protocol):
    """Answers by the path: whole, a fast stream, a paced one, or never."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """One request is one read: they are small."""
        kind = data.split(b" ", 2)[1]
        if kind == b"/whole":
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE)
        elif kind != b"/never":
            self.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            self._chunks(CHUNKS, 0.001 if kind == b"/paced" else 0.0)

    def _chunks(self, left: int, gap_s: float) -> None:
        self.transport.write(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK) if left else b"0\r\n\r\n")
        if left:
            asyncio.get_running_loop().call_later(gap_s, self._chunks, left - 1, gap_s)


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Call]:
    """The sender of ``providers/http.py``."""
    row = ProviderSettings(
        "p", "openai", {}, None, None, False, "stops", "completion", "", "CNY", None, None, {}
    )  # fmt: skip
    transport = HttpTransport(SystemClock())

    async def call(url: str, stream: bool) -> None:  # noqa: FBT001 - the same of all clients
        response = await transport.send(UpstreamCall(row, "POST", url, HEADERS, BODY, stream, 5.0))
        if stream:
            while await response.next():
                pass
        else:
            await response.read(1 << 20)
        await response.close()

    yield call
    await transport.close()


@contextlib.asynccontextmanager
async def pyreqwest() -> AsyncIterator[Call]:
    """The client of reqwest, in Rust."""
    builder = importlib.import_module("pyreqwest.client").ClientBuilder()
    client = builder.no_proxy().follow_redirects(False).connect_timeout(timedelta(seconds=5)).build()

    async def call(url: str, stream: bool) -> None:  # noqa: FBT001 - the same of all clients
        request = client.post(url).headers(HEADERS).body_bytes(BODY)
        if stream:
            request = request.streamed_read_buffer_limit(0)
        async with request.build_streamed() as response:
            while stream and await response.body_reader.read_chunk() is not None:
                pass
            if not stream:
                await response.bytes()

    yield call
    await client.close()


@contextlib.asynccontextmanager
async def aiohttp() -> AsyncIterator[Call]:
    """The client of aiohttp."""
    module = importlib.import_module("aiohttp")
    session = module.ClientSession(
        connector=module.TCPConnector(limit=0),
        timeout=module.ClientTimeout(total=None),
        cookie_jar=module.DummyCookieJar(),
    )

    async def call(url: str, stream: bool) -> None:  # noqa: FBT001 - the same of all clients
        async with session.post(url, data=BODY, headers=HEADERS, allow_redirects=False) as response:
            while stream and await response.content.readany():
                pass
            if not stream:
                await response.read()

    yield call
    await session.close()


CLIENTS: Final = {"ours": ours, "pyreqwest": pyreqwest, "aiohttp": aiohttp}


async def cpu_us(call: Call, url: str, calls: int, *, stream: bool) -> float:
    """CPU microseconds per call, ``CONCURRENT`` at a time."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call(url, stream)

    since = time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return (time.process_time() - since) / calls * 1e6


async def closes_s(call: Call) -> str:
    """How soon the upstream sees the connection close when a call is cancelled before its head."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        task = asyncio.ensure_future(call(f"http://127.0.0.1:{listener.getsockname()[1]}/never", False))
        connection, _ = await loop.sock_accept(listener)
        with connection:
            connection.setblocking(False)
            await loop.sock_recv(connection, 65536)
            task.cancel()
            since = time.monotonic()
            try:
                async with asyncio.timeout(3):
                    await loop.sock_recv(connection, 1)
            except TimeoutError:
                return "not within 3 s"
            except OSError:
                pass
            return f"{(time.monotonic() - since) * 1000:.1f} ms"


async def measure(base: str) -> None:
    """Print the table: medians of the rounds, the clients in turn in each."""
    names = [name for name in CLIENTS if name == "ours" or importlib.util.find_spec(name)]
    found: dict[tuple[str, str], list[float]] = {}
    closing: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name in names:
            async with CLIENTS[name]() as call:
                await cpu_us(call, f"{base}/whole", 200, stream=False)
                for case, (calls, path) in CASES.items():
                    figure = await cpu_us(call, f"{base}/{path}", calls, stream=case != "whole")
                    found.setdefault((name, case), []).append(figure)
                closing[name] = await closes_s(call)
    sys.stdout.write(f"{'CPU us per call':16}" + "".join(f"{case:>14}" for case in CASES) + "   cancelled: closed in\n")
    for name in names:
        figures = "".join(f"{statistics.median(found[name, case]):14.1f}" for case in CASES)
        sys.stdout.write(f"{name:16}{figures}   {closing[name]}\n")


async def serve() -> None:
    """The upstream: prints its port and serves until its input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


async def main() -> None:
    """Start the upstream and measure."""
    upstream = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if upstream.stdin is None or upstream.stdout is None:
        return
    port = int(await upstream.stdout.readline())
    await measure(f"http://127.0.0.1:{port}")
    upstream.stdin.close()
    await upstream.wait()


if __name__ == "__main__":
    uvloop.run(serve() if "--serve" in sys.argv else main())
