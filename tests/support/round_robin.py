"""A load balancer on loopback, from a thread of its own: each request goes to the next node, whoever asks.

    with round_robin([8101, 8102]) as balancer:
        ... f"http://127.0.0.1:{balancer.port}" ...
        assert min(balancer.given) > 0

It tells both sides to close after one request, so a client that keeps its connections is spread as well. All else
passes as it came.
"""

import asyncio
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

PATIENCE_S = 10.0
_PIECE_BYTES = 65536
_KEPT = re.compile(rb"(?i)(?<=\r\nconnection: )[^\r]*")


class RoundRobin:
    """Use ``round_robin``."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self.given = [0] * len(ports)
        """Requests, by node."""
        self._turns = itertools.cycle(enumerate(ports))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer")
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_S)

    def stop(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    # --- in the thread

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        place, port = next(self._turns)
        self.given[place] += 1
        answers, asks = await asyncio.open_connection("127.0.0.1", port)
        asks.write(_KEPT.sub(b"close", head))
        asking = asyncio.create_task(_copy(reader, asks))
        try:
            await _copy(answers, writer)
        finally:
            asking.cancel()
            asks.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the one side ends; the other is told."""
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.close()


@contextmanager
def round_robin(ports: Sequence[int]) -> Iterator[RoundRobin]:
    """One that listens, in front of the nodes at these ports."""
    made = RoundRobin(ports)
    made.start()
    try:
        yield made
    finally:
        made.stop()
