"""From a store URL to stores: ``memory:``, ``sqlite:PATH`` or ``postgresql://USER@HOST/DATABASE``."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import ConfigError, PenstockError, StoreError
from penstock.ports.answers import Purge
from penstock.ports.budgets import BudgetStore
from penstock.ports.clock import Clock, Ids, Rng
from penstock.ports.keys import KeyStore
from penstock.ports.ledger import AuditStore, LedgerReader
from penstock.ports.notes import DigestNotes
from penstock.ports.shared import Shared
from penstock.ports.stores import Stores
from penstock.stores import postgres_answers
from penstock.stores.answers import Answers, NoBacking
from penstock.stores.changes import Changes
from penstock.stores.checkup_redis import describe_persistence
from penstock.stores.digest_notes import MemoryDigestNotes, PostgresDigestNotes, SqliteDigestNotes
from penstock.stores.location import MEMORY, is_postgres, sqlite_path
from penstock.stores.lock import StoreLock
from penstock.stores.memory_budgets import MemoryBudgets
from penstock.stores.memory_keys import MemoryKeys
from penstock.stores.memory_ledger import MemoryLedger
from penstock.stores.postgres import Postgres, connected
from penstock.stores.postgres_audit import PostgresAudit
from penstock.stores.postgres_budgets import PostgresBudgets
from penstock.stores.postgres_keys import PostgresKeys
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader
from penstock.stores.postgres_schema import prepare as prepare_postgres
from penstock.stores.postgres_schema import require_schema
from penstock.stores.postgres_session import alone
from penstock.stores.postgres_stores import open_postgres, wrong_currency
from penstock.stores.redis_answers import RedisAnswers
from penstock.stores.redis_gaps import RedisGaps
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_purges import SharedPurge
from penstock.stores.redis_rates import RedisRates
from penstock.stores.redis_rooms import RedisRooms
from penstock.stores.redis_url import read_redis_url
from penstock.stores.results import MemoryResults
from penstock.stores.sqlite import connect, prepare
from penstock.stores.sqlite_answers import SqliteBacking, StoredModel, load_index, stored_answers
from penstock.stores.sqlite_audit import SqliteAudit
from penstock.stores.sqlite_budgets import SqliteBudgets
from penstock.stores.sqlite_keys import SqliteKeys
from penstock.stores.sqlite_ledger import OnLost, SqliteLedger
from penstock.stores.sqlite_ledger_reader import SqliteLedgerReader, book_currency
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_results import SqliteResults
from penstock.stores.sqlite_writer import SqliteWriter
from penstock.stores.wanted import Wanted

log = logging.getLogger(__name__)


async def open_stores(
    url: str,
    directory: Path,
    *,
    max_answer_bytes: int,
    sync: str,
    on_lost: OnLost,
    clock: Clock,
    currency: str | None = None,
    inherited: int | None = None,
    retention_s: float | None = None,
    spool: Path | None = None,
    sole: bool = False,
    succeeds: bool = False,
) -> Stores:
    """Open, and create where there is none, the store at ``url``; a relative path is relative to ``directory``.

    ``max_answer_bytes`` bounds the exact cache; ``sync`` is ``ledger.sync``; ``on_lost`` gets ledger rows that will
    never be written; ``currency`` is that of the amounts to come, None = there will be none; ``inherited`` is the file
    of a lock that the process before this one shares; ``retention_s`` is how long a month of the ledger is kept where
    it has months, None = for ever; ``spool`` is the directory where rows wait for a server that is away, None =
    ``directory``; ``sole``: no other server may use it, where several could; ``succeeds``: but the one before this one.
    Raises StoreError, and ConfigError when the ledger is kept in another currency.
    """
    scheme = url.partition(":")[0]
    if scheme not in _FACTORIES:
        raise StoreError(f"unknown store {url!r}: write {' or '.join(_FORMS)}")
    return await _FACTORIES[scheme](
        Wanted(
            url,
            directory,
            max_answer_bytes,
            sync,
            on_lost,
            clock,
            currency,
            inherited,
            retention_s,
            spool or directory,
            sole=sole,
            succeeds=succeeds,
        )
    )


async def open_shared(url: str, *, clock: Clock, rng: Rng, ids: Ids, forget: Callable[[Purge], object]) -> Shared:
    """What nodes share at a ``redis://`` URL. ``forget``: told of every purge. Raises SharedUnavailable."""
    where = read_redis_url(url)
    link = RedisLink(where, clock, rng)

    def on_purge(purge: SharedPurge) -> None:
        forget(Purge(*msgspec.structs.astuple(purge)))

    gaps = None if where.cluster else RedisGaps(link, clock, partial(ids.new, "gap"))
    answers = RedisAnswers(link, clock, ids, on_purge=on_purge, gaps=gaps)

    async def close() -> None:
        await answers.close()
        await link.close()

    try:
        await link.open()
        await answers.open()
    except PenstockError:
        await answers.close()
        await link.close()
        raise
    kept = await describe_persistence(link)
    log.info("what nodes share: %s", kept, extra={"at": str(where)})
    return Shared(RedisRooms(link), answers, RedisRates(link), close, str(where))


@asynccontextmanager
async def open_reader(url: str, directory: Path) -> AsyncIterator[LedgerReader]:
    """The ledger of a store on disk, for questions only: whether a server runs or not. Raises StoreError."""
    if is_postgres(url):
        async with _open_pool(url, write=False) as pool:
            yield PostgresLedgerReader(pool)
        return
    reader = SqliteReader(sqlite_path(url, directory), "penstock-reports")
    try:
        yield SqliteLedgerReader(reader)
    finally:
        await reader.close()


@asynccontextmanager
async def open_keys(url: str, directory: Path, *, write: bool) -> AsyncIterator[KeyStore]:
    """The keys of a store on disk, without the rest of it; created only to ``write``. Raises StoreError."""
    if is_postgres(url):
        async with _open_pool(url, write=write) as pool:
            yield PostgresKeys(pool)
        return
    async with _open_part(url, directory, write=write) as (writer, reader):
        yield SqliteKeys(writer, reader)


@asynccontextmanager
async def open_budgets(url: str, directory: Path, *, write: bool) -> AsyncIterator[BudgetStore]:
    """The budgets set in a store on disk, without the rest of it; created only to ``write``. Raises StoreError."""
    if is_postgres(url):
        async with _open_pool(url, write=write) as pool:
            yield PostgresBudgets(pool)
        return
    async with _open_part(url, directory, write=write) as (writer, reader):
        yield SqliteBudgets(writer, reader)


@asynccontextmanager
async def open_audit(url: str, directory: Path, *, write: bool) -> AsyncIterator[AuditStore]:
    """What reconciling asks and keeps, beside a server or without one; created only to ``write``. Raises StoreError."""
    if is_postgres(url):
        async with _open_pool(url, write=write) as pool:
            yield PostgresAudit(pool)
        return
    async with _open_part(url, directory, write=write) as (writer, reader):
        yield SqliteAudit(writer, reader)


@asynccontextmanager
async def open_digest_notes(url: str, directory: Path) -> AsyncIterator[DigestNotes]:
    """Which digests were told, beside a server or without one. Raises StoreError."""
    if url == MEMORY:
        yield MemoryDigestNotes()
    elif is_postgres(url):
        async with _open_pool(url, write=True) as pool:
            yield PostgresDigestNotes(pool)
    else:
        async with _open_part(url, directory, write=True) as (writer, _):
            yield SqliteDigestNotes(writer)


@asynccontextmanager
async def sole_use(url: str, directory: Path) -> AsyncIterator[None]:
    """No server has the store of that URL, nor gets it meanwhile. Raises StoreError when one has."""
    if is_postgres(url):
        async with _open_pool(url, write=False) as pool, alone(pool):
            yield
        return
    lock = StoreLock(sqlite_path(url, directory))
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _open_part(url: str, directory: Path, *, write: bool) -> AsyncIterator[tuple[SqliteWriter, SqliteReader]]:
    """What a command needs beside a server, or without one."""
    path = sqlite_path(url, directory)
    writer, reader = SqliteWriter(partial(connect, path, "full")), SqliteReader(path, "penstock-reads")
    if write:
        prepare(path)
        writer.start()
    try:
        yield writer, reader
    finally:
        if write:
            await writer.close()
        await reader.close()


@asynccontextmanager
async def _open_pool(url: str, *, write: bool) -> AsyncIterator[Postgres]:
    """The same in PostgreSQL."""
    async with connected(url) as pool:
        if write:
            await prepare_postgres(pool)
        else:
            await require_schema(pool)
        yield pool


async def read_stored_answers(url: str, directory: Path, now: float) -> list[StoredModel]:
    """What the exact cache of a store on disk holds. Raises StoreError."""
    if is_postgres(url):
        async with _open_pool(url, write=False) as pool:
            return await postgres_answers.stored_answers(pool, now)
    reader = SqliteReader(sqlite_path(url, directory), "penstock-reads")
    try:
        return await stored_answers(reader, now)
    finally:
        await reader.close()


async def _open_memory(wanted: Wanted) -> Stores:
    ledger, answers, results = (
        MemoryLedger(),
        Answers(wanted.max_answer_bytes, NoBacking(), wanted.clock.now),
        MemoryResults(),
    )

    async def close() -> None:
        """Nothing to keep."""

    return Stores(
        answers=answers,
        ledger=ledger,
        reader=ledger,
        keys=MemoryKeys(),
        budgets=MemoryBudgets(),
        results=results,
        sweep=partial(_sweep, answers, results),
        close=close,
        description="in memory, gone with the process",
    )


async def _open_sqlite(wanted: Wanted) -> Stores:
    path = sqlite_path(wanted.url, wanted.directory)
    lock = StoreLock(path, wanted.inherited)
    try:
        prepare(path)
    except StoreError:
        lock.release()
        raise
    writer = SqliteWriter(partial(connect, path, wanted.sync))
    reads, reports = SqliteReader(path, "penstock-reads"), SqliteReader(path, "penstock-reports")
    audit = SqliteReader(path, "penstock-audit")
    ledger, changes = SqliteLedger(writer, reports, wanted.on_lost), Changes(writer)
    answers = Answers(wanted.max_answer_bytes, SqliteBacking(changes, reads), wanted.clock.now)
    results = SqliteResults(changes, reads)

    async def close() -> None:
        await writer.close()
        await reads.close()
        await reports.close()
        await audit.close()
        ledger.give_up("the store was closed before it could be written")
        lock.release()

    writer.start(ledger, changes)
    try:
        await _require_currency(wanted, reads)
        await load_index(answers, reads)
    except PenstockError:
        await close()
        raise
    answers.sweep(wanted.clock.now())
    return Stores(
        answers=answers,
        ledger=ledger,
        reader=SqliteLedgerReader(reports),
        keys=SqliteKeys(writer, reads),
        budgets=SqliteBudgets(writer, reads),
        results=results,
        sweep=partial(_sweep, answers, results),
        close=close,
        description=str(path),
        audit=SqliteAudit(writer, audit),
        lock=lock,
        unwritten_since=lambda: ledger.unwritten_since,
    )


async def _require_currency(wanted: Wanted, reads: SqliteReader) -> None:
    """Amounts in two currencies must never stand in one ledger: nobody could add them up."""
    kept = await book_currency(reads)
    if kept and wanted.currency and kept != wanted.currency:
        raise ConfigError([wrong_currency(wanted.url, kept, wanted.currency)])


async def _sweep(answers: Answers, results: MemoryResults | SqliteResults, now: float) -> None:
    """Forget what expired."""
    answers.sweep(now)
    results.sweep(now)


_FACTORIES: Final[Mapping[str, Callable[[Wanted], Awaitable[Stores]]]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    "postgresql": open_postgres,
    "postgres": open_postgres,
}

_FORMS: Final = ("memory:", "sqlite:PATH", "postgresql://USER:PASSWORD@HOST/DATABASE")
