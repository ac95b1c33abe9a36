"""Questions to a ledger in PostgreSQL, each in one consistent view of it, whether a server runs or not."""

from collections.abc import Sequence
from typing import Any

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage
from penstock.ports.ledger import Billed, Overview, OverviewQuery, Posted, PostedQuery, SpendQuery, SpendRow
from penstock.stores.months import Months
from penstock.stores.overview import overview, spend_queries
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.postgres_charges import PostgresCharges, runs_between
from penstock.stores.quarters import bounds, parted
from penstock.stores.queries import load_queries
from penstock.stores.rows import read_attempt, read_exchange, read_share
from penstock.stores.spend import TIMED, check_query, grouped


async def book_currency(pool: Postgres) -> str | None:
    """What the amounts in the ledger are in; None while it is empty. Raises StoreError."""
    found = await pool.fetchval(load_queries("postgres/ledger")["currency"])
    return None if found is None else str(found)


class PostgresLedgerReader:
    """The port LedgerReader."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._charges = PostgresCharges(pool)
        self._months = Months()
        self._queries = load_queries("postgres/ledger")
        self._sums = load_queries("postgres/sums")

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups and their total. Raises StoreError for an unknown grouping or zone, or an unreadable store."""
        check_query(query)
        return grouped(query, await self._pool.view(lambda connection: self._buckets(connection, query)))

    async def overview(self, query: OverviewQuery) -> Overview:
        """Several groupings over one span, and how it went. Raises as ``spend`` does."""
        asked = spend_queries(query)

        async def work(connection: Connection) -> tuple[list[Sequence[SpendRow]], list[Any], list[Any]]:
            buckets = [await self._buckets(connection, each) for each in asked]
            speeds = await connection.fetch(self._queries["speeds"], query.since, query.until)
            return buckets, speeds, await connection.fetch(self._queries["outcomes"], query.since, query.until)

        buckets, speeds, outcomes = await self._pool.view(work)
        return overview(asked, list(map(grouped, asked, buckets)), speeds, outcomes)

    async def billed(self, since: float, until: float) -> Billed:
        """For the calls that have ended of exchanges that arrived then. Raises StoreError for an unreadable store."""
        (sums,) = await self._pool.fetch(self._queries["billed"], since, until)
        *tokens, cost_nano = map(int, sums)
        return Billed(Usage(*tokens), cost_nano)

    async def exchange(self, exchange_id: str) -> Sequence[LedgerRow]:
        """Every row of one exchange; none if there is no such exchange."""
        place = self._months.of(exchange_id), exchange_id

        async def work(connection: Connection) -> Sequence[LedgerRow]:
            exchanges = [read_exchange(row) for row in await connection.fetch(self._queries["exchange"], *place)]
            attempts = [read_attempt(row) for row in await connection.fetch(self._queries["attempts_of"], *place)]
            shares = [read_share(row) for row in await connection.fetch(self._queries["shares_of"], *place)]
            return [*exchanges, *attempts, *shares]

        return await self._pool.view(work)

    async def open_rows(self, lease: int = 0) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first.

        ``lease``: only what has an attempt under it; 0 = all.
        """

        async def work(connection: Connection) -> tuple[list[ExchangeRow], list[AttemptRow]]:
            exchanges = [read_exchange(row) for row in await connection.fetch(self._queries["open_exchanges"], lease)]
            attempts = [read_attempt(row) for row in await connection.fetch(self._queries["open_attempts"], lease)]
            return exchanges, attempts

        exchanges, attempts = await self._pool.view(work)
        of: dict[str, list[AttemptRow]] = {exchange.id: [] for exchange in exchanges}
        for attempt in attempts:
            if attempt.exchange_id in of:
                of[attempt.exchange_id].append(attempt)
        return [(exchange, of[exchange.id]) for exchange in exchanges]

    async def attempts(self, ids: Sequence[str]) -> Sequence[AttemptRow]:
        """Those of these ids that there are; slow: there is no index on the id alone."""
        return [read_attempt(row) for row in await self._pool.fetch(self._queries["attempts_named"], list(ids))]

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What attempts were charged, for each query, but for those in ``excluding`` when it looks.

        Raises StoreError for an unknown scope, or an unreadable store.
        """
        return await self._charges.posted(queries, excluding=excluding)

    async def _buckets(self, connection: Connection, query: SpendQuery) -> Sequence[SpendRow]:
        by = "time" if query.by in TIMED else query.by
        runs = await runs_between(connection, self._sums["runs"], bounds(query.since, query.until))
        parts = parted(query.since, query.until, runs)
        rows: list[Any] = []
        if parts.runs:
            rows += await connection.fetch(self._sums["spend_sums"], by, *zip(*parts.runs, strict=True))
        if parts.spans:
            rows += await connection.fetch(self._sums["spend_rows"], by, *zip(*parts.spans, strict=True))
        return [_bucket(row) for row in rows]


def _bucket(row: Sequence[Any]) -> SpendRow:
    group, *sums, currency = row
    requests, tokens, cost, baseline, saved, wasted, unpriced, errors, avoided = map(int, sums)
    return SpendRow(
        str(group), requests, tokens, cost, baseline, saved, wasted, unpriced, errors, avoided, str(currency)
    )  # fmt: skip
