"""The ledger in SQLite: rows gather on the loop and are written by the writer's thread, whole exchanges at a time.

Fails closed and says so. What cannot be written (disk full, I/O error, a lock that is not released) stays in order and
is tried again; ``healthy`` is False meanwhile, so that the pipeline may refuse what it could not record. The log says
once that it fails, and once that it is whole again: which is when everything that waited is written, oldest first and a
few rows at a time, so that a little room on the disk is enough to begin with. Above ``max_rows`` waiting, and for a row
that no store would take, ``on_lost`` gets the rows: never silently unrecorded. Refusals do not use that space up: while
this is unhealthy, ``pipeline/record.py`` only counts them.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.errors import StoreError
from penstock.ports import Posted, SpendQuery, SpendRow
from penstock.stores.posted import by_value, check_scope
from penstock.stores.queries import block_of, load_queries
from penstock.stores.rows import (
    Values,
    attempt_values,
    exchange_values,
    read_attempt,
    read_exchange,
    read_share,
    share_values,
)
from penstock.stores.spend import check_query, grouped
from penstock.stores.sqlite import transaction
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter

log = logging.getLogger(__name__)

OnLost = Callable[[Sequence[LedgerRow], str], None]
"""Told, on the loop or on the writer's thread, of rows that will never be written, and why."""

MAX_ROWS: Final = 100_000
"""Rows that may wait: about 100 MB, or a minute of disk failure at 500 exchanges per second."""

_BLOCK: Final = 32
"""Rows per statement: measured in docs/adr/0005."""

_GROUP_ROWS: Final = 1024
"""Rows per transaction, about half a megabyte: more than 50 ms bring at 5,000 exchanges per second."""

_UNFIT: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
    TypeError,
)
"""What the driver raises for a value that no column takes; anything else is the store's failure, not the row's."""

_ID_TIME: Final = 12
"""Hex digits of milliseconds that our names begin with (clock.TimeIds)."""
_NEAR_S: Final = 60.0
_EVER: Final = 1e18


class SqliteLedger:
    """The port Ledger. Rows of one ``append`` are written in one transaction, or not yet."""

    def __init__(self, writer: SqliteWriter, reader: SqliteReader, on_lost: OnLost, max_rows: int = MAX_ROWS) -> None:
        """``max_rows``: how many may wait while the store cannot be written."""
        self._writer = writer
        self._reader = SqliteLedgerReader(reader)
        self._on_lost = on_lost
        self._max_rows = max_rows
        self._waiting: deque[Sequence[LedgerRow]] = deque()
        self._writing: list[Sequence[LedgerRow]] = []
        self._taken = 0
        self._settled = 0
        self._inserts = _Inserts()
        self._healthy = True
        self._late_rows = 0

    @property
    def healthy(self) -> bool:
        """False from the first failed write to the next that succeeds."""
        return self._healthy

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Take the rows of an exchange."""
        group = tuple(rows)
        if self._taken - self._settled + len(group) > self._max_rows:
            self._on_lost(group, f"{self._max_rows} rows wait already, the store cannot be written")
            return
        self._taken += len(group)
        self._waiting.append(group)
        self._writer.wake()

    async def flush(self) -> None:
        """Return when everything appended before is committed. Raises StoreError."""
        await self._writer.flush(self)

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first."""
        await self.flush()
        return await self._reader.open_rows()

    async def posted(self, scope: str, since: float, until: float, *, excluding: Sequence[str]) -> Sequence[Posted]:
        """What attempts dispatched in [since, until) were charged. Raises StoreError."""
        check_scope(scope)
        await self.flush()
        return await self._reader.posted(scope, since, until, excluding)

    def give_up(self, reason: str) -> None:
        """Hand what is still waiting to ``on_lost``; for the end, when there is no next time."""
        rows = [*chain.from_iterable(self._writing), *chain.from_iterable(self._waiting)]
        if rows:
            self._on_lost(rows, reason)

    def write(self, connection: sqlite3.Connection) -> None:
        """On the writer's thread: everything that waits, oldest first, a transaction per group."""
        while self._gather():
            self._write(connection)
            written = sum(map(len, self._writing))
            self._writing.clear()
            self._settled += written
            if not self._healthy:
                self._late_rows += written
        if not self._healthy:
            self._heal()

    def fail(self, error: StoreError) -> None:
        """On the writer's thread: what waits goes on waiting."""
        if self._healthy:
            self._healthy = False
            what = {"why": error.public, "rows_waiting": self._taken - self._settled}
            log.error(
                "the ledger cannot be written: free its disk, or let go of its file; it is tried again", extra=what
            )

    def _heal(self) -> None:
        self._healthy = True
        log.info("the ledger is written again, with all that waited", extra={"rows_late": self._late_rows})
        self._late_rows = 0

    def _gather(self) -> bool:
        """The next group, after what is left of the one before; whether there is any."""
        rows = sum(map(len, self._writing))
        while self._waiting and rows < _GROUP_ROWS:
            self._writing.append(self._waiting.popleft())
            rows += len(self._writing[-1])
        return bool(self._writing)

    def _write(self, connection: sqlite3.Connection) -> None:
        try:
            with transaction(connection):
                self._inserts.all(connection, chain.from_iterable(self._writing))
        except _UNFIT:
            self._write_singly(connection)

    def _write_singly(self, connection: sqlite3.Connection) -> None:
        """One row among them fits no column (a number too large, half a surrogate): find it, write the rest."""
        refused: list[tuple[LedgerRow, str]] = []
        with transaction(connection):
            for row in chain.from_iterable(self._writing):
                try:
                    self._inserts.all(connection, [row])
                except _UNFIT as error:
                    refused.append((row, f"the store does not take it: {error}"))
        for row, reason in refused:
            self._on_lost([row], reason)


class _Inserts:
    """The statements that write rows, alone and in blocks."""

    def __init__(self) -> None:
        queries = load_queries("ledger")
        names = ("insert_exchange", "insert_attempt", "insert_share")
        self._single = [queries[name] for name in names]
        self._block = [block_of(queries[name], _BLOCK) for name in names]

    def all(self, connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> None:
        """Write ``rows`` of any kind."""
        exchanges: list[Values] = []
        attempts: list[Values] = []
        shares: list[Values] = []
        for row in rows:
            if isinstance(row, ExchangeRow):
                exchanges.append(exchange_values(row))
            elif isinstance(row, AttemptRow):
                attempts.append(attempt_values(row))
            else:
                shares.append(share_values(row))
        for table, values in enumerate((exchanges, attempts, shares)):
            self._insert(connection, table, values)

    def _insert(self, connection: sqlite3.Connection, table: int, values: list[Values]) -> None:
        whole = len(values) - len(values) % _BLOCK
        for start in range(0, whole, _BLOCK):
            connection.execute(self._block[table], tuple(chain.from_iterable(values[start : start + _BLOCK])))
        if whole < len(values):
            connection.executemany(self._single[table], values[whole:])


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

    async def posted(self, scope: str, since: float, until: float, excluding: Sequence[str]) -> Sequence[Posted]:
        """What attempts dispatched in [since, until) were charged, without those ``excluding`` holds when it looks."""
        bounds = {"scope": scope, "since": since, "until": until}
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
