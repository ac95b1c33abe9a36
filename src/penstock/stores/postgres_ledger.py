"""The ledger in PostgreSQL: rows gather on the loop and are written by a task of it, whole exchanges at a time.

**The fence.** What opens something is written under the ``lease`` of its append, in a transaction that holds the lock
of that: under one that has ended nothing is opened, and who flushes it gets ``LeaseEnded``, though there be another
lease by then: what it holds was held under the former. What ends something is always written.

**The spool.** While the server is away, rows go to a file of this machine (``spool.py``), and are durable there. What
is opened so is let through by ``may_open_alone``, for nobody can ask the fence; nor can anybody end a lease meanwhile.
When the server is back, the spool is written in its order, each row once (its id is its key), while new rows are
written beside it: what is settled is never written over, so their order among each other is of no matter.

Fails closed and says so. What neither takes stays in order and is tried again; ``healthy`` is False meanwhile. Above
``max_rows`` waiting, and for a row that no store would take, ``on_lost`` gets the rows: never silently unrecorded.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from typing import Final

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow, noted_at
from penstock.errors import LeaseEnded, StoreError, StoreUnreachable
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.postgres_inserts import Inserts, Written, readable
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.spool import Record, Spool
from penstock.stores.turns import INTERVAL_S, Turns

log = logging.getLogger(__name__)

OnLost = Callable[[Sequence[LedgerRow], str], None]
"""Told of rows that will never be written, and why."""

MAX_ROWS: Final = 100_000
"""Rows that may wait in memory: about 100 MB."""

_GROUP_ROWS: Final = 1024
"""Rows per transaction."""

Rows = Sequence[LedgerRow]


class PostgresLedger:
    """The port Ledger. Rows of one ``append`` are written in one transaction, or not yet."""

    def __init__(
        self,
        pool: Postgres,
        reader: PostgresLedgerReader,
        spool: Spool,
        on_lost: OnLost,
        *,
        max_rows: int = MAX_ROWS,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """``pool``: of one connection that only this ledger uses. On the running loop."""
        self.lease = 0
        """Under which attempts are opened; 0 = under none, and without a fence."""
        self.may_open_alone: Callable[[], bool] = lambda: True
        """Whether what opens something may be kept in the spool: asked when the server is away."""
        self.late_openings = 0
        """Attempts that were opened in a spool and written when their lease had ended, ever: others may have been lent
        what they hold."""
        self._pool = pool
        self._reader = reader
        self._spool = spool
        self._on_lost = on_lost
        self._max_rows = max_rows
        self._inserts = Inserts(Partitions())
        self._waiting: deque[Record] = deque()
        self._writing: list[Record] = []
        """Of one lease."""
        self._rows_waiting = 0
        self._appended = self._written = 0
        """How many groups, ever: a group's number is how many came before it."""
        self._flushed = 0
        """The first group that no flush has waited for."""
        self._unopened: dict[int, StoreError] = {}
        """Numbers of groups that were to open something, and were refused."""
        self._asked: list[asyncio.Future[None]] = []
        self._drained: list[asyncio.Future[None]] = []
        self._healthy = self._fenced = True
        self._late_rows = 0
        self._turns = Turns(self._turn, "ledger", interval_s)

    @property
    def healthy(self) -> bool:
        """False from the first write that neither the server nor the spool took to the next that succeeds."""
        return self._healthy

    @property
    def fenced(self) -> bool:
        """Whether what is opened now is asked of the server: the last rows went there, and not to the spool."""
        return self._fenced

    @property
    def spooled_bytes(self) -> int:
        """How much waits on this machine's disk for the server."""
        return self._spool.waits

    @property
    def unwritten_since(self) -> float | None:
        """When the oldest row was appended that is not in the server, epoch seconds; None = all are."""
        waiting = [noted_at(waiting[0].rows) for waiting in (self._writing, self._waiting) if waiting]
        return min((at for at in (*waiting, self._spool.oldest_at) if at is not None), default=None)

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Take rows that belong together: written in one transaction, after those of every earlier call."""
        group = tuple(rows)
        if self._rows_waiting + len(group) > self._max_rows:
            if _opens(group):
                self._unopened[self._appended] = _not_taken()
            self._on_lost(group, f"{self._max_rows} rows wait already, the store cannot be written")
            group = ()
        self._rows_waiting += len(group)
        self._waiting.append(Record(self.lease, group))
        self._appended += 1
        self._turns.wake()

    async def flush(self) -> None:
        """Return when everything appended before is committed, or synced to the spool.

        Raises StoreError when it is not, also when open rows that were appended since the flush before this one were
        refused for good: LeaseEnded when their lease had ended. Otherwise rows of a flush that failed go on waiting.
        """
        mine = range(self._flushed, self._appended)
        self._flushed = self._appended
        try:
            await self._ask(self._asked)
        finally:
            refusals = [self._unopened.pop(number) for number in mine if number in self._unopened]
        if refusals:
            raise refusals[0]

    def drain(self) -> None:
        """The spool has something: write it when the server takes it."""
        self._turns.wake()

    async def settled(self) -> None:
        """Return when everything appended before is in the store itself, and the spool is empty. Raises StoreError."""
        await self.flush()
        await self._ask(self._drained)

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts; oldest first."""
        await self.settled()
        return await self._reader.open_rows()

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What attempts were charged, for each query. Raises StoreError."""
        await self.settled()
        return await self._reader.posted(queries, excluding=excluding)

    async def close(self) -> None:
        """Write what waits, once; what no store takes goes to ``on_lost``."""
        await self._turns.close()
        await self._spool.close()
        rows = [row for group in (*self._writing, *self._waiting) for row in group.rows]
        if rows:
            self._on_lost(rows, "the store was closed before it could be written")

    async def _ask(self, asked: list[asyncio.Future[None]]) -> None:
        if self._turns.stopping:
            raise StoreError("the store is closed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked.append(done)
        self._turns.hurry()
        await done

    # --- a turn

    async def _turn(self) -> bool:
        """Everything that waits now, oldest first; then some of the spool. False = try again."""
        asked, self._asked = self._asked, []
        error: StoreError | None = None
        try:
            await self._write_all(self._appended)
        except StoreError as failure:
            error = failure
            self._fail(failure)
        except Exception as failure:
            log.exception("rows could not be written in a way that nobody foresaw; it is tried again")
            error = StoreError(f"the ledger cannot be written: {failure}", detail=repr(failure))
        _tell(asked, error)
        return await self._drain(error) and error is None

    async def _write_all(self, end: int) -> None:
        while self._written < end:
            self._gather(end)
            spooled = await self._store()
            rows = sum(len(group.rows) for group in self._writing)
            self._written += len(self._writing)
            self._writing.clear()
            self._rows_waiting -= rows
            if not self._healthy or spooled:
                self._late_rows += rows
        if not self._healthy:
            self._healthy = True
            log.info("the ledger is kept again, with all that waited", extra={"rows_late": self._late_rows})

    def _gather(self, end: int) -> None:
        """The next group of groups, after what is left of the one before."""
        rows = sum(len(group.rows) for group in self._writing)
        while self._written + len(self._writing) < end and rows < _GROUP_ROWS:
            if self._writing and self._waiting[0].lease != self._writing[0].lease:
                break
            self._writing.append(self._waiting.popleft())
            rows += len(self._writing[-1].rows)

    async def _store(self) -> bool:
        """Into the server, or the spool: True. Raises StoreError when neither takes it."""
        if not any(group.rows for group in self._writing):
            return False
        try:
            await self._send()
        except StoreError as error:
            begins = not self._spool.waits
            self._fenced = False
            await self._keep(error)
            if begins:
                _say_spooling(error)
            return True
        self._fenced = True
        return False

    async def _send(self) -> None:
        """Once more where the first try found no server: a process that was stopped has only lost its connection.

        So a node that slept finds out about its lease before it may open anything alone.
        """
        shut = self._pool.is_shut
        try:
            await self._write_group(anyway=False)
        except StoreUnreachable:
            if shut:
                raise
            await self._write_group(anyway=True)

    async def _write_group(self, *, anyway: bool) -> None:
        try:
            rows = [row for group in self._writing for row in group.rows]
            written = await self._insert(rows, self._writing[0].lease, anyway=anyway)
        except StoreError as error:
            if not self._pool.refuses(error.__cause__ or error):
                raise
            await self._write_singly()
            return
        if written.refused:
            self._refuse(frozenset(written.refused))

    async def _insert(self, rows: Rows, lease: int, *, fenced: bool = True, anyway: bool = False) -> Written:
        batch = self._inserts.batch(rows)

        async def work(connection: Connection) -> Written:
            return await self._inserts.write(connection, batch, lease, fenced=fenced)

        return await self._pool.run(work, anyway=anyway)

    def _refuse(self, refused: frozenset[str]) -> None:
        """Tell who opened it; it is as if it had never been appended."""
        for number, (_, group) in enumerate(self._writing, self._written):
            if any(not isinstance(row, ShareRow) and row.outcome == OPEN and row.id in refused for row in group):
                self._unopened[number] = _lease_ended()

    async def _write_singly(self) -> None:
        """One row among them fits no column: find it, write the rest. What opens something is written whole or not."""
        for number, (lease, group) in enumerate(self._writing, self._written):
            for piece in [group] if _opens(group) else [(row,) for row in group]:
                try:
                    for row in piece:
                        readable(row)
                    written = await self._insert(piece, lease)
                except StoreError as error:
                    if not self._pool.refuses(error.__cause__ or error):
                        raise
                    if _opens(piece):
                        self._unopened[number] = _not_taken()
                    self._on_lost(piece, f"the store does not take it: {error.public}")
                else:
                    if written.refused:
                        self._unopened[number] = _lease_ended()

    # --- the spool

    async def _keep(self, why: StoreError) -> None:
        """Into the spool. What opens something is refused where nobody may open alone, before or after."""
        opening = [number for number, group in enumerate(self._writing, self._written) if _opens(group.rows)]
        alone = self.may_open_alone()
        groups = [group for group in self._writing if group.rows and (alone or not _opens(group.rows))]
        for row in chain.from_iterable(group.rows for group in groups):
            readable(row)
        if groups:
            try:
                await self._spool.append(groups)
            except StoreError as error:
                raise StoreError(f"{why.public}; and {error.public}", detail=why.detail) from error
        if not (alone and self.may_open_alone()):
            self._unopened.update(dict.fromkeys(opening, why))

    async def _drain(self, error: StoreError | None) -> bool:
        """Some of the spool into the server. False = there is more, or it cannot be reached."""
        asked, self._drained = self._drained, []
        try:
            more = await self._drain_some()
        except Exception as failure:  # noqa: BLE001 - who waits is told, whatever it is
            unforeseen = StoreError(f"the spool cannot be drained: {failure}", detail=repr(failure))
            _tell(asked, error or (failure if isinstance(failure, StoreError) else unforeseen))
            return False
        if more:
            self._drained += asked
            if not self._turns.stopping:
                self._turns.hurry()
            return True
        _tell(asked, error)
        return True

    async def _drain_some(self) -> bool:
        """Whether there is more."""
        if not self._spool.waits:
            return False
        if self._pool.is_shut:
            raise StoreUnreachable("the store cannot be reached, and rows wait in the spool")
        found = await self._spool.read()
        if found is None:
            return False
        records, place = found
        for lease, same in groupby(records, key=lambda record: record.lease):
            await self._drain_group(lease, [record.rows for record in same])
        await self._spool.forget(place)
        if not self._spool.waits:
            log.info("the ledger's server has everything that was kept for it")
        return bool(self._spool.waits)

    async def _drain_group(self, lease: int, groups: Sequence[Rows]) -> None:
        """All at once; where the server does not take that, one by one."""
        try:
            written = await self._insert(list(chain.from_iterable(groups)), lease, fenced=False)
        except StoreError as error:
            if not self._pool.refuses(error.__cause__ or error):
                raise
            if len(groups) == 1:
                self._on_lost(groups[0], f"the store does not take it: {error.public}")
                return
            for group in groups:
                await self._drain_group(lease, [group])
            return
        if not written.lives:
            self.late_openings += sum(_opens(group) for group in groups)

    def _fail(self, error: StoreError) -> None:
        """What waits goes on waiting."""
        if self._healthy:
            self._healthy = False
            log.error(
                "the ledger can be kept nowhere; it is tried again",
                extra={"why": error.public, "rows_waiting": self._rows_waiting},
            )


def _say_spooling(error: StoreError) -> None:
    log.error("the ledger's server does not take rows: they are kept here until it does", extra={"why": error.public})


def _tell(asked: Sequence[asyncio.Future[None]], error: StoreError | None) -> None:
    for done in asked:
        if done.done():  # who waited may have been cancelled
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _opens(rows: Rows) -> bool:
    return any(not isinstance(row, ShareRow) and row.outcome == OPEN for row in rows)


def _not_taken() -> StoreError:
    return StoreError("the ledger does not take these rows: what they open must not be begun")


def _lease_ended() -> LeaseEnded:
    return LeaseEnded("the lease of this node has ended: what was to be opened under it must not be begun")
