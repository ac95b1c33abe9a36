"""What attempts were charged, by the values of scopes: from sums where there are any, the rest row by row.

One consistent view each: what is summed up in it, and what is not, is all there was at one moment.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.posted import by_value, check_scopes
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.quarters import Parts, Run, bounds, joined, parted
from penstock.stores.queries import load_queries

ANY: Final = "any"
ONE: Final = "one"
DEAD: Final = "dead"
"""Of leases that do not live, and of none."""

Sums = dict[str, tuple[int, int]]


class Wanted(NamedTuple):
    """Which attempts count."""

    whose: str = ANY
    lease: int = 0
    held: bool = False
    """What is open counts what it holds, else nothing."""


EVERY: Final = Wanted()


class PostgresCharges:
    """Asks for charges."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._queries = load_queries("postgres/sums")

    async def posted(
        self,
        queries: Sequence[PostedQuery],
        *,
        excluding: Sequence[str] = (),
        wanted: Wanted = EVERY,
    ) -> Sequence[Sequence[Posted]]:
        """For each query, by value. ``excluding`` is read when the view is fixed. Raises StoreError."""
        check_scopes(queries)

        async def work(connection: Connection) -> list[Sums]:
            await connection.fetchval(self._queries["fix_view"])
            left_out = list(excluding)
            parts = await self._parts(connection, queries)
            sums: list[Sums] = [{} for _ in queries]
            _add(sums, await self._summed(connection, queries, parts, wanted))
            _add(sums, await self._rows(connection, queries, parts, (wanted, left_out)))
            return sums

        found = await self._pool.view(work)
        return [
            by_value(query.scope, (Posted(value, *both) for value, both in sums.items()))
            for query, sums in zip(queries, found, strict=True)
        ]

    async def _parts(self, connection: Connection, queries: Sequence[PostedQuery]) -> Sequence[Parts]:
        limits = [bounds(query.since, query.until) for query in queries]
        first, past = min((each[0] for each in limits), default=0), max((each[1] for each in limits), default=0)
        runs = await runs_between(connection, self._queries["runs"], (first, past))
        return [parted(query.since, query.until, runs) for query in queries]

    async def _summed(
        self, connection: Connection, queries: Sequence[PostedQuery], parts: Sequence[Parts], wanted: Wanted
    ) -> Sequence[Sequence[object]]:
        asked = [(place, queries[place].scope, *run) for place, part in enumerate(parts) for run in part.runs]
        if not asked:
            return []
        return await connection.fetch(
            self._queries["charge_sums"], wanted.whose, wanted.lease, *zip(*asked, strict=True)
        )

    async def _rows(
        self,
        connection: Connection,
        queries: Sequence[PostedQuery],
        parts: Sequence[Parts],
        which: tuple[Wanted, Sequence[str]],
    ) -> Sequence[Sequence[object]]:
        asked = [(place, queries[place].scope, *span) for place, part in enumerate(parts) for span in part.spans]
        if not asked:
            return []
        around = joined(span for part in parts for span in part.spans)
        wanted, excluding = which
        given = *zip(*asked, strict=True), *zip(*around, strict=True)
        query = self._queries["charge_rows"]
        return await connection.fetch(query, wanted.whose, wanted.lease, *given, wanted.held, excluding)


async def runs_between(connection: Connection, query: str, limits: Run) -> Sequence[Run]:
    """Which quarters between these are summed up."""
    return [(int(first), int(past)) for first, past in await connection.fetch(query, *limits)]


def _add(sums: Sequence[Sums], rows: Iterable[Sequence[object]]) -> None:
    for place, value, amount_nano, tokens in rows:
        found = sums[int(place)]  # type: ignore[call-overload]  # a row of the driver's
        before = found.get(str(value), (0, 0))
        found[str(value)] = before[0] + int(amount_nano), before[1] + int(tokens)  # type: ignore[call-overload]  # likewise
