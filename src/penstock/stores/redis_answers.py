"""Answers and flights of all nodes, in Redis: the port SharedAnswers.

Fails open: while Redis does not answer, everything is a miss and each node leads for itself. One round trip asks, one
tells. An answer is never older than its time, nor one that was purged by anybody (``redis_purges.py``); one that was
asked for earlier never replaces one that was asked for later.

    <prefix>:{<key>}:a            an answer: at, mark, asked, body
    <prefix>:{<key>}:f            the flight that is led: id, node, generation, n:<node> of each node that follows
    <prefix>:{<key>}:s:<flight>   what those who follow read
    <prefix>:{gaps}               what the store behind may have that is not here (``redis_gaps.py``)

All of these expire: let the server evict what expires (``volatile-lru``), and answers make room for money.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final

import msgspec

from penstock.errors import PenstockError, SharedUnavailable
from penstock.ports.answers import StoredAnswer
from penstock.ports.clock import Clock, Ids
from penstock.ports.crossing import Crossing, Following
from penstock.stores.redis_flights import SLOW_S, STREAM_S, FlightKeys, RedisCrossing, RedisFollowing
from penstock.stores.redis_gaps import LastEnd, RedisGaps
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.redis_nodes import RedisNodes
from penstock.stores.redis_purges import Mark, RedisPurges, SharedPurge, read_quietly
from penstock.stores.scripts import load_script

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_FLIGHT_BYTES: Final = 8 * 1024 * 1024
FLIGHT_S: Final = 3600.0
"""A marker that nobody took away goes by then; its leader is known to be dead long before."""
_TRIES: Final = 3
_LOST_MOST: Final = 1000

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StoredAnswer).decode


class RedisAnswers:
    """The port SharedAnswers. For one loop."""

    def __init__(
        self,
        link: RedisLink,
        clock: Clock,
        ids: Ids,
        *,
        on_purge: Callable[[SharedPurge], None] = lambda _: None,
        prefix: str = "penstock",
        gaps: RedisGaps | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        max_flight_bytes: int = MAX_FLIGHT_BYTES,
    ) -> None:
        """``on_purge``: told of every purge of any node, this one's too, within a second.

        ``gaps``: what may be in the store behind; None = anything.
        """
        self.nodes = RedisNodes(link, clock, ids.new("node"), prefix)
        self._purges = RedisPurges(link, partial(ids.new, "log"), on_purge, prefix)
        self._gaps = gaps
        self._link = link
        self._clock = clock
        self._ids = ids
        self._prefix = prefix
        self._max_answer_bytes = max_answer_bytes
        self._max_flight_bytes = max_flight_bytes
        self._led: dict[str, RedisCrossing] = {}
        self._early: dict[str, list[Sequence[str]]] = {}
        """Who follows a flight of which we are not told yet that we lead it."""
        self._asked: dict[str, tuple[int, Mark]] = {}
        self._followed: dict[str, dict[str, RedisFollowing]] = {}
        self._lost: deque[str] = deque(maxlen=_LOST_MOST)
        self.tasks: set[asyncio.Future[None]] = set()
        """What is being sent."""
        self._scripts = {name: load_script(name) for name in ("ask", "tell", "more")}

    async def open(self) -> None:
        """Begin to listen, and to be heard. Raises SharedUnavailable."""
        await self.nodes.open(self._hear)
        self._link.ears.listen(self._purges.channel, lambda _: self._catch_up(), self._catch_up)
        self.nodes.each_beat(self._catch_up)
        await self._purges.read()

    async def close(self) -> None:
        """Send what is under way, and listen no more."""
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)
        self._link.ears.leave(self._purges.channel)
        await self.nodes.close()

    # --- the port

    async def get(self, key: bytes, *, stored_after: float = 0.0) -> StoredAnswer | None:
        """The answer, if it may be served."""
        place = FlightKeys(key, "", self._prefix).answer
        try:
            at, mark, body = await self._link.call(place, "HMGET", place, "at", "mark", "body")
        except SharedUnavailable:
            return None
        if body is None or float(at) < stored_after:
            return None
        return self._believed(mark, body)

    async def ask(
        self, key: bytes, *, stored_after: float = 0.0, look: bool = True, generation: int = 0
    ) -> StoredAnswer | Crossing | Following:
        """The answer, or whom to follow, or the right to lead."""
        keys = FlightKeys(key, self._ids.new("flt"), self._prefix)
        self._early[keys.flight] = []
        try:
            return await self._ask(keys, stored_after, look=look, generation=generation)
        finally:
            self._early.pop(keys.flight, None)

    async def _ask(
        self, keys: FlightKeys, stored_after: float, *, look: bool, generation: int
    ) -> StoredAnswer | Crossing | Following:
        purged, dead = b"", ""
        places = [keys.answer, keys.marker, *([] if self._gaps is None else [self._gaps.key])]
        for _ in range(_TRIES):
            mark = self._purges.mark
            words = (
                stored_after, int(look), purged, dead, keys.flight, self.nodes.name, generation,
                round(FLIGHT_S * 1000), self.nodes.channels, keys.flight,
            )  # fmt: skip
            try:
                said, *told = checked(await self._link.run(self._scripts["ask"], places, words))
            except SharedUnavailable:
                return self._lead(keys, generation, 0, mark)  # it may have been heard all the same: it must be ended
            if said == b"lead":
                return self._lead(keys, generation, told[0], mark, told[1])
            if said == b"answer":
                answer = self._believed(*told)
                if answer is not None:
                    return answer
                purged = told[0]
            elif told[0].decode() not in self._lost and await self.nodes.lives(told[1].decode()):
                return self._follow(keys, told)
            else:
                dead = told[0].decode()
        return self._lead(keys, generation, 0, mark)

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> None:
        """Forget what matches, everywhere. Raises SharedUnavailable."""
        await self._purges.add(SharedPurge(model, tenant, tag, tuple(deployments)))

    async def look_behind(self, last_end: LastEnd) -> None:
        """Keep in mind what the store has and Redis has not. Raises SharedUnavailable, StoreError."""
        if self._gaps is not None:
            await self._gaps.look(last_end)

    # --- flights

    def _lead(self, keys: FlightKeys, generation: int, asked: int, mark: Mark, behind: bytes = b"") -> RedisCrossing:
        crossing = self._led[keys.flight] = RedisCrossing(
            self._link,
            self.nodes,
            keys,
            generation,
            script=self._scripts["more"],
            tell=self._end,
            spawn=self._spawn,
            max_bytes=self._max_flight_bytes,
        )
        crossing.behind = self._gaps is None or self._gaps.may_be_behind(behind, self._clock.now())
        self._asked[keys.flight] = asked, mark
        for words in self._early.pop(keys.flight, ()):
            crossing.hear(*words)
        return crossing

    def _follow(self, keys: FlightKeys, told: list[bytes]) -> RedisFollowing:
        flight, leader, generation = (each.decode() for each in told)
        of_it = FlightKeys(keys.key, flight, self._prefix)
        following = RedisFollowing(
            self._link, self.nodes, self._clock, of_it,
            leader=leader, generation=int(generation), follower=keys.flight, done=self._leave,
        )  # fmt: skip
        self._followed.setdefault(flight, {})[keys.flight] = following
        return following

    def _leave(self, following: RedisFollowing) -> None:
        flight = following.keys.flight
        mine = self._followed.get(flight, {})
        if mine.pop(following.follower, None) is None:
            return
        if not mine:
            del self._followed[flight]
        if following.lost:
            self._lost.append(flight)
        self._spawn(self.nodes.say(following.leader, "leave", flight, self.nodes.name, following.follower))

    def _end(
        self, crossing: RedisCrossing, answer: StoredAnswer | None, error: PenstockError | None, *, store: bool
    ) -> None:
        if crossing.keys.flight in self._asked:
            asked, mark = self._asked.pop(crossing.keys.flight)
            self._spawn(self._tell(crossing, answer, error, (asked, mark, store)))

    async def _tell(
        self,
        crossing: RedisCrossing,
        answer: StoredAnswer | None,
        error: PenstockError | None,
        terms: tuple[int, Mark, bool],
    ) -> None:
        asked, mark, store = terms
        keys = crossing.keys
        packed = b"" if answer is None or len(answer.body) > self._max_flight_bytes else _encode(answer)
        lasts_s = 0.0
        if store and answer is not None and len(packed) <= self._max_answer_bytes:
            lasts_s = max(0.0, answer.expires_at - self._clock.now())
        told = not store or answer is None
        try:
            await crossing.finish()
            words = (
                keys.flight, answer.stored_at if answer else 0.0, str(mark), asked, round(lasts_s * 1000), packed,
                crossing.packed_end(answer, error), int(crossing.followers > 0), round(STREAM_S * 1000),
                self.nodes.channels,
            )  # fmt: skip
            places = [keys.answer, keys.marker, keys.stream]
            checked(await self._link.run(self._scripts["tell"], places, words, deadline_s=SLOW_S))
            told = told or lasts_s > 0
        finally:
            if not told and answer is not None and self._gaps is not None:
                self._gaps.note(answer.expires_at)
            del self._led[keys.flight]

    def _hear(self, what: str, flight: str, words: Sequence[str]) -> None:
        if what in {"more", "gone"}:
            for following in self._followed.get(flight, {}).values():
                following.hear(gone=what == "gone")
        elif flight in self._led:
            self._led[flight].hear(what, *words)
        elif flight in self._early:
            self._early[flight].append((what, *words))
        elif what == "follow":  # its end was told, or could not be: then only this helps
            self._spawn(self.nodes.say(words[0], "gone", flight))

    # --- what is known

    def _believed(self, mark: bytes, body: bytes) -> StoredAnswer | None:
        """The answer, unless it cannot be read, is past its time, or is purged."""
        try:
            answer = _decode(body)
        except msgspec.MsgspecError:
            return None
        if answer.expires_at <= self._clock.now() or self._purges.forgets(mark, answer):
            return None
        return answer

    def _catch_up(self) -> None:
        self._spawn(read_quietly(self._purges))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Future[None]") -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SharedUnavailable):
            log.error("what nodes share was not told", exc_info=error)
