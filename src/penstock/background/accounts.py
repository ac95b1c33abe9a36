"""The accounts that nodes share, made from the ledger.

An account is set before anything is lent of it, so whatever is booked on it in an epoch was lent in that epoch. The
first who asks for a window sets all that was spent in it before; what is not known after that has nothing on it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import Final

from penstock.core.budget import STEPS_S, Budget, Place
from penstock.core.windows import FOREVER, Span
from penstock.errors import LeaseEnded, SharedUnavailable
from penstock.ports.clock import Clock
from penstock.ports.leases import Leases
from penstock.ports.ledger import Posted, PostedQuery
from penstock.ports.lending import Rooms, Want

SET: Final = "\0"
"""The value of an account that says: all others of this budget and window are set."""
LINGER_S: Final = 24 * 3600.0
"""Accounts are kept so long after their window."""
AT_ONCE: Final = 50
"""Accounts are set: each is a call, and they share the way."""
TRIES: Final = 5
"""Leases end while it is counted what they spent."""


class _Counted:
    """What was spent in a window, by value, and of that what may still come to another amount, by lease."""

    def __init__(self, base: dict[str, int]) -> None:
        self.base = base
        self.parts: dict[str, dict[str, int]] = {}

    def part(self, lease: int, rows: Sequence[Posted], budget: Budget, *, of_base: bool) -> None:
        """``of_base``: it is in there, and is taken out."""
        for row in rows:
            amount = _in_unit(budget, row)
            self.parts.setdefault(row.value, {})[str(lease)] = amount
            self.base[row.value] = self.base.get(row.value, 0) - (amount if of_base else 0)


class Accounts:
    """Sets them, and says what a lease spent on them."""

    def __init__(self, rooms: Rooms, leases: Leases, clock: Clock) -> None:
        self.budgets: Callable[[], Sequence[Budget]] = tuple
        """Those that hold now."""
        self.unsettled: set[int] = set()
        """Leases that have ended, and of which something may still come to less."""
        self._rooms = rooms
        self._leases = leases
        self._clock = clock
        self._known: set[tuple[int, Place]] = set()
        self._making = asyncio.Lock()

    async def make(self, epoch: int, lease: int, unknown: Sequence[Place]) -> None:
        """Make these accounts, and all others of their windows. Raises SharedUnavailable, LeaseEnded, StoreError."""
        async with self._making:  # who comes second finds what the first has made
            for budget in self.budgets():
                for start in {place.start for place in unknown if place.budget == budget.id}:
                    await self._set_window(epoch, lease, budget, budget.span(start))
        for place in unknown:
            await self._rooms.set_account(epoch, place, 0, {}, self._forget_in_s(place))

    async def spent_by(self, lease: int) -> Mapping[Place, int]:
        """What a lease spent and holds, on every account of the windows that are open."""
        now = self._clock.now()
        asked = [(budget, span) for budget in self.budgets() for span in budget.spans_around(now)]
        answers = await self._leases.spent(lease, [PostedQuery(budget.scope, *span) for budget, span in asked])
        return {
            Place(budget.id, row.value, span.start): _in_unit(budget, row)
            for (budget, span), rows in zip(asked, answers, strict=True)
            for row in rows
        }

    def over(self, places: Iterable[Place]) -> list[Place]:
        """Those in whose windows nobody can spend any more."""
        is_over = lru_cache(self._is_over)
        return [place for place in places if is_over(place.budget, place.start)]

    def _is_over(self, id_: str, start: float) -> bool:
        budget = self._budget(id_)
        return budget is None or budget.span(start).end < self._clock.now() - STEPS_S

    async def _set_window(self, epoch: int, lease: int, budget: Budget, span: Span) -> None:
        mark = Place(budget.id, SET, span.start)
        if (epoch, mark) in self._known:
            return
        (found,) = await self._rooms.ask(epoch, str(lease), [Want(mark, 0, 0, 0)])
        if not found.known:
            await self._count(epoch, budget, span)
            await self._rooms.set_account(epoch, mark, 0, {}, self._forget_in_s(mark))
        self._known = {each for each in self._known if each[0] == epoch} | {(epoch, mark)}

    async def _count(self, epoch: int, budget: Budget, span: Span) -> None:
        """Set every account of a window that anything was spent on."""
        query = [PostedQuery(budget.scope, *span)]
        for _ in range(TRIES):
            unsettled = await self._leases.unsettled()
            for former in unsettled:  # what it holds may come to less
                await self._enter(epoch, former)
            before = await self._apart(query, unsettled)
            (all_former,) = await self._leases.base(query)
            if before != await self._apart(query, await self._leases.unsettled()):
                continue  # something was settled in between, or a lease has ended: it would be counted wrongly
            living = [lease.id for lease in await self._leases.alive()]
            counted = _Counted({row.value: _in_unit(budget, row) for row in all_former})
            for lease, rows in before.items():
                counted.part(lease, rows, budget, of_base=True)
            for lease, rows in (await self._apart(query, living)).items():
                counted.part(lease, rows, budget, of_base=False)
            if await self._set_all(epoch, budget, span, counted):
                self.unsettled.update(unsettled)
                return
        raise SharedUnavailable("the budgets that nodes share are being counted: try again", retry_after_s=1.0)

    async def _apart(self, query: Sequence[PostedQuery], leases: Sequence[int]) -> dict[int, Sequence[Posted]]:
        """What each of these spent and holds."""
        return {lease: (await self._leases.spent(lease, query))[0] for lease in leases}

    async def _set_all(self, epoch: int, budget: Budget, span: Span, counted: _Counted) -> bool:
        async def set_one(value: str, base: int) -> bool:
            parts = counted.parts.get(value, {})
            place = Place(budget.id, value, span.start)
            return await self._rooms.set_account(epoch, place, base, parts, forget_in_s)

        forget_in_s = self._forget_in_s(Place(budget.id, SET, span.start))
        bases = list(counted.base.items())
        for first in range(0, len(bases), AT_ONCE):
            if not all(await asyncio.gather(*(set_one(*each) for each in bases[first : first + AT_ONCE]))):
                return False
        return True

    async def _enter(self, epoch: int, lease: int) -> None:
        try:
            await self._rooms.enter(epoch, str(lease))
        except LeaseEnded:
            """It is counted for good already."""

    def _forget_in_s(self, place: Place) -> float:
        budget = self._budget(place.budget)
        end = FOREVER if budget is None else budget.span(place.start).end
        return inf if end == FOREVER else max(0.0, end - self._clock.now()) + LINGER_S

    def _budget(self, id_: str) -> Budget | None:
        return next((each for each in self.budgets() if each.id == id_), None)


def _in_unit(budget: Budget, row: Posted) -> int:
    return row.amount_nano if budget.unit == "money" else row.tokens
