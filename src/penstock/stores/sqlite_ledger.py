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
from contextlib import suppress
from itertools import chain
from typing import Final

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow, noted_at
from penstock.errors import StoreError
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.sqlite import savepoint, transaction
from penstock.stores.sqlite_inserts import Inserts
from penstock.stores.sqlite_ledger_reader import SqliteLedgerReader
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter

log = logging.getLogger(__name__)

OnLost = Callable[[Sequence[LedgerRow], str], None]
"""Told, on the loop or on the writer's thread, of rows that will never be written, and why."""

MAX_ROWS: Final = 100_000
"""Rows that may wait: about 100 MB, or a minute of disk failure at 500 exchanges per second."""

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

Rows = Sequence[LedgerRow]


class SqliteLedger:
    """The port Ledger. Rows of one ``append`` are written in one transaction, or not yet."""

    def __init__(self, writer: SqliteWriter, reader: SqliteReader, on_lost: OnLost, max_rows: int = MAX_ROWS) -> None:
        """``max_rows``: how many may wait while the store cannot be written."""
        self._writer = writer
        self._reader = SqliteLedgerReader(reader)
        self._on_lost = on_lost
        self._max_rows = max_rows
        self._inserts = Inserts()
        self._waiting: deque[Rows] = deque()
        self._writing: list[Rows] = []
        self._rows_taken = self._rows_settled = 0
        self._appended = self._written = 0
        """How many groups, ever: a group's number is how many came before it."""
        self._flushed = 0
        """The first group that no flush has waited for."""
        self._unopened: set[int] = set()
        """Numbers of groups that were to open something, and were refused."""
        self._healthy = True
        self._late_rows = 0

    @property
    def healthy(self) -> bool:
        """False from the first failed write to the next that succeeds."""
        return self._healthy

    @property
    def unwritten_since(self) -> float | None:
        """When the oldest row that waits was appended, epoch seconds; None = none waits."""
        for waiting in (self._writing, self._waiting):
            with suppress(IndexError):  # the writer's thread takes them meanwhile
                return noted_at(waiting[0])
        return None

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Take rows that belong together: written in one transaction, after those of every earlier call."""
        group = tuple(rows)
        if self._rows_taken - self._rows_settled + len(group) > self._max_rows:
            if _opens(group):
                self._unopened.add(self._appended)
            self._on_lost(group, f"{self._max_rows} rows wait already, the store cannot be written")
            group = ()
        self._rows_taken += len(group)
        self._waiting.append(group)
        self._appended += 1
        self._writer.wake()

    async def flush(self) -> None:
        """Return when everything appended before is committed.

        Raises StoreError when it is not, also when open rows that were appended since the flush before this one were
        refused for good. Otherwise rows of a flush that failed go on waiting and are written when that is possible,
        before those appended later: who does not make the call that it opened appends the row of its end, which then
        takes the place of the open one. If the process ends before, none of the two is there; or, where a commit was
        in doubt, the open one is, and is settled as if the call had been made.
        """
        mine = range(self._flushed, self._appended)
        self._flushed = self._appended
        try:
            await self._writer.flush(self)
        finally:
            refused = self._unopened and self._unopened.intersection(mine)
            self._unopened.difference_update(refused)
        if refused:
            raise StoreError("the ledger does not take these rows: what they open must not be begun")

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first."""
        await self.flush()
        return await self._reader.open_rows()

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What attempts were charged, for each query. Raises StoreError."""
        await self.flush()
        return await self._reader.posted(queries, excluding=excluding)

    def give_up(self, reason: str) -> None:
        """Hand what is still waiting to ``on_lost``; for the end, when there is no next time."""
        rows = [*chain.from_iterable(self._writing), *chain.from_iterable(self._waiting)]
        if rows:
            self._on_lost(rows, reason)

    # --- on the writer's thread --------------------------------------------------------------------------------

    def write(self, connection: sqlite3.Connection) -> None:
        """Everything that waits now, oldest first, a transaction per group; what comes meanwhile is the next turn's."""
        end = self._appended
        while self._written < end:
            self._gather(end)
            self._write(connection)
            rows = sum(map(len, self._writing))
            self._written += len(self._writing)
            self._writing.clear()
            self._rows_settled += rows
            if not self._healthy:
                self._late_rows += rows
        if not self._healthy:
            self._heal()

    def fail(self, error: StoreError) -> None:
        """What waits goes on waiting."""
        if self._healthy:
            self._healthy = False
            what = {"why": error.public, "rows_waiting": self._rows_taken - self._rows_settled}
            log.error(
                "the ledger cannot be written: free its disk, or let go of its file; it is tried again", extra=what
            )

    def _heal(self) -> None:
        self._healthy = True
        log.info("the ledger is written again, with all that waited", extra={"rows_late": self._late_rows})
        self._late_rows = 0

    def _gather(self, end: int) -> None:
        """The next group of groups, after what is left of the one before."""
        rows = sum(map(len, self._writing))
        while self._written + len(self._writing) < end and rows < _GROUP_ROWS:
            self._writing.append(self._waiting.popleft())
            rows += len(self._writing[-1])

    def _write(self, connection: sqlite3.Connection) -> None:
        try:
            with transaction(connection):
                self._inserts.all(connection, chain.from_iterable(self._writing))
        except _UNFIT:
            self._write_singly(connection)

    def _write_singly(self, connection: sqlite3.Connection) -> None:
        """One row among them fits no column (a number too large, half a surrogate): find it, write the rest.

        Of a group that opens something nothing is written: there must be no open attempt of an unknown exchange.
        """
        refused: list[tuple[Rows, str]] = []
        with transaction(connection):
            for number, group in enumerate(self._writing, self._written):
                for piece in [group] if _opens(group) else [(row,) for row in group]:
                    reason = self._try(connection, piece)
                    if reason:
                        refused.append((piece, reason))
                        if _opens(piece):
                            self._unopened.add(number)
        for piece, reason in refused:
            self._on_lost(piece, reason)

    def _try(self, connection: sqlite3.Connection, piece: Rows) -> str:
        """Write it, or say why not."""
        try:
            with savepoint(connection):
                self._inserts.all(connection, piece)
        except _UNFIT as error:
            return f"the store does not take it: {error}"
        return ""


def _opens(rows: Rows) -> bool:
    return any(not isinstance(row, ShareRow) and row.outcome == OPEN for row in rows)
