"""What the ledger has of the current day, summed up now and then, away from every request.

Days are those of ``alerts.timezone``; a request belongs to the one on which it arrived, as in ``penstock spend``. Once
an hour the whole day is summed up, an hour of it at a time, so that other questions have their turn. In between a look
adds what has come to that sum: it reads what arrived since, and again the last quarter of an hour, whose calls may not
have ended. What ends later, or reaches the store so late, is seen with the next whole sum. A look that takes long is
followed by a rest, so that this never takes more than a fiftieth of a reader's time.

Of several nodes only the one that leads looks, and tells: they have one ledger. While the store is away, what was
found is told on: within a day it can only have grown.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

from penstock.core.windows import Span, span_at
from penstock.ports.clock import Clock
from penstock.ports.leases import Leader
from penstock.ports.ledger import Billed, LedgerReader

LOOK_S: Final = 20.0
LATE_S: Final = 900.0
"""What arrived before has ended, but for a few: as long as ``timeouts.total`` by default."""
WHOLE_S: Final = 3600.0
"""Between two sums of the whole day; and the length of a piece of it."""
REST: Final = 50
"""So many times as long as a look took, the next one waits."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a day has up to ``until``, summed up from its beginning at ``at``."""

    day: Span
    at: float
    until: float
    billed: Billed


class Today:
    """Looks when it is told to."""

    def __init__(
        self, clock: Clock, reader: LedgerReader, zone: Callable[[], ZoneInfo], leader: Leader | None = None
    ) -> None:
        """``zone``: whose days are meant, by the settings as they are. ``leader``: None = there are no other nodes."""
        self._clock, self._reader = clock, reader
        self._zone, self._leader = zone, leader
        self._settled: _Settled | None = None
        self._found: tuple[Span, Billed] | None = None

    async def look(self) -> None:
        """Sum up, and rest. Raises StoreError."""
        if self._leader is not None and not await self._leader.lead():
            self._settled = self._found = None
            return
        began = self._clock.monotonic()
        await self._sum_up()
        await self._clock.sleep(REST * (self._clock.monotonic() - began))

    def billed(self) -> Billed | None:
        """What providers billed for the current day; None until it was summed up, and where another node does."""
        if self._found is None:
            return None
        day, billed = self._found
        return billed if day.start <= self._clock.now() < day.end else None

    async def _sum_up(self) -> None:
        now = self._clock.now()
        day = span_at("day", self._zone(), now)
        settled = self._settled
        if settled is None or settled.day != day or not settled.at <= now < settled.at + WHOLE_S:
            settled = _Settled(day, now, day.start, Billed())
        until = max(settled.until, now - LATE_S)
        added = await self._in_pieces(settled.until, until)
        settled = replace(settled, until=until, billed=settled.billed.plus(added))
        latest = await self._reader.billed(until, day.end)
        self._settled, self._found = settled, (day, settled.billed.plus(latest))

    async def _in_pieces(self, since: float, until: float) -> Billed:
        billed = Billed()
        while since < until:
            end = min(since + WHOLE_S, until)
            billed = billed.plus(await self._reader.billed(since, end))
            since = end
        return billed
