"""A SQLite ledger in trouble: nothing vanishes in silence, and it heals by itself.

The faults are real: a page limit makes SQLite report a full disk, a file size limit makes its writes fail, another
connection holds the lock. Waiting is for events of the store itself, never for a time.
"""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from penstock.core.records import LedgerRow
from penstock.errors import StoreError
from penstock.ports.ledger import PostedQuery, SpendQuery
from penstock.stores.changes import Changes
from penstock.stores.sqlite import connect, prepare
from penstock.stores.sqlite_ledger import SqliteLedger
from penstock.stores.sqlite_ledger_reader import SqliteLedgerReader
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter
from tests.contract.stores.conftest import Reopen
from tests.support.ledger_rows import AT, exchange_row, opened_rows, rows_of

EVERYTHING = SpendQuery("model", 0, 1e12, "UTC")


class Bench:
    """A ledger whose connection can be broken and mended."""

    def __init__(self, path: Path) -> None:
        prepare(path)
        self.path = path
        self.break_it: Callable[[sqlite3.Connection], object] = lambda _connection: None
        self.lost: list[tuple[Sequence[LedgerRow], str]] = []
        self.writer = SqliteWriter(self._connect, interval_s=0.0)
        self.reader = SqliteReader(path, "test-reads")
        self.ledger = SqliteLedger(
            self.writer, self.reader, lambda rows, reason: self.lost.append((rows, reason)), max_rows=30
        )
        self.changes = Changes(self.writer)
        self.writer.start(self.ledger, self.changes)

    async def requests(self) -> int:
        """How many exchanges are durable."""
        _, total = await SqliteLedgerReader(self.reader).spend(EVERYTHING)
        return total.requests

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path)
        connection.execute("PRAGMA busy_timeout = 20")
        self.break_it(connection)
        return connection


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench on a new store, whose file is whole in the end."""
    made = Bench(tmp_path / "store.db")
    yield made
    await made.writer.close()
    await made.reader.close()
    with closing(sqlite3.connect(made.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def fill_disk(connection: sqlite3.Connection) -> None:
    """SQLITE_FULL from the next new page on."""
    connection.execute("PRAGMA max_page_count = 1")


def large_rows(number: int) -> list[LedgerRow]:
    """An exchange that needs pages of its own."""
    return [exchange_row(f"ex_{number}", user="u" * 20_000)]


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail, as on a broken disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_keeps_the_rows_until_there_is_room(bench: Bench) -> None:
    """The flush says so, health is gone at once and back with the first success; nothing was lost meanwhile."""
    bench.break_it = fill_disk
    bench.ledger.append(large_rows(1))
    with pytest.raises(StoreError, match="full"):
        await bench.ledger.flush()
    assert not bench.ledger.healthy
    bench.ledger.append(large_rows(2))
    with pytest.raises(StoreError, match="full"):
        await bench.ledger.flush()
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    assert bench.ledger.healthy
    assert await bench.requests() == 2
    assert not bench.lost


async def test_it_is_known_since_when_the_oldest_row_waits(bench: Bench) -> None:
    """By its own time: an exchange is appended when it has ended. None once all is written."""
    assert bench.ledger.unwritten_since is None
    bench.break_it = fill_disk
    for number in (1, 2):
        bench.ledger.append([exchange_row(f"ex_{number}", at=AT + number, duration_s=0.5, user="u" * 20_000)])
        with pytest.raises(StoreError, match="full"):
            await bench.ledger.flush()
        assert bench.ledger.unwritten_since == AT + 1.5
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    assert bench.ledger.unwritten_since is None


async def test_the_log_says_once_that_it_fails_and_once_that_it_is_whole(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What, why and what to do; then how many rows are late. Not a line per try."""
    caplog.set_level("INFO")
    bench.break_it = fill_disk
    for number in range(3):
        bench.ledger.append(large_rows(number))
        with pytest.raises(StoreError, match="full"):
            await bench.ledger.flush()
    (failing,) = caplog.records
    assert (failing.levelname, vars(failing)["rows_waiting"]) == ("ERROR", 1)
    assert "database or disk is full" in vars(failing)["why"]
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    _, healed = caplog.records
    assert (healed.levelname, vars(healed)["rows_late"]) == ("INFO", 3)


async def test_a_store_that_cannot_even_be_opened_makes_it_ill(bench: Bench) -> None:
    """No connection is as bad as a full disk, for who must not spend what nobody records."""

    def refuse(_connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    bench.break_it = refuse
    bench.ledger.append(rows_of(1))
    with pytest.raises(StoreError, match="unable to open"):
        await bench.ledger.flush()
    assert not bench.ledger.healthy
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    assert bench.ledger.healthy
    assert await bench.requests() == 1


async def test_it_heals_bit_by_bit_and_is_ill_until_all_is_written(tmp_path: Path) -> None:
    """Room for some of what waits takes the oldest of it; health comes with the last row."""
    path, room = tmp_path / "store.db", [1]
    prepare(path)

    def small() -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count = {room[0]}")
        return connection

    writer = SqliteWriter(small, interval_s=0.0)
    reader = SqliteReader(path, "test-reads")
    ledger = SqliteLedger(writer, reader, lambda _rows, reason: pytest.fail(reason))
    writer.start(ledger)
    try:
        seen = []
        for number in range(4000):
            ledger.append(rows_of(number))
        for room[0] in (1, 100, 1_000_000):
            with suppress(StoreError):
                await ledger.flush()
            rows = await reader.run(lambda connection: connection.execute("SELECT id FROM exchanges").fetchall())
            assert [id_ for (id_,) in rows] == [f"ex_{number:06}" for number in range(len(rows))]
            seen.append((len(rows), ledger.healthy))
    finally:
        await writer.close()
        await reader.close()
    rows_written, healthy = zip(*seen, strict=True)
    assert rows_written[0] < rows_written[1] < rows_written[2] == 4000
    assert healthy == (False, False, True)


async def test_it_heals_without_being_asked(bench: Bench) -> None:
    """The writer tries again by itself, though nothing new comes and nobody flushes."""
    bench.break_it = fill_disk
    bench.ledger.append(large_rows(1))
    with pytest.raises(StoreError):
        await bench.ledger.flush()
    tried = threading.Event()
    bench.break_it = lambda _connection: tried.set()
    assert await asyncio.to_thread(tried.wait, 30)
    await bench.ledger.flush()
    assert await bench.requests() == 1


async def test_an_input_output_error_keeps_the_rows(bench: Bench) -> None:
    """A failing write is no different from a full disk, and leaves no half of a group."""
    bench.ledger.append(rows_of(99))
    await bench.ledger.flush()
    assert await bench.requests() == 1
    with small_files(4096):
        for number in range(9):
            bench.ledger.append(rows_of(number))
        with pytest.raises(StoreError, match="cannot be written"):
            await bench.ledger.flush()
        assert await bench.requests() == 1
    await bench.ledger.flush()
    assert bench.ledger.healthy
    assert await bench.requests() == 10


async def test_a_lock_that_is_not_released_keeps_the_rows(bench: Bench) -> None:
    """Another process in the way costs time, not rows."""
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bench.ledger.append(rows_of(1))
        with pytest.raises(StoreError, match="locked"):
            await bench.ledger.flush()
        assert not bench.ledger.healthy
        other.execute("ROLLBACK")
    await bench.ledger.flush()
    assert await bench.requests() == 1


async def test_rows_above_the_bound_are_handed_over(bench: Bench) -> None:
    """Thirty rows wait, what comes then is given to ``on_lost`` with the reason; after healing the thirty are there."""
    bench.break_it = fill_disk
    bench.ledger.append(large_rows(99))
    with pytest.raises(StoreError):
        await bench.ledger.flush()
    for number in range(12):
        bench.ledger.append(rows_of(number))
    assert [(rows, "30 rows wait" in reason) for rows, reason in bench.lost] == [
        (tuple(rows_of(number)), True) for number in (9, 10, 11)
    ]
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    assert await bench.requests() == 10
    bench.ledger.append(rows_of(12))
    await bench.ledger.flush()
    assert (await bench.requests(), len(bench.lost)) == (11, 3)


@pytest.mark.parametrize(
    "unfit", [{"cost_nano": 2**63}, {"user": "\ud800"}, {"tags": {"\ud800": ""}}, {"status": "teapot"}, {"model": None}]
)
async def test_a_row_that_no_column_takes_is_handed_over_alone(bench: Bench, unfit: dict[str, object]) -> None:
    """One impossible row neither blocks nor takes down the rows beside it."""
    bench.ledger.append(rows_of(1))
    poison = exchange_row("ex_bad", **unfit)
    bench.ledger.append([poison])
    bench.ledger.append(rows_of(2))
    await bench.ledger.flush()
    assert bench.ledger.healthy
    assert await bench.requests() == 2
    assert [rows for rows, _ in bench.lost] == [(poison,)]


async def test_the_end_with_a_full_disk_hands_everything_over(bench: Bench) -> None:
    """A process that cannot write its last rows says which they were."""
    bench.break_it = fill_disk
    rows = large_rows(1)
    bench.ledger.append(rows)
    await bench.writer.close()
    bench.ledger.give_up("the end")
    assert bench.lost == [(rows, "the end")]


async def test_the_cache_gives_up_bodies_and_keeps_deletions(bench: Bench) -> None:
    """With a full disk a body is lost at once; what was purged is still deleted when there is room again."""
    insert = "INSERT INTO counters (name, value) VALUES (?, ?)"
    bench.changes.add(insert, ("purged", 1))
    await bench.changes.flush()
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bench.changes.add(insert, ("body", 2), 100)
        bench.changes.add("DELETE FROM counters WHERE name = ?", ("purged",))
        with pytest.raises(StoreError):
            await bench.changes.flush()
        other.execute("ROLLBACK")
    await bench.changes.flush()
    question = "SELECT count(*) FROM counters WHERE name IN ('purged', 'body')"
    assert await bench.reader.run(lambda connection: connection.execute(question).fetchone()) == (0,)


async def test_a_cache_in_trouble_does_not_make_the_ledger_ill(bench: Bench) -> None:
    """Each queue has its own transaction and its own health."""
    bench.changes.add("INSERT INTO nowhere VALUES (?)", (1,), 100)
    bench.ledger.append(rows_of(1))
    await bench.ledger.flush()
    assert bench.ledger.healthy
    await bench.writer.close()
    with pytest.raises(StoreError, match="closed"):
        await bench.changes.flush()


async def test_spend_reads_while_a_writer_holds_the_lock(bench: Bench) -> None:
    """WAL: a report sees the last commit, whatever is being written."""
    bench.ledger.append(rows_of(1))
    await bench.ledger.flush()
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM exchanges")
        assert await bench.requests() == 1


async def test_closing_writes_what_waits(reopen: Reopen) -> None:
    """Rows appended a moment before the end are there at the next start."""
    stores = await reopen()
    stores.ledger.append(rows_of(1))
    stores = await reopen()
    assert len(await stores.reader.exchange("ex_000001")) == 3
    assert not reopen.lost


async def test_a_call_that_was_not_made_is_settled_behind_its_open_row(bench: Bench) -> None:
    """The rows of a failed flush are written later, and the row of the end takes their place: no ghost is left."""
    bench.break_it = fill_disk
    bench.ledger.append(opened_rows(1, user="u" * 20_000))
    with pytest.raises(StoreError, match="full"):
        await bench.ledger.flush()
    bench.ledger.append(rows_of(1))
    bench.break_it = lambda _connection: None
    await bench.ledger.flush()
    assert await bench.ledger.open_rows() == []
    assert await SqliteLedgerReader(bench.reader).exchange("ex_000001") == rows_of(1)


async def test_settlements_wait_for_the_disk_in_order(bench: Bench) -> None:
    """What was opened before the trouble is settled after it, once."""
    bench.ledger.append(opened_rows(1))
    await bench.ledger.flush()
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        bench.ledger.append(rows_of(1))
        with pytest.raises(StoreError, match="locked"):
            await bench.ledger.flush()
        other.execute("ROLLBACK")
    (posted,) = await bench.ledger.posted([PostedQuery("global", 0, 1e12)], excluding=[])
    assert [(row.amount_nano, row.tokens) for row in posted] == [(7, 150)]
    assert await bench.ledger.open_rows() == []


@pytest.mark.parametrize("unfit", [{"cost_nano": 2**63}, {"user": "\ud800"}])
async def test_a_call_whose_open_rows_no_column_takes_must_not_be_made(bench: Bench, unfit: dict[str, object]) -> None:
    """Its flush says so, once; nothing of it is written, and nobody else hears of it."""
    bench.ledger.append(rows_of(1))
    bench.ledger.append(opened_rows(2, **unfit))
    with pytest.raises(StoreError, match="must not be begun"):
        await bench.ledger.flush()
    bench.ledger.append(opened_rows(3))
    await bench.ledger.flush()
    assert [exchange.id for exchange, _ in await bench.ledger.open_rows()] == ["ex_000003"]
    assert await SqliteLedgerReader(bench.reader).exchange("ex_000002") == []
    assert [list(rows) for rows, _ in bench.lost] == [opened_rows(2, **unfit)]


async def test_a_call_whose_open_rows_found_no_room_must_not_be_made(bench: Bench) -> None:
    """Though all that waited before is written by then."""
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(10):
            bench.ledger.append(rows_of(number))
        bench.ledger.append(opened_rows(10))
        other.execute("ROLLBACK")
    with pytest.raises(StoreError, match="must not be begun"):
        await bench.ledger.flush()
    assert bench.ledger.healthy
    assert len(bench.lost) == 1
    await bench.ledger.flush()


async def test_all_who_flush_at_once_share_a_commit(bench: Bench) -> None:
    """A few transactions for fifteen calls, and who is cancelled takes nobody with him."""
    said: list[str] = []
    bench.break_it = lambda connection: connection.set_trace_callback(said.append)

    async def begin(number: int) -> None:
        bench.ledger.append(opened_rows(number))
        await bench.ledger.flush()

    tasks = [asyncio.create_task(begin(number)) for number in range(15)]
    await asyncio.sleep(0)
    tasks[7].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(done) if result is not None] == [7]
    assert len(await bench.ledger.open_rows()) == 15
    assert sum(line == "COMMIT" for line in said) <= 4
