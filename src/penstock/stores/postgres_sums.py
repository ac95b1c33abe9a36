"""Sums per quarter of an hour, so that a month is read in a second: made by who leads, when a quarter is over.

A quarter is summed up without a lock, and put in use under one, if nothing was written into it meanwhile. Whoever
writes into one that is in use takes it out of use in the same transaction (``sql/postgres/ledger.sql``).
"""

import logging
from collections.abc import Sequence
from typing import Final

from penstock.stores.postgres import SPACE, SUMMING, Connection, Postgres
from penstock.stores.queries import load_queries
from penstock.stores.spend import QUARTER_S

log = logging.getLogger(__name__)

SETTLED_S: Final = 3600.0
"""How long a quarter must be over: twice ``LATE_S``, whatever the clocks of the nodes say."""

QUIET_S: Final = 600.0
"""How long nothing may have been written into it late: who asks what was posted leaves out what it settles itself."""

AT_ONCE: Final = 96
"""Quarters of a day: summed up by one statement."""


class PostgresSums:
    """Sums up what is over."""

    def __init__(self, pool: Postgres, settled_s: float = SETTLED_S, quiet_s: float = QUIET_S) -> None:
        """``pool``: patient."""
        self._pool = pool
        self._settled_s = settled_s
        self._quiet_s = quiet_s
        self._queries = load_queries("postgres/sums")

    async def sweep(self, most: int = 31) -> int:
        """Sum up what is due, at most ``most`` days of it; how many quarters that were. Raises StoreError."""
        done = 0
        for _ in range(most):
            quarters = await self._due()
            if not quarters:
                break
            done += await self._pool.write(lambda connection, due=quarters: self._sum(connection, due))  # type: ignore[misc]  # bound
        return done

    async def _due(self) -> Sequence[int]:
        """The oldest that are due, of one stretch of a day: ``sum`` reads from the first to the last."""
        limits = self._settled_s, self._quiet_s, AT_ONCE, -(1 << 62)
        found = [int(row[0]) for row in await self._pool.fetch(self._queries["candidates"], *limits)]
        return [quarter for quarter in found if quarter < found[0] + AT_ONCE]

    async def _sum(self, connection: Connection, quarters: Sequence[int]) -> int:
        looked_at = await connection.fetchval(self._queries["now"])
        span = float(quarters[0] * QUARTER_S), float((quarters[-1] + 1) * QUARTER_S)
        for query in ("forget_spend", "forget_charges"):
            await connection.execute(self._queries[query], quarters)
        for query in ("sum_spend", "sum_charges"):
            await connection.execute(self._queries[query], *span, quarters)
        await connection.execute(self._queries["lock"], SPACE, SUMMING)
        touched = {int(row[0]) for row in await connection.fetch(self._queries["touched"], quarters, looked_at)}
        done = [quarter for quarter in quarters if quarter not in touched]
        await connection.execute(self._queries["done"], done)
        await connection.execute(self._queries["untouch"], done)
        return len(done)
