"""The port AuditStore in SQLite: questions that no request asks, and the one change that settled rows may see.

Re-rating fills in what is NULL and nothing else. A row that got its charge meanwhile keeps it, and then the whole group
is given up, because its costs were summed without that.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.core.reconcile import Balance, Charges
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.rerate import Entry
from penstock.errors import StoreError
from penstock.ports.ledger import Extent
from penstock.stores.queries import load_queries
from penstock.stores.rows import read_attempt, read_exchange, read_share, share_values
from penstock.stores.sqlite_ledger_reader import APART_S
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter


class SqliteAudit:
    """The port AuditStore. Durable when a call returns."""

    def __init__(self, writer: SqliteWriter, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader
        self._queries = {**load_queries("ledger"), **load_queries("audit")}

    async def currency(self) -> str | None:
        """Of the ledger's book; None while it is empty."""
        rows = await self._rows("currency", {})
        return str(rows[0][0]) if rows else None

    async def extent(self, provider: str, billed_at: str) -> Extent | None:
        """When calls to ``provider`` were charged; None = never."""
        (found,) = await self._rows("extent", {"provider": provider, "billed_at": billed_at})
        since, until = found
        return None if since is None else Extent(since, until)

    async def charges(self, provider: str, since: float, until: float, billed_at: str) -> Sequence[Charges]:
        """What calls were charged whose tariff instant is in [since, until), per quarter, deployment and currency."""
        named = {
            "provider": provider, "since": since, "until": until, "billed_at": billed_at,
            "first": since - APART_S, "last": until + APART_S,
        }  # fmt: skip
        return [Charges(*row) for row in await self._rows("charges", named)]

    async def unpriced(self, after: tuple[float, str], limit: int) -> Sequence[Entry]:
        """Up to ``limit`` exchanges that lack a cost, a baseline or an attempt's charge, after the one at ``after``."""
        at, id_ = after
        return await self._reader.run(
            lambda connection: self._unpriced(connection, {"at": at, "id": id_, "limit": limit})
        )

    async def rerate(self, changed: Sequence[Entry]) -> None:
        """Write charges, shares, costs and baselines in one transaction. Raises StoreError where a charge is there."""
        await self._writer.run(lambda connection: self._rerate(connection, changed))

    async def last_balances(self, provider: str) -> Sequence[Balance]:
        """The youngest snapshot of each currency."""
        return [Balance(*row) for row in await self._rows("last_balances", {"provider": provider})]

    async def keep_balances(self, balances: Sequence[Balance]) -> None:
        """Store snapshots."""
        query = self._queries["keep_balance"]
        await self._writer.run(lambda connection: connection.executemany(query, balances))

    async def _rows(self, query: str, named: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        return await self._reader.run(lambda connection: connection.execute(self._queries[query], named).fetchall())

    def _unpriced(self, connection: sqlite3.Connection, named: Mapping[str, Any]) -> Sequence[Entry]:
        exchanges = [read_exchange(row) for row in connection.execute(self._queries["unpriced"], named).fetchall()]
        return [self._entry(connection, exchange) for exchange in exchanges]

    def _entry(self, connection: sqlite3.Connection, exchange: ExchangeRow) -> Entry:
        named = {"id": exchange.id}
        attempts = [read_attempt(row) for row in connection.execute(self._queries["attempts_of"], named)]
        shares = [read_share(row) for row in connection.execute(self._queries["shares_of"], named)]
        return Entry(exchange, attempts, shares)

    def _rerate(self, connection: sqlite3.Connection, changed: Sequence[Entry]) -> None:
        for exchange, attempts, shares in changed:
            written = sum(self._update(connection, "rerate_attempt", _charge_of(row)) for row in attempts)
            written += self._update(connection, "rerate_exchange", _sums_of(exchange))
            if written != len(attempts) + 1:
                raise StoreError(f"the exchange {exchange.id} was changed by another process meanwhile: ask again")
            connection.executemany(self._queries["insert_share"], [share_values(share) for share in shares])

    def _update(self, connection: sqlite3.Connection, query: str, named: Mapping[str, Any]) -> int:
        return connection.execute(self._queries[query], named).rowcount


def _charge_of(row: AttemptRow) -> Mapping[str, Any]:
    names = ("exchange_id", "id", "charged_nano", "currency", "fx_rate", "charged_book_nano", "price_source")
    return {name: getattr(row, name) for name in names}


def _sums_of(row: ExchangeRow) -> Mapping[str, Any]:
    return {name: getattr(row, name) for name in ("at", "id", "cost_nano", "baseline_nano")}
