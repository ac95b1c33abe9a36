"""A provider behind a real socket: the shipped scripted provider, speaking HTTP on loopback from a thread of its own.

    with upstream() as up:
        up.script.reply("hi")                    # for every provider
        up.script.at("busy").fail(429).forever()  # for the one whose base URL is up.url("busy")
        ...
        assert [asked.json["model"] for asked in up.calls] == ["m"]

The first segment of a path is the name of the provider. ``hold`` makes every pause of a script last until ``release``:
what is in flight then stays in flight, however slow the machine is.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Self

from penstock.clock import SystemClock
from penstock.config.settings import ProviderSettings
from penstock.errors import UpstreamError
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.scripted import Asked, Scripted

PATIENCE_S = 10.0
MAX_BODY = 64 * 1024 * 1024


class HeldClock(SystemClock):
    """Real time, except that while it is held every sleep lasts until it is let go."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    async def sleep(self, seconds: float) -> None:
        """That long, or until let go."""
        if self.free.is_set():
            await super().sleep(seconds)
        else:
            await self.free.wait()


class Upstream:
    """The provider as a test sees it. Its words are said between requests, or while they wait."""

    def __init__(self) -> None:
        self._clock = HeldClock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream")
        self._answering: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.script = Scripted(self._clock)
        self.port = 0

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_S)
        return self

    def stop(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def url(self, provider: str) -> str:
        """The base URL of the provider of that name."""
        return f"http://127.0.0.1:{self.port}/{provider}"

    @property
    def calls(self) -> list[Asked]:
        """What it was asked since the last ``forget``, oldest first."""
        return self.script.calls

    def forget(self) -> None:
        """A new script, and no calls yet."""
        self.script = Scripted(self._clock)
        self.release()

    def hold(self) -> None:
        """From now on pauses last until ``release``."""
        self._loop.call_soon_threadsafe(self._clock.free.clear)

    def release(self) -> None:
        """Let go of everything that is held."""
        self._loop.call_soon_threadsafe(self._clock.free.set)

    # --- in the thread

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._exchange(reader, writer)
        except UpstreamError:
            writer.transport.abort()
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer; raises UpstreamError where the script breaks the connection."""
        call = await _read_call(reader)
        response = await self.script.send(call)
        streamed = "event-stream" in response.headers.get("content-type", "")
        await (_send_stream if streamed else _send_whole)(writer, response)


@contextmanager
def upstream() -> Iterator[Upstream]:
    """One that listens."""
    made = Upstream().start()
    try:
        yield made
    finally:
        made.stop()


async def _read_call(reader: asyncio.StreamReader) -> UpstreamCall:
    """The request, as the scripted provider takes it. Header names are in lower case."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return UpstreamCall(
        provider=_provider(target.split("/")[1]),
        method=method,
        url=target,
        headers=headers,
        body=body,
        stream=False,
        connect_timeout_s=PATIENCE_S,
    )


def _provider(name: str) -> ProviderSettings:
    """As much of one as the script looks at: its name."""
    return ProviderSettings(
        name=name, kind="scripted", base_urls={}, api_key=None, prices=None, private=False,
        after_disconnect="completes", billed_at="completion", price_book="", currency="CNY", proxy=None, ca_file=None,
        headers={},
    )  # fmt: skip


async def _send_whole(writer: asyncio.StreamWriter, response: UpstreamResponse) -> None:
    body = await response.read(MAX_BODY)
    writer.write(_head(response.status, response.headers, {"content-length": str(len(body))}) + body)
    await writer.drain()


async def _send_stream(writer: asyncio.StreamWriter, response: UpstreamResponse) -> None:
    writer.write(_head(response.status, response.headers, {"transfer-encoding": "chunked"}))
    while data := await response.next():
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _head(status: int, *headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted"]
    lines += [f"{name}: {value}" for some in headers for name, value in some.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
