"""Everything that a node keeps in PostgreSQL, put together.

A node has up to twelve connections: one writes the ledger, one what caches store, three ask, two end leases, two
report, one listens, one leads, one holds the place. Each pool has its own breaker: each finds out in its own time.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.errors import ConfigError, PenstockError
from penstock.ports.answers import Purge
from penstock.ports.stores import Stores
from penstock.stores.answers import Answers
from penstock.stores.location import describe
from penstock.stores.move_target import require_whole
from penstock.stores.postgres import REPORT_S, REPORTING, Connection, Postgres
from penstock.stores.postgres_answers import PostgresBacking, first_id
from penstock.stores.postgres_audit import PostgresAudit
from penstock.stores.postgres_budgets import PostgresBudgets
from penstock.stores.postgres_changes import PostgresChanges
from penstock.stores.postgres_keys import PostgresKeys
from penstock.stores.postgres_leases import PostgresLeases
from penstock.stores.postgres_ledger import PostgresLedger
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader, book_currency
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.postgres_results import PostgresResults
from penstock.stores.postgres_schema import prepare
from penstock.stores.postgres_session import PostgresLeader, PostgresSignals
from penstock.stores.postgres_sole import PostgresSole
from penstock.stores.postgres_sums import PostgresSums
from penstock.stores.spool import Spool
from penstock.stores.wanted import Wanted

log = logging.getLogger(__name__)

PATIENT_S: Final = 5.0
"""For the end of a lease: as long as the server bears a transaction that says nothing, and a while."""

_SYNC: Final[Mapping[str, Mapping[str, str]]] = {"normal": {}, "full": {"synchronous_commit": "on"}}
"""``normal``: as the server is set up, which survives the death of any process, ours or its own."""


_NO_SPOOL: Final = "the spool cannot be written, so requests are refused while PostgreSQL is away: see `ledger.spool`"


@dataclass(slots=True)
class _Pools:
    """The connections of a node, by what they are for."""

    writing: Postgres
    changing: Postgres
    asking: Postgres
    leasing: Postgres
    reporting: Postgres

    @classmethod
    def of(cls, url: str, sync: str) -> "_Pools":
        return cls(
            writing=Postgres(url, size=1, settings={"plan_cache_mode": "force_generic_plan", **_SYNC[sync]}),
            changing=Postgres(url, size=1),
            asking=Postgres(url, size=3),
            leasing=Postgres(url, size=2, deadline_s=PATIENT_S),
            reporting=Postgres(url, size=2, deadline_s=REPORT_S, settings=REPORTING),
        )

    async def close(self) -> None:
        for pool in (self.writing, self.changing, self.asking, self.leasing, self.reporting):
            await pool.close()


async def open_postgres(wanted: Wanted) -> Stores:
    """The stores at a PostgreSQL URL, whose schema is brought up to date. Raises StoreError, ConfigError."""
    pools = _Pools.of(wanted.url, wanted.sync)
    try:
        await prepare(pools.reporting)
        await require_whole(pools.reporting)
        await _require_currency(wanted, pools.reporting)
        return await _Node(wanted, pools).open()
    except PenstockError:
        await pools.close()
        raise


class _Node:
    """One process's stores."""

    def __init__(self, wanted: Wanted, pools: _Pools) -> None:
        self._wanted = wanted
        self._pools = pools
        self._reader = PostgresLedgerReader(pools.reporting)
        self._spool = Spool(wanted.spool, spool_name(wanted.url))
        self._ledger = PostgresLedger(pools.writing, self._reader, self._spool, wanted.on_lost)
        self._changes = PostgresChanges(pools.changing)
        self._backing = PostgresBacking(self._changes, pools.asking, wanted.max_answer_bytes)
        self._answers = Answers(wanted.max_answer_bytes, self._backing, wanted.clock.now, first_id())
        self._results = PostgresResults(self._changes, pools.asking)
        self._leader = PostgresLeader(pools.asking)
        self._signals = PostgresSignals(pools.asking)
        self._sole = PostgresSole(pools.asking, sole=wanted.sole, succeeds=wanted.succeeds)
        self._sums = PostgresSums(pools.reporting)
        self._partitions = Partitions()

    async def open(self) -> Stores:
        if not self._spool.is_writable:
            log.warning(_NO_SPOOL, extra={"directory": str(self._wanted.spool)})
        try:
            await self._sole.start()
            await self._backing.begin()
            await self._signals.start()
            await self._spool.adopt()
            await self._ledger.settled()  # what a dead process kept for the server is there before anything is asked
        except PenstockError:
            await self.close()
            raise
        pools = self._pools
        return Stores(
            answers=self._answers,
            ledger=self._ledger,
            reader=self._reader,
            keys=PostgresKeys(pools.asking),
            budgets=PostgresBudgets(pools.asking),
            results=self._results,
            sweep=self.sweep,
            close=self.close,
            description=describe(self._wanted.url),
            audit=PostgresAudit(pools.reporting),
            fence=self._ledger,
            leases=PostgresLeases(pools.leasing, pools.reporting),
            leader=self._leader,
            signals=self._signals,
            refresh=self.refresh,
            last_end=self._backing.last_end,
            spooled_bytes=lambda: self._ledger.spooled_bytes,
            unwritten_since=lambda: self._ledger.unwritten_since,
        )

    async def refresh(self) -> Sequence[Purge]:
        """Forget what other nodes purged; what was purged by any. Raises StoreError."""
        return await self._backing.hear(self._answers)

    async def sweep(self, now: float) -> None:
        """Forget what expired; who leads does so behind, sums up and sees to the months. Raises StoreError."""
        self._answers.sweep(now)
        self._results.sweep(now)
        if await self._spool.adopt():
            self._ledger.drain()
        if not await self._leader.lead():
            return
        self._results.sweep_behind(now)
        await self._backing.sweep(now)
        await self._pools.reporting.run(lambda connection: self._make_ahead(connection, now))
        await self._sums.sweep()
        if self._wanted.retention_s is not None:
            await self._partitions.drop(self._pools.reporting, now, self._wanted.retention_s)

    async def close(self) -> None:
        """Flush and close."""
        await self._signals.close()
        await self._leader.close()
        await self._ledger.close()
        await self._changes.close()
        await self._sole.close()
        await self._pools.close()

    async def _make_ahead(self, connection: Connection, now: float) -> None:
        await self._partitions.make_ahead(connection, now)


async def _require_currency(wanted: Wanted, pool: Postgres) -> None:
    """Amounts in two currencies must never stand in one ledger: nobody could add them up."""
    kept = await book_currency(pool)
    if kept and wanted.currency and kept != wanted.currency:
        raise ConfigError([wrong_currency(pool.name, kept, wanted.currency)])


def wrong_currency(name: str, kept: str, wanted: str) -> str:
    """What is said of a ledger in another currency."""
    return (
        f"currency: the ledger in {name} is kept in {kept} and cannot go on in {wanted}; "
        f"write `currency: {kept}`, or give the new currency a `store` of its own"
    )


def spool_name(url: str) -> str:
    """Of the files beside a node that belong to this store, whatever the password."""
    return f"penstock-{zlib.crc32(describe(url).encode()):08x}"
