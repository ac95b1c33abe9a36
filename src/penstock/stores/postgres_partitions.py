"""The months of the ledger: partitions that are made before rows need them, and dropped when they are past keeping.

Each in a transaction of its own: who had one table's lock and waited for the next one's, while somebody who sums up has
them in another order, would be a deadlock.

Fails open: what has no partition lies in the `other` ones, and is found there.
"""

import logging
from collections.abc import Collection
from typing import Final

from penstock.stores.months import NO_MONTH, begin_of, month_at, months_after, name_of
from penstock.stores.postgres import PARTING, REPORT_S, SPACE, Connection, Postgres
from penstock.stores.queries import load_queries
from penstock.stores.spend import QUARTER_S

log = logging.getLogger(__name__)

AHEAD_MONTHS: Final = 2
QUARTERS_PER_DAY: Final = 96

_TABLES: Final = ("exchanges", "attempts", "shares")
_LAST_DAYS_S: Final = 7 * 86_400.0
"""How long after its end a month is kept at least: calls that began in it have ended, and late rows have come."""


class Partitions:
    """Which months have a place of their own, as far as this process knows."""

    def __init__(self) -> None:
        self._known = {NO_MONTH}
        self._queries = load_queries("postgres/partitions")

    async def see_to(self, connection: Connection, months: Collection[int]) -> None:
        """Make those that are missing."""
        if self._known.issuperset(months):
            return
        for month in sorted(set(months) - self._known):
            await self._make(connection, month)
            self._known.add(month)

    async def make_ahead(self, connection: Connection, now: float) -> None:
        """Those of this month and the next ones."""
        await self.see_to(connection, list(months_after(month_at(now), AHEAD_MONTHS)))

    async def drop(self, pool: Postgres, now: float, keep_s: float) -> int:
        """Drop months that ended more than ``keep_s`` ago and are summed up whole; how many that were."""
        rows = await pool.fetch(self._queries["months"])
        dropped = 0
        for month in sorted({int(row[0]) for row in rows} - {NO_MONTH}):
            if begin_of(month + 1) + max(keep_s, _LAST_DAYS_S) < now:
                dropped += await pool.run(lambda connection, month=month: self._drop(connection, month))  # type: ignore[misc]  # bound
        return dropped

    async def _make(self, connection: Connection, month: int) -> None:
        name = name_of(month)
        lock = self._queries["lock"].format(space=SPACE, parting=PARTING)
        try:
            for table in _TABLES:
                script = self._queries["make"].format(table=table, name=name, month=month)
                await connection.execute(f"BEGIN;\n{lock};\n{script};\nCOMMIT")
        except Exception as error:
            if connection.is_closed() or not getattr(error, "sqlstate", None):
                raise
            await connection.execute("ROLLBACK")
            log.warning(
                "a month of the ledger gets no partition of its own; its rows go to the common one",
                extra={"month": name, "why": str(error)},
            )

    async def _drop(self, connection: Connection, month: int) -> bool:
        """Not while a row of it is open or not summed up: what was spent stays known."""
        unsummed = await connection.fetchval(self._queries["unsummed"], month)
        if unsummed:
            log.info("a month past keeping is not yet summed up", extra={"month": name_of(month)})
            return False
        past = int(begin_of(month + 1) // QUARTER_S) + QUARTERS_PER_DAY  # calls that began in it went on into the next
        await connection.execute(self._queries["freeze"], past)
        for table in reversed(_TABLES):  # exchanges last: by them a month is found
            script = self._queries["drop"].format(table=table, name=name_of(month))
            await connection.execute(script, timeout=REPORT_S)
        self._known.discard(month)
        log.info("dropped a month of the ledger; its sums are kept", extra={"month": name_of(month)})
        return True
