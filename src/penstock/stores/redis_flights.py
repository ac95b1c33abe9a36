"""Flights that cross nodes: what the leader's node writes behind, and how others read it.

A stream in Redis is written only while somebody follows: whoever is told to follow says so to the leader's node, which
then writes its backlog first. Followers are told of more, and look for themselves each half second. A leader whose node
is silent, and one that outgrew ``max_bytes``, is Unreachable: then one follower leads, by asking again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol

import msgspec

from penstock.errors import PenstockError, SharedUnavailable, Unreachable
from penstock.ports.answers import StoredAnswer
from penstock.ports.clock import Clock
from penstock.ports.crossing import CrossingEnd
from penstock.stores.redis_connection import Word
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_nodes import BEAT_S, RedisNodes
from penstock.stores.scripts import Script
from penstock.stores.shared_errors import pack_error, unpack_error
from penstock.wire.sse import Event

STREAM_S: Final = 30.0
"""What was written of a flight is kept so long after its last piece."""
SLOW_S: Final = 1.0
"""The deadline of what carries bodies, behind."""
BATCH_BYTES: Final = 256 * 1024
_COUNT: Final = 64

_Packed = list[tuple[bytes, bytes | None, str]]
_encode: Final = msgspec.msgpack.Encoder().encode
_batch: Final = msgspec.msgpack.Decoder(tuple[str, _Packed]).decode
_answer: Final = msgspec.msgpack.Decoder(StoredAnswer).decode


class FlightKeys:
    """Where a flight stands."""

    __slots__ = ("_beginning", "answer", "flight", "key", "marker")

    def __init__(self, key: bytes, flight: str, prefix: str) -> None:
        self.key = key
        self.flight = flight
        self._beginning = beginning = f"{prefix}:{{{key.hex()}}}:".encode()
        self.answer = beginning + b"a"
        """The answer's hash."""
        self.marker = beginning + b"f"
        """The hash that says who leads."""

    @property
    def stream(self) -> bytes:
        """What those who follow read."""
        return self._beginning + b"s:" + self.flight.encode()


class Tell(Protocol):
    """Ends a flight, behind."""

    def __call__(
        self, crossing: "RedisCrossing", answer: StoredAnswer | None, error: PenstockError | None, *, store: bool
    ) -> None:
        """``store``: for those who ask later, too."""
        ...


class RedisCrossing:
    """A flight that this node leads."""

    leads: Literal[True] = True

    def __init__(
        self,
        link: RedisLink,
        nodes: RedisNodes,
        keys: FlightKeys,
        generation: int,
        *,
        script: Script,
        tell: "Tell",
        spawn: Callable[[Awaitable[None]], None],
        max_bytes: int,
    ) -> None:
        """``script``: writes a batch; ``tell``: ends it; ``spawn``: runs what is sent behind."""
        self.keys = keys
        self.generation = generation
        self.heed: Callable[[int], object] = lambda _: None
        self.behind = True
        self.overflown = False
        self._link = link
        self._nodes = nodes
        self._tell = tell
        self._spawn = spawn
        self._max_bytes = max_bytes
        self._bytes = self._sent = 0
        self._events: list[Event] = []
        self._served_by = ""
        self._follow: dict[str, str] = {}
        self._sending = asyncio.Lock()
        self._script = script

    @property
    def followers(self) -> int:
        """How many wait, as far as is known."""
        return len(self._follow)

    def publish(self, event: Event, served_by: str) -> None:
        """Keep it, and send it if anybody follows."""
        self._bytes += len(event.raw)
        if self._bytes > self._max_bytes:
            self.overflown = True
            self._events.clear()
            return
        self._events.append(event)
        self._served_by = served_by
        self._send()

    def end(self, answer: StoredAnswer | None, error: PenstockError | None, *, store: bool) -> None:
        """Say so, behind what was published."""
        self._tell(self, answer, error, store=store)

    def hear(self, what: str, node: str, follower: str) -> None:
        """Somebody follows, or does not any more."""
        before = len(self._follow)
        if what == "follow":
            self._follow[follower] = node
            self._send()
        else:
            self._follow.pop(follower, None)
        if len(self._follow) != before:
            self.heed(len(self._follow) - before)

    def _send(self) -> None:
        if self._follow and not self._sending.locked() and self._sent < len(self._events):
            self._spawn(self._flush())

    async def finish(self) -> None:
        """What was begun to be written, or somebody waits for, is written to its end."""
        if self._follow or self._sent:
            await self._flush()

    async def _flush(self) -> None:
        """Write what is not written yet, in order."""
        async with self._sending:
            try:
                while self._sent < len(self._events) and not self.overflown:
                    await self._write(self._next())
            except SharedUnavailable:
                self.overflown = True  # a piece is missing now: nobody may go on behind it

    def _next(self) -> _Packed:
        batch: _Packed = []
        size = 0
        while self._sent < len(self._events) and (not batch or size < BATCH_BYTES):
            event = self._events[self._sent]
            batch.append((event.raw, event.data, event.name))
            size += len(event.raw)
            self._sent += 1
        return batch

    async def _write(self, batch: _Packed) -> None:
        nodes = sorted(set(self._follow.values()))
        packed = _encode((self._served_by, batch))
        words: Sequence[Word] = (
            self.keys.flight, packed, round(STREAM_S * 1000), self._nodes.channels, len(nodes), *nodes,
        )  # fmt: skip
        await self._link.run(self._script, [self.keys.stream], words, deadline_s=SLOW_S)

    def packed_end(self, answer: StoredAnswer | None, error: PenstockError | None) -> bytes:
        """How it ended, for those who follow."""
        if self.overflown or (answer is not None and len(answer.body) > self._max_bytes):
            error = Unreachable("what this request was joined to is too large to be shared: try again")
        return b"" if error is None else pack_error(error)


class RedisFollowing:
    """A flight that another node leads."""

    leads: Literal[False] = False

    def __init__(
        self,
        link: RedisLink,
        nodes: RedisNodes,
        clock: Clock,
        keys: FlightKeys,
        *,
        leader: str,
        generation: int,
        follower: str,
        done: Callable[["RedisFollowing"], None],
    ) -> None:
        """``follower``: the name under which the leader's node knows it; ``done``: called when it is closed."""
        self.keys = keys
        self.generation = generation
        self.served_by = ""
        self.lost = False
        """Nobody leads it any more, though it has not ended."""
        self.follower = follower
        self.leader = leader
        self._link = link
        self._nodes = nodes
        self._clock = clock
        self._done = done
        self._last = b"0"
        self._ended: CrossingEnd | None = None
        self._news = asyncio.Event()
        self._gone = False

    def hear(self, *, gone: bool = False) -> None:
        """There is more; or the leader's node knows nothing of the flight."""
        self._gone = self._gone or gone
        self._news.set()

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """The stream, from its start."""
        while not self._is_over():
            is_gone = self._gone
            found = await self._read()
            for batch in found:
                yield batch
            if not found and not self._is_over():
                await (self._give_up() if is_gone else self._wait())

    async def end(self) -> CrossingEnd:
        """How it ended; what comes before that is passed over. Of a stream that was not written there is only this."""
        async for _ in self.batches():
            pass
        assert self._ended is not None  # noqa: S101 - that is when the batches end
        return self._ended

    def close(self) -> None:
        """Follow no more."""
        self._done(self)

    def _is_over(self) -> bool:
        return self._ended is not None

    async def _read(self) -> list[list[Event]]:
        self._news.clear()
        found: list[list[Event]] = []
        try:
            rows = await self._link.call(
                self.keys.stream, "XRANGE", self.keys.stream, b"(" + self._last, "+", "COUNT", _COUNT, deadline_s=SLOW_S
            )
        except SharedUnavailable:
            return found
        for id_, fields in rows:
            self._last = id_
            named = dict(zip(fields[::2], fields[1::2], strict=True))
            if b"batch" in named:
                self.served_by, packed = _batch(named[b"batch"])
                found.append([Event(raw, data, name) for raw, data, name in packed])
            else:
                self._end_with(named[b"end"], named[b"answer"])
        return found

    def _end_with(self, error: bytes, answer: bytes) -> None:
        if error:
            self._ended = CrossingEnd(error=unpack_error(error))
        else:
            self._ended = CrossingEnd(answer=_answer(answer) if answer else None)

    async def _wait(self) -> None:
        """For news, or a beat: then it looks whether its leader lives, and says again that it follows."""
        if not self._news.is_set():
            timer = self._clock.later(BEAT_S, self._news.set)
            since = self._clock.monotonic()
            try:
                await self._news.wait()
            finally:
                timer.cancel()
            if self._clock.monotonic() - since >= BEAT_S:
                await self._look_after_leader()

    async def _look_after_leader(self) -> None:
        if await self._leads():
            await self._nodes.say(self.leader, "follow", self.keys.flight, self._nodes.name, self.follower)
        else:
            await self._give_up()

    async def _give_up(self) -> None:
        self.lost = True
        self._ended = CrossingEnd(error=Unreachable("what this request was joined to is gone: try again"))

    async def _leads(self) -> bool:
        """Whether the flight is still its leader's, or its end is there to be read."""
        if not await self._nodes.lives(self.leader):
            return False
        try:
            led = await self._link.call(self.keys.marker, "HGET", self.keys.marker, "id")
            if led is not None and led.decode() == self.keys.flight:
                return True
            return bool(
                await self._link.call(self.keys.stream, "XRANGE", self.keys.stream, b"(" + self._last, "+", "COUNT", 1)
            )
        except SharedUnavailable:
            return True  # nobody can say; its node is known to live
