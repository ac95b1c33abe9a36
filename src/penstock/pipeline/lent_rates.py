"""The limits of keys, held by many nodes: what a process takes it was lent before, in parts.

A process asks when it has too little, for all who wait for the same key at once, and ahead where a key is busy; so a
busy key costs some round trips a second and not one for each request. What was not taken goes back behind.

While nobody lends, a key is refused (503), or, where ``shared`` says ``answer``, held to this process's own count.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from penstock.core.lent import LentPlaces, LentRate
from penstock.errors import RateLimited, SharedUnavailable
from penstock.pipeline.exchange import Exchange, Principal
from penstock.pipeline.rates import BeforeWaiting, OwnRates, estimate, too_many, used, used_up
from penstock.ports.clock import Clock
from penstock.ports.leases import LEASE_S
from penstock.ports.lending import PART_S, RatePart, RateWant, SharedRates

LOOK_S: Final = 0.5
REFUSED_S: Final = 0.1
"""So long nobody asks again for what was refused: others may give back meanwhile."""
PLACES: Final = "concurrency"

Amounts = Mapping[str, int]
"""By ``requests``, ``tokens``, ``concurrency``; what is not limited is not there."""


class Refusal(NamedTuple):
    """What was refused last."""

    what: str
    least: int
    limit: int
    wait_s: float
    until: float


class Lent:
    """What this process has of one key's limits."""

    def __init__(self) -> None:
        self.limits: Amounts = {}
        self.rates = {"requests": LentRate(PART_S), "tokens": LentRate(PART_S)}
        self.places = LentPlaces()
        self.waiting: list[Amounts] = []
        self.asking: asyncio.Future[None] | None = None
        self._refusal: Refusal | None = None

    def lacks(self, needs: Amounts, now: float) -> Amounts:
        """What there is too little of; empty = nothing."""
        return {what: amount - left for what, amount in needs.items() if (left := self._left(what, now)) < amount}

    def take(self, needs: Amounts, now: float) -> None:
        """Take what there is enough of."""
        self.places.take()
        for what, amount in needs.items():
            if what != PLACES:
                self.rates[what].take(now, amount)

    def give_back(self, needs: Amounts, tokens: int) -> None:
        """It is over, and used so many tokens."""
        self.places.active -= 1
        if "tokens" in needs:
            self.rates["tokens"].unused += needs["tokens"] - tokens

    def is_busy(self, now: float) -> bool:
        """Whether to ask ahead."""
        return self.asking is None and any(self.rates[what].ahead(now) for what in self.limits if what != PLACES)

    def wants(self, now: float) -> Sequence[RateWant]:
        """What to ask for: enough for the first who waits, better for all, and for those to come."""
        lacks = [self.lacks(needs, now) for needs in self.waiting]
        return [
            RateWant(
                what,
                limit,
                max(sum(each.get(what, 0) for each in lacks), 0 if what == PLACES else self.rates[what].ahead(now)),
                lacks[0].get(what, 0) if lacks else 0,
            )
            for what, limit in self.limits.items()
        ]

    def hear(self, wants: Sequence[RateWant], parts: Sequence[RatePart], asked: float) -> None:
        """What came of it. ``asked``: monotonic."""
        for want, part in zip(wants, parts, strict=True):
            if want.what == PLACES:
                self.places.add(asked + LEASE_S, part.lent)
            else:
                self.rates[want.what].add(asked + PART_S, part.lent)
            if part.wait_s and part.lent < want.least:
                self._refusal = Refusal(want.what, want.least, want.limit, part.wait_s, asked + REFUSED_S)

    def refusal(self, lacks: Amounts, now: float) -> RateLimited | None:
        """Why so much is not lent; None = nobody was asked lately."""
        refusal = self._refusal
        if refusal is None or refusal.until <= now or lacks.get(refusal.what, 0) < refusal.least:
            return None
        if refusal.what == PLACES:
            return too_many(refusal.limit)
        return used_up(refusal.limit, refusal.what, refusal.wait_s)

    def back(self, now: float) -> Amounts:
        """What goes back now."""
        for rate in self.rates.values():
            rate.left(now)  # notes what is worth nothing any more
        back = {what: rate.back() for what, rate in self.rates.items()} | {PLACES: self.places.back()}
        return {what: amount for what, amount in back.items() if amount and what in self.limits}

    def is_idle(self, now: float) -> bool:
        """Whether nothing is lent, or under way."""
        left = any(rate.left(now) or rate.unused for rate in self.rates.values())
        return not (left or self.places.lent or self.places.active or self.waiting or self.asking)

    def _left(self, what: str, now: float) -> int:
        return self.places.left(now) if what == PLACES else self.rates[what].left(now)


class LentRates:
    """The port Rates of a node among others."""

    def __init__(self, own: OwnRates, shared: SharedRates, clock: Clock, node: str) -> None:
        """``node``: a name that no other process has."""
        self.opens: Callable[[str], bool] = lambda _: False
        """Whether the key of that name is answered while nobody lends."""
        self._own = own
        self._shared = shared
        self._clock = clock
        self._node = node
        self._keys: dict[str, Lent] = {}

    async def take(self, exchange: Exchange, before_waiting: BeforeWaiting = None) -> None:
        """Raises RateLimited, SharedUnavailable."""
        self._own.take_now(exchange)
        try:
            await self._take(exchange, before_waiting)
        except SharedUnavailable:
            if not self.opens(exchange.principal.name):
                self._own.undo(exchange)
                raise
        except BaseException:
            self._own.undo(exchange)
            raise

    def give_back(self, exchange: Exchange) -> None:
        """The rest goes back behind."""
        needs, exchange.lent = exchange.lent, {}
        if needs:
            self._keys[exchange.principal.limited].give_back(needs, used(exchange))
        self._own.give_back(exchange)

    async def look(self) -> None:
        """Give back what was not needed, and keep what is. Raises SharedUnavailable."""
        now = self._clock.monotonic()
        for key_id in [key_id for key_id, lent in self._keys.items() if lent.is_idle(now)]:
            del self._keys[key_id]
        await asyncio.gather(*(self._settle(key_id, lent) for key_id, lent in self._keys.items()))

    async def _take(self, exchange: Exchange, before_waiting: BeforeWaiting) -> None:
        key_id = exchange.principal.limited
        lent = self._keys.get(key_id)
        if lent is None:
            lent = self._keys[key_id] = Lent()
        lent.limits = _limits(exchange.principal)
        needs = _needs(lent.limits, exchange)
        while lacks := lent.lacks(needs, self._clock.monotonic()):
            refusal = lent.refusal(lacks, self._clock.monotonic())
            if refusal is not None:
                raise refusal
            if before_waiting is not None:
                before_waiting(exchange)
            await self._wait(key_id, lent, needs)
        lent.take(needs, self._clock.monotonic())
        exchange.lent = needs
        if lent.is_busy(self._clock.monotonic()):
            self._ask_behind(key_id, lent)

    async def _wait(self, key_id: str, lent: Lent, needs: Amounts) -> None:
        """For the answer to what was asked for these, or before."""
        lent.waiting.append(needs)
        try:
            if lent.asking is None:
                self._ask_behind(key_id, lent)
            if lent.asking is not None:
                await asyncio.shield(lent.asking)
        finally:
            lent.waiting.remove(needs)

    def _ask_behind(self, key_id: str, lent: Lent) -> None:
        lent.asking = asyncio.ensure_future(self._ask(key_id, lent))
        lent.asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # told to those who wait

    async def _ask(self, key_id: str, lent: Lent) -> None:
        try:
            asked = self._clock.monotonic()
            wants = lent.wants(asked)
            lent.hear(wants, await self._shared.take(key_id, self._node, wants), asked)
        finally:
            lent.asking = None

    async def _settle(self, key_id: str, lent: Lent) -> None:
        asked = self._clock.monotonic()
        back = lent.back(asked)
        if back:
            await self._shared.give_back(key_id, self._node, back)
        if lent.places.lent and PLACES in lent.limits:
            await self._shared.take(key_id, self._node, [RateWant(PLACES, lent.limits[PLACES], 0, 0)])
            lent.places.add(asked + LEASE_S, 0)


def _limits(principal: Principal) -> Amounts:
    limits = {"requests": principal.rpm, "tokens": principal.tpm, PLACES: principal.concurrency}
    return {what: limit for what, limit in limits.items() if limit}


def _needs(limits: Amounts, exchange: Exchange) -> Amounts:
    """More than a whole limit is taken as the limit."""
    needs = {"requests": 1, "tokens": estimate(exchange) if "tokens" in limits else 0, PLACES: 1}
    return {what: min(needs[what], limit) for what, limit in limits.items()}
