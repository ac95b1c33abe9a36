"""One connection through the fault proxy: two ways, each read into a queue and delivered when, and as, the faults say.

Who sends an end is taken to have left, as HTTP's clients and servers mean it: what came before is delivered, then both
sides are closed.
"""

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_PIECE: Final = 65536
_QUEUED: Final = 32
"""Pieces under way in each direction before reading stops."""
_TICK_S: Final = 0.02
"""Under a bandwidth, what fits into so much time is delivered at once."""

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; nothing unless it is said."""

    latency_s: float = 0.0
    """Each way."""
    jitter_s: float = 0.0
    """Each way, up to so much more by chance; the order of bytes stays."""
    factor: float = 1.0
    """The first bytes of an answer take so many times as long as the target took."""
    bandwidth_bps: float = 0.0
    """Bytes per second of each way of each connection; 0 = no limit."""
    refuse: bool = False
    """New connections are refused: nobody listens."""
    black_hole: bool = False
    """Connections are accepted, and nothing goes through them, either way."""
    reset_connect: float = 0.0
    """Share of connections that are reset as soon as they are accepted."""
    after: int = 0
    """Bytes of each answer that come through before it meets what follows here."""
    reset_share: float = 0.0
    """Share of answers that are reset."""
    stall: bool = False
    """Answers stop, their connection stays."""
    half_close: bool = False
    """Answers end: the proxy sends no more, and goes on reading."""
    slow_s: float = 0.0
    """Answers come byte by byte, one in so many seconds."""
    hold_end: bool = False
    """The end that the target sends is not passed on."""


class Reset(Exception):
    """The connection is to be reset."""


class Ended(Exception):
    """One side has closed."""


class Net:
    """What the connections of a proxy share. Its numbers are read from other threads."""

    def __init__(self, target_port: int, seed: int, faults: Faults) -> None:
        self.target_port = target_port
        self.faults = faults
        self.requests = self.resets = self.asked = self.answered = 0
        self._chances = {what: random.Random(f"{seed} {what}") for what in ("connection", "answer", "piece")}  # noqa: S311 - chance, no secret
        self._changed = asyncio.Event()

    def change(self, faults: Faults) -> None:
        """Other faults; who waits for that looks again."""
        self.faults = faults
        self._changed.set()
        self._changed = asyncio.Event()

    async def change_within(self, seconds: float | None) -> None:
        """Until the faults change, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def passable(self) -> None:
        """Until it is no black hole."""
        while self.faults.black_hole:
            await self.change_within(None)

    def struck(self, what: str, share: float) -> bool:
        """By chance: one of its own for every ``connection`` and every ``answer``, so that a seed means one course."""
        return self._chances[what].random() < share

    def latency_s(self) -> float:
        """Of one piece."""
        return self.faults.latency_s + self.faults.jitter_s * self._chances["piece"].random()


class Link:
    """A client's connection and the one to the target."""

    def __init__(self, net: Net, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.net = net
        self.answered = 0
        """Bytes of the answer to the last request."""
        self.asked_at = 0.0
        self.doomed = False
        """The answer to this request will be reset."""
        self._begun = False
        self._client: Pipe = reader, writer
        self._writers = [writer]
        self._cut = asyncio.Event()

    def reset(self) -> None:
        """End it, from outside."""
        self._cut.set()

    async def run(self) -> None:
        """Until a side closes or a fault ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_cut())
                await self._carry(group)
        except* Reset:
            self.net.resets += 1
            self._abort()
        except* OSError:  # one side was reset, or the target refuses
            self._abort()
        except* Ended:
            pass
        finally:
            for writer in self._writers:
                writer.close()

    async def _carry(self, group: asyncio.TaskGroup) -> None:
        net = self.net
        if net.struck("connection", net.faults.reset_connect):
            raise Reset
        asks = _Asks(self, self._client[0])
        group.create_task(asks.read())
        await net.passable()
        reader, writer = await asyncio.open_connection("127.0.0.1", net.target_port)
        self._writers.append(writer)
        answers = _Answers(self, reader)
        group.create_task(answers.read())
        group.create_task(asks.deliver(writer))
        group.create_task(answers.deliver(self._client[1]))

    def _abort(self) -> None:
        """Close both sides with a TCP reset."""
        for writer in self._writers:
            with suppress(OSError):
                made = writer.get_extra_info("socket")
                if made is not None:  # its other end was quicker
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _wait_for_cut(self) -> None:
        await self._cut.wait()
        raise Reset

    def ask(self, size: int) -> None:
        """So many bytes of a request go to the target."""
        net = self.net
        net.asked += size
        if self._begun and not self.answered:
            return
        self._begun, self.answered = True, 0
        net.requests += 1
        self.asked_at = asyncio.get_running_loop().time()
        self.doomed = net.struck("answer", net.faults.reset_share)


class _Way:
    """One direction: read, held for as long as it takes, delivered."""

    def __init__(self, link: Link, reader: asyncio.StreamReader) -> None:
        self._link = link
        self._net = link.net
        self._reader = reader
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)

    async def read(self) -> None:
        """Into the queue, until the end."""
        due, now, data = 0.0, asyncio.get_running_loop().time, b"-"
        while data:
            data = await self._reader.read(_PIECE)
            if not data and self._net.faults.black_hole:
                raise Ended
            due = max(due, now() + self._net.latency_s() + self._later_s(now()))
            await self._queue.put((due, data))

    async def deliver(self, writer: asyncio.StreamWriter) -> None:
        """Out of the queue, each piece when it is due. Raises Ended at the end."""
        now = asyncio.get_running_loop().time
        while True:
            due, data = await self._queue.get()
            if due > now():
                await asyncio.sleep(due - now())
            await self._net.passable()
            if not data:
                await self._end()
            await self._pass(writer, data)

    def _later_s(self, now: float) -> float:
        """How much longer than the latency a piece that was read now is held."""
        del now
        return 0.0

    async def _end(self) -> None:
        raise Ended

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Piece by piece, as the bandwidth allows."""
        while data:
            size = self._size(data)
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if rate := self._net.faults.bandwidth_bps:
                await self._net.change_within(size / rate)

    def _size(self, data: bytes) -> int:
        """How much of it goes out at once."""
        rate = self._net.faults.bandwidth_bps
        return min(len(data), max(1, int(rate * _TICK_S))) if rate else len(data)


class _Asks(_Way):
    """From the client to the target."""

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self._link.ask(len(data))
        await super()._pass(writer, data)


class _Answers(_Way):
    """From the target to the client."""

    def _later_s(self, now: float) -> float:
        link = self._link
        return 0.0 if link.answered else (self._net.faults.factor - 1) * (now - link.asked_at)

    async def _end(self) -> None:
        while self._net.faults.hold_end:
            await self._net.change_within(None)
        raise Ended

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        net, link = self._net, self._link
        while data:
            faults = net.faults
            if link.answered >= faults.after:
                if link.doomed:
                    raise Reset
                if faults.half_close:
                    await self._half_close(writer)
                if faults.stall:
                    await net.change_within(None)
                    continue
            left = faults.after - link.answered
            size = min(len(data), left) if left > 0 else 1 if faults.slow_s else len(data)
            link.answered += size
            net.answered += size
            await super()._pass(writer, data[:size])
            data = data[size:]
            if faults.slow_s and left <= 0:
                await net.change_within(faults.slow_s)

    async def _half_close(self, writer: asyncio.StreamWriter) -> None:
        """Say the end, and nothing more whatever changes."""
        writer.write_eof()
        await asyncio.Event().wait()
