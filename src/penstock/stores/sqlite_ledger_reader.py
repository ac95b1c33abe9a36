"""Questions to a SQLite ledger, each in one consistent view of it, whether a server runs or not."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage
from penstock.ports.ledger import Billed, Overview, OverviewQuery, Posted, PostedQuery, SpendQuery, SpendRow
from penstock.stores.overview import overview, speeds, spend_queries
from penstock.stores.posted import by_value, check_scopes
from penstock.stores.queries import load_queries
from penstock.stores.rows import read_attempt, read_exchange, read_share
from penstock.stores.spend import check_query, grouped
from penstock.stores.sqlite_reader import SqliteReader

_ID_TIME: Final = 12
"""Hex digits of milliseconds that our names begin with (clock.TimeIds)."""
_NEAR_S: Final = 60.0
_EVER: Final = 1e18
PIECE_ROWS: Final = 20_000
"""Exchanges that are summed up at a time: some MB; ten times as many are hardly faster."""
_NOTHING: Final = Posted("", 0, 0)
APART_S: Final = 86_400.0
"""How far an attempt may be from its exchange's arrival, either way: more than deadlines allow, so that only a clock
that is set by more than a day meanwhile tells otherwise, or the end of what a process left that lay dead for days."""


async def book_currency(reader: SqliteReader) -> str | None:
    """What the amounts in the ledger are in; None while it is empty. Raises StoreError."""
    query = load_queries("ledger")["currency"]
    row = await reader.run(lambda connection: connection.execute(query).fetchone())
    return None if row is None else str(row[0])


class SqliteLedgerReader:
    """The port LedgerReader, whether a server runs or not."""

    def __init__(self, reader: SqliteReader, piece_rows: int = PIECE_ROWS) -> None:
        """``piece_rows``: how many exchanges are summed up at a time."""
        self._reader = reader
        self._piece_rows = piece_rows
        self._queries = load_queries("ledger")

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups and their total. Raises StoreError for an unknown grouping or zone, or an unreadable store."""
        check_query(query)
        buckets = await self._reader.run(lambda connection: self._buckets(connection, [query]))
        return grouped(query, buckets[query.by])

    async def overview(self, query: OverviewQuery) -> Overview:
        """Several groupings over one span, and how it went. Raises as ``spend`` does."""
        asked = spend_queries(query)
        return await self._reader.run(lambda connection: self._overview(connection, asked))

    async def billed(self, since: float, until: float) -> Billed:
        """For the calls that have ended of exchanges that arrived then. Raises StoreError for an unreadable store."""
        return await self._reader.run(lambda connection: self._billed(connection, since, until))

    async def exchange(self, exchange_id: str) -> Sequence[LedgerRow]:
        """Every row of one exchange; none if there is no such exchange."""
        return await self._reader.run(lambda connection: self._rows_of(connection, exchange_id))

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first."""
        return await self._reader.run(self._open_rows)

    async def attempts(self, ids: Sequence[str]) -> Sequence[AttemptRow]:
        """Those of these ids that there are; slow: there is no index on the id alone."""
        named = {"ids": msgspec.json.encode(tuple(ids)).decode()}
        query = self._queries["attempts_named"]
        rows = await self._reader.run(lambda connection: connection.execute(query, named).fetchall())
        return [read_attempt(row) for row in rows]

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What attempts were charged, for each query, but for those in ``excluding`` when it looks.

        Raises StoreError for an unknown scope, or an unreadable store.
        """
        check_scopes(queries)
        found = await self._reader.run(lambda connection: self._posted(connection, queries, excluding))
        return [by_value(query.scope, buckets) for query, buckets in zip(queries, found, strict=True)]

    def _posted(
        self, connection: sqlite3.Connection, queries: Sequence[PostedQuery], excluding: Sequence[str]
    ) -> Sequence[Iterable[Posted]]:
        """First the view of the store is fixed, then the exclusions are read: who is in the one is in the other."""
        connection.execute(self._queries["fix_view"]).fetchone()
        asked = [query._replace(until=min(query.until, _EVER)) for query in queries]
        first = min((query.since for query in asked), default=0.0)
        last = max((query.until for query in asked), default=0.0)
        named = {"asked": _json(asked), "excluding": _json(tuple(excluding)), "first": first, "last": last}
        sums: list[dict[str, Posted]] = [{} for _ in asked]
        for since, until in self._pieces(connection, first - APART_S, last + APART_S):
            rows = connection.execute(self._queries["posted"], {**named, "since": since, "until": until})
            for place, value, amount_nano, tokens in rows:
                before = sums[place].get(value, _NOTHING)
                sums[place][value] = Posted(value, before.amount_nano + amount_nano, before.tokens + tokens)
        return [found.values() for found in sums]

    def _pieces(self, connection: sqlite3.Connection, since: float, until: float) -> Iterator[tuple[float, float]]:
        """[since, until) in pieces of some thousand exchanges: what is sorted of one stays small."""
        while since < until:
            named = {"since": since, "until": until, "rows": self._piece_rows}
            row = connection.execute(self._queries["piece"], named).fetchone()
            end = until if row is None else float(row[0])
            yield since, end
            since = end

    def _open_rows(self, connection: sqlite3.Connection) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        found = []
        for (id_,) in connection.execute(self._queries["open_exchanges"]).fetchall():
            rows = self._rows_of(connection, id_)
            attempts = [row for row in rows if isinstance(row, AttemptRow)]
            found += [(row, attempts) for row in rows if isinstance(row, ExchangeRow)]
        return sorted(found, key=lambda pair: (pair[0].at, pair[0].id))

    def _billed(self, connection: sqlite3.Connection, since: float, until: float) -> Billed:
        *tokens, cost_nano = connection.execute(self._queries["billed"], {"since": since, "until": until}).fetchone()
        return Billed(Usage(*tokens), cost_nano)

    def _overview(self, connection: sqlite3.Connection, asked: Sequence[SpendQuery]) -> Overview:
        buckets = self._buckets(connection, asked)
        span = {"since": asked[0].since, "until": asked[0].until}
        measured, outcomes = (connection.execute(self._queries[name], span) for name in ("speeds", "outcomes"))
        return overview(asked, [grouped(query, buckets[query.by]) for query in asked], speeds(measured), outcomes)

    def _buckets(self, connection: sqlite3.Connection, asked: Sequence[SpendQuery]) -> dict[str, list[SpendRow]]:
        """By grouping, a group's in parts; all of them over the span of the first."""
        found: dict[str, list[SpendRow]] = {query.by: [] for query in asked}
        for since, until in self._pieces(connection, asked[0].since, min(asked[0].until, _EVER)):
            named = {"asked": _json(list(found)), "since": since, "until": until}
            for by, group, *sums in connection.execute(self._queries["spend"], named):
                found[by].append(SpendRow(str(group), *sums))
        return found

    def _rows_of(self, connection: sqlite3.Connection, exchange_id: str) -> Sequence[LedgerRow]:
        """First where the id says it must stand in time, then everywhere: there is no index on the id alone."""
        at = _time_of(exchange_id)
        rows = self._exchange(connection, exchange_id, at - _NEAR_S, at + _NEAR_S)
        rows = rows or self._exchange(connection, exchange_id, -_EVER, _EVER)
        named = {"id": exchange_id}
        attempts = [read_attempt(row) for row in connection.execute(self._queries["attempts_of"], named)]
        shares = [read_share(row) for row in connection.execute(self._queries["shares_of"], named)]
        return [*rows, *attempts, *shares]

    def _exchange(
        self, connection: sqlite3.Connection, exchange_id: str, since: float, until: float
    ) -> Sequence[LedgerRow]:
        named = {"id": exchange_id, "since": since, "until": until}
        return [read_exchange(row) for row in connection.execute(self._queries["exchange"], named)]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _time_of(exchange_id: str) -> float:
    """The epoch seconds in an id of ours: 0 in any other."""
    digits = exchange_id.rpartition("_")[2][:_ID_TIME]
    try:
        return int(digits, 16) / 1000
    except ValueError:
        return 0.0
