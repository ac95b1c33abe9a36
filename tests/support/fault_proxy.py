"""A TCP proxy on loopback that does what networks and sick providers do; its faults may be changed while it runs.

    with fault_proxy(provider.port, seed=7) as proxy:
        proxy.set(latency_s=0.05, jitter_s=0.02)   # each way, of each piece
        proxy.set(stall=True, after=200)           # every answer stops after its first 200 bytes, for ever
        proxy.heal()
        assert proxy.counts.open == 0

It knows nothing of HTTP but this: the first bytes towards the target after an answer, or at the start, are a request.
It runs in a thread and a loop of its own; chance is seeded. Faults meet connections that are open already, too.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import uvloop

from tests.support.fault_proxy_link import Faults, Link, Net

LOOPBACK: Final = "127.0.0.1"
PATIENCE_S: Final = 10.0
BACKLOG: Final = 4096
NONE: Final = Faults()


@dataclass(slots=True)
class Counts:
    """What came by, as it stands now."""

    accepted: int
    open: int
    requests: int
    resets: int
    asked_bytes: int
    answered_bytes: int


class FaultProxy:
    """From a port of its own to a target on loopback. Its methods may be called from any thread but its own."""

    def __init__(self, target_port: int, *, seed: int = 1, faults: Faults = NONE) -> None:
        """``target_port``: what answers behind it."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._net = Net(target_port, seed, faults)
        self._links: dict[asyncio.Task[None], Link] = {}
        self._accepted = 0
        self._server: asyncio.Server | None = None
        self._place = _bound(0)  # keeps the port ours while nobody listens on it
        self.port: int = self._place.getsockname()[1]

    def start(self) -> Self:
        """Listen, unless it is to refuse."""
        self._thread.start()
        self._run(self._change(self.faults))
        return self

    def stop(self) -> None:
        """Close every connection."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._place.close()

    def url(self, path: str = "") -> str:
        """A base URL by way of it."""
        return f"http://{LOOPBACK}:{self.port}{path}"

    @property
    def faults(self) -> Faults:
        """What it does wrong now."""
        return self._net.faults

    @property
    def counts(self) -> Counts:
        """What came by."""
        net = self._net
        return Counts(self._accepted, len(self._links), net.requests, net.resets, net.asked, net.answered)

    def set(self, **changes: Any) -> None:
        """From now on do these faults too, or otherwise; by the names of ``Faults``."""
        self._run(self._change(replace(self._net.faults, **changes)))

    def heal(self) -> None:
        """No more faults; what was held goes on."""
        self._run(self._change(NONE))

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._run(self._cut())

    # --- in the thread

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        listening = _bound(self.port)
        self._server = await asyncio.start_server(self._accept, sock=listening, backlog=BACKLOG)

    async def _change(self, faults: Faults) -> None:
        self._net.change(faults)
        if faults.refuse and self._server is not None:
            self._server.close()
            self._server = None
        if not faults.refuse and self._server is None:
            await self._listen()

    async def _cut(self) -> None:
        links = dict(self._links)
        for link in links.values():
            link.reset()
        await asyncio.gather(*links, return_exceptions=True)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._links:
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepted += 1
        self._links[task] = link = Link(self._net, reader, writer)
        task.add_done_callback(self._links.pop)
        with suppress(asyncio.CancelledError):
            await link.run()


@contextmanager
def fault_proxy(target_port: int, *, seed: int = 1, **faults: Any) -> Iterator[FaultProxy]:
    """One that listens, with these faults."""
    proxy = FaultProxy(target_port, seed=seed, faults=Faults(**faults)).start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _bound(port: int) -> socket.socket:
    made = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sets TCP_NODELAY on these only
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((LOOPBACK, port))
    return made
