"""What nodes share, in the memory of one process: for tests, the lab, and nodes that live in one process.

Keeps the rules that Redis keeps for real nodes (``redis_answers.py``, ``redis_rates.py``), without a server.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Literal

from penstock.core.quota import MinuteWindow
from penstock.errors import PenstockError, SharedUnavailable, Unreachable
from penstock.ports.answers import Purge, StoredAnswer
from penstock.ports.crossing import CrossingEnd
from penstock.ports.lending import RatePart, RateWant
from penstock.ports.shared import Shared
from penstock.stores.memory_rooms import MemoryRooms
from penstock.wire.sse import Event

AWAY: Final = "what the nodes share does not answer: try again"


class MemoryCrossing:
    """A flight, as its leader has it."""

    leads: Literal[True] = True

    def __init__(self, generation: int, done: Callable[["MemoryCrossing", bool], None]) -> None:
        self.generation = generation
        self.heed: Callable[[int], object] = lambda _: None
        self.behind = True
        self.served_by = ""
        self.events: list[Event] = []
        self.ended: CrossingEnd | None = None
        self.following: set[MemoryFollowing] = set()
        self._done = done

    @property
    def followers(self) -> int:
        """How many wait for it."""
        return len(self.following)

    def publish(self, event: Event, served_by: str) -> None:
        """One more event."""
        self.served_by = served_by
        self.events.append(event)
        self._wake()

    def end(self, answer: StoredAnswer | None, error: PenstockError | None, *, store: bool) -> None:
        """Nothing more will come."""
        self.ended = CrossingEnd(answer, error)
        self._done(self, store)
        self._wake()

    def lose(self) -> None:
        """Its node dies."""
        self.end(None, Unreachable("what this request was joined to is gone: try again"), store=False)

    def _wake(self) -> None:
        for following in self.following:
            following.news.set()


class MemoryFollowing:
    """A flight, as who follows it has it."""

    leads: Literal[False] = False

    def __init__(self, crossing: MemoryCrossing) -> None:
        self.generation = crossing.generation
        self.served_by = ""
        self.news = asyncio.Event()
        self._crossing = crossing
        crossing.following.add(self)
        crossing.heed(1)

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """Its events, in pieces as they come."""
        sent, crossing = 0, self._crossing
        while sent < len(crossing.events) or crossing.ended is None:
            self.news.clear()
            batch = crossing.events[sent:]
            sent += len(batch)
            self.served_by = crossing.served_by
            if batch:
                yield batch
            else:
                await self.news.wait()

    async def end(self) -> CrossingEnd:
        """How it ended."""
        while self._crossing.ended is None:
            self.news.clear()
            await self.news.wait()
        return self._crossing.ended

    def close(self) -> None:
        """Follow no more."""
        if self in self._crossing.following:
            self._crossing.following.discard(self)
            self._crossing.heed(-1)


class MemoryAnswers:
    """The port SharedAnswers, for all nodes at once."""

    def __init__(self, now: Callable[[], float]) -> None:
        """``now``: epoch seconds."""
        self.away = False
        """Nobody answers."""
        self.behind = True
        """Whether the store may have what is not here."""
        self.asked = 0
        self.stored: dict[bytes, StoredAnswer] = {}
        self.flights: dict[bytes, MemoryCrossing] = {}
        self.on_purge: list[Callable[[Purge], object]] = []
        """A node each."""
        self._now = now

    async def get(self, key: bytes, *, stored_after: float = 0.0) -> StoredAnswer | None:
        """The answer."""
        answer = None if self.away else self.stored.get(key)
        if answer is None or answer.expires_at <= self._now() or answer.stored_at < stored_after:
            return None
        return answer

    async def ask(
        self, key: bytes, *, stored_after: float = 0.0, look: bool = True, generation: int = 0
    ) -> StoredAnswer | MemoryCrossing | MemoryFollowing:
        """The answer, whom to follow, or the right to lead."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            return MemoryCrossing(generation, lambda _crossing, _store: None)
        answer, flight = await self.get(key, stored_after=stored_after), self.flights.get(key)
        if look and answer is not None:
            return answer
        if look and flight is not None:
            return MemoryFollowing(flight)

        def done(crossing: MemoryCrossing, store: bool) -> None:  # noqa: FBT001 - a callback's
            if store and crossing.ended is not None and crossing.ended.answer is not None:
                self.stored[key] = crossing.ended.answer
            if self.flights.get(key) is crossing:
                del self.flights[key]

        crossing = self.flights[key] = MemoryCrossing(generation, done)
        crossing.behind = self.behind
        return crossing

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> None:
        """Forget everything that may match: more than asked for is forgotten here. Raises SharedUnavailable."""
        if self.away:
            raise SharedUnavailable(AWAY)
        self.stored.clear()
        for told in self.on_purge:
            told(Purge(model, tenant, tag, tuple(deployments)))

    async def look_behind(self, last_end: Callable[[float], Awaitable[float]]) -> None:
        """Nothing to do: ``behind`` says it."""


class MemoryRates:
    """The port SharedRates, for all nodes at once."""

    def __init__(self, now: Callable[[], float]) -> None:
        """``now``: seconds on any clock that all its users share."""
        self.away = False
        self.asked = 0
        self._now = now
        self._minutes: dict[tuple[str, str], MinuteWindow] = {}
        self._places: defaultdict[str, int] = defaultdict(int)

    async def take(self, key_id: str, node: str, wants: Sequence[RateWant]) -> Sequence[RatePart]:  # noqa: ARG002 - the port's
        """All of them or none. Raises SharedUnavailable."""
        self.asked += 1
        await asyncio.sleep(0)
        self._require()
        waits = [self._wait_s(key_id, want) for want in wants]
        if any(waits):
            return [RatePart(0, wait_s) for wait_s in waits]
        return [RatePart(self._lend(key_id, want), 0.0) for want in wants]

    async def give_back(self, key_id: str, node: str, back: Mapping[str, int]) -> None:  # noqa: ARG002 - the port's
        """What was not used. Raises SharedUnavailable."""
        self._require()
        for what, amount in back.items():
            if what == "concurrency":
                self._places[key_id] -= amount
            elif (key_id, what) in self._minutes:
                self._minutes[key_id, what].correct(self._now(), -amount)

    def _require(self) -> None:
        if self.away:
            raise SharedUnavailable(AWAY, retry_after_s=1.0)

    def _wait_s(self, key_id: str, want: RateWant) -> float:
        least = min(want.least, want.limit)
        if want.what == "concurrency":
            return float(self._places[key_id] + least > want.limit)
        return 0.0 if least <= self._room(key_id, want) else self._window(key_id, want).take(self._now(), least)

    def _lend(self, key_id: str, want: RateWant) -> int:
        least = min(want.least, want.limit)
        if want.what == "concurrency":
            room = want.limit - self._places[key_id]
            lent = max(least, min(want.want, room // 2))
            self._places[key_id] += lent
            return lent
        lent = max(least, min(want.want, self._room(key_id, want) // 2))
        self._window(key_id, want).correct(self._now(), lent)
        return lent

    def _room(self, key_id: str, want: RateWant) -> int:
        return want.limit - self._window(key_id, want).used(self._now())

    def _window(self, key_id: str, want: RateWant) -> MinuteWindow:
        window = self._minutes.get((key_id, want.what))
        if window is None or window.limit != want.limit:
            window = self._minutes[key_id, want.what] = MinuteWindow(want.limit)
        return window


def shared_in_memory(now: Callable[[], float], monotonic: Callable[[], float]) -> Shared:
    """For gateways that share a loop."""

    async def close() -> None:
        """Nothing to keep."""

    return Shared(MemoryRooms(monotonic), MemoryAnswers(now), MemoryRates(monotonic), close, "in memory")
