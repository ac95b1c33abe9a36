"""Questions to a SQLite ledger, each in one consistent view of it, whether a server runs or not."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.ports import Posted, SpendQuery, SpendRow
from penstock.stores.posted import by_value, check_scope
from penstock.stores.queries import load_queries
from penstock.stores.rows import read_attempt, read_exchange, read_share
from penstock.stores.spend import check_query, grouped
from penstock.stores.sqlite_reader import SqliteReader

_ID_TIME: Final = 12
"""Hex digits of milliseconds that our names begin with (clock.TimeIds)."""
_NEAR_S: Final = 60.0
_EVER: Final = 1e18
_APART_S: Final = 86_400.0
"""How far an attempt's dispatch may be from its exchange's arrival, either way: more than deadlines allow, so that only
a clock that is set by more than a day meanwhile tells otherwise."""


async def book_currency(reader: SqliteReader) -> str | None:
    """What the amounts in the ledger are in; None while it is empty. Raises StoreError."""
    query = load_queries("ledger")["currency"]
    row = await reader.run(lambda connection: connection.execute(query).fetchone())
    return None if row is None else str(row[0])


class SqliteLedgerReader:
    """The port LedgerReader, whether a server runs or not."""

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader
        self._queries = load_queries("ledger")

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups and their total. Raises StoreError for an unknown grouping or zone, or an unreadable store."""
        check_query(query)
        bounds = {"by": query.by, "since": query.since, "until": query.until}
        return await self._reader.run(lambda connection: grouped(query, self._buckets(connection, bounds)))

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

    async def posted(self, scope: str, since: float, until: float, excluding: Sequence[str]) -> Sequence[Posted]:
        """What attempts dispatched in [since, until) were charged, but for those in ``excluding`` when it looks.

        Raises StoreError for an unknown scope, or an unreadable store.
        """
        check_scope(scope)
        bounds = {"scope": scope, "since": since, "until": until, "apart": _APART_S}
        return by_value(scope, await self._reader.run(lambda connection: self._posted(connection, bounds, excluding)))

    def _posted(
        self, connection: sqlite3.Connection, bounds: dict[str, Any], excluding: Sequence[str]
    ) -> Sequence[Posted]:
        """First the view of the store is fixed, then the exclusions are read: who is in the one is in the other."""
        connection.execute(self._queries["fix_view"]).fetchone()
        named = {**bounds, "excluding": msgspec.json.encode(tuple(excluding)).decode()}
        rows = connection.execute(self._queries["posted"], named)
        return [Posted(str(value), amount_nano, tokens) for value, amount_nano, tokens in rows]

    def _open_rows(self, connection: sqlite3.Connection) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        found = []
        for (id_,) in connection.execute(self._queries["open_exchanges"]).fetchall():
            rows = self._rows_of(connection, id_)
            attempts = [row for row in rows if isinstance(row, AttemptRow)]
            found += [(row, attempts) for row in rows if isinstance(row, ExchangeRow)]
        return sorted(found, key=lambda pair: (pair[0].at, pair[0].id))

    def _buckets(self, connection: sqlite3.Connection, bounds: dict[str, Any]) -> Iterable[SpendRow]:
        rows = connection.execute(self._queries["spend"], bounds)
        return [SpendRow(str(group), *sums) for group, *sums in rows]

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


def _time_of(exchange_id: str) -> float:
    """The epoch seconds in an id of ours: 0 in any other."""
    digits = exchange_id.rpartition("_")[2][:_ID_TIME]
    try:
        return int(digits, 16) / 1000
    except ValueError:
        return 0.0
