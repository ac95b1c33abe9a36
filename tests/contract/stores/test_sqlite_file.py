"""The file itself: private, ours, of this schema or refused; and the reader for commands."""

import errno
import fcntl
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.errors import ConfigError, StoreError
from penstock.ports.ledger import Posted, PostedQuery, SpendQuery
from penstock.stores.open import open_keys, open_reader, open_stores
from penstock.stores.queries import load_migrations
from penstock.stores.sqlite import APPLICATION_ID, connect, prepare
from tests.contract.stores.conftest import Reopen, opened
from tests.support.ledger_rows import AT, rows_of

EVERYTHING = SpendQuery("model", 0, 1e12, "UTC")


def files(directory: Path) -> list[str]:
    """What stands there."""
    return [file.name for file in directory.iterdir()]


def test_the_file_and_its_companions_are_the_owners(tmp_path: Path) -> None:
    """0600 from the first byte, whatever the umask lets through."""
    path = tmp_path / "deep" / "store.db"
    before = os.umask(0)
    try:
        prepare(path)
        with closing(connect(path)) as connection:
            connection.execute("UPDATE counters SET value = 1")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_new_file_is_marked_and_numbered(tmp_path: Path) -> None:
    """Application and schema version tell what it is; preparing it again changes nothing."""
    path = tmp_path / "store.db"
    for _ in range(2):
        prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(load_migrations()),)


def test_migrations_are_applied_once_each_and_in_order(tmp_path: Path) -> None:
    """An older file gets what it lacks; a failing step leaves it as it was."""
    path = tmp_path / "store.db"
    steps = [("1", "CREATE TABLE a (x);\nINSERT INTO a VALUES (';');\n"), ("2", "ALTER TABLE a ADD COLUMN y;\n")]
    prepare(path, steps[:1])
    with pytest.raises(StoreError, match="no such table"):
        prepare(path, [*steps, ("3", "DROP TABLE nowhere;\n")])
    prepare(path, steps)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT x, y FROM a").fetchall() == [(";", None)]


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """Code that does not know a schema neither writes nor reads it, and says what to do."""
    path = tmp_path / "store.db"
    prepare(path, [*load_migrations(), ("9999", "CREATE TABLE later (x);\n")])
    with pytest.raises(StoreError, match="a newer one has used it"):
        prepare(path)
    async with open_reader("sqlite:store.db", tmp_path) as reader:
        with pytest.raises(StoreError, match=rf"schema {len(load_migrations()) + 1}.*use that newer one"):
            await reader.spend(EVERYTHING)


@pytest.mark.parametrize("script", ["CREATE TABLE other (x)", "PRAGMA application_id = 7"])
def test_another_programs_database_is_refused(tmp_path: Path, script: str) -> None:
    """A wrong path must not get our tables."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(script)
    with pytest.raises(StoreError, match="not a store of Penstock"):
        prepare(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A text file is not overwritten, a directory is no file."""
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n" * 200)
    for wrong in (path, tmp_path):
        with pytest.raises(StoreError, match="cannot be opened"):
            prepare(wrong)
    assert path.read_text().startswith("buy milk")


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:", "sqlite", "redis:x", ""])
async def test_an_unknown_store_is_refused(tmp_path: Path, url: str) -> None:
    """Only what we can open is opened."""
    with pytest.raises(StoreError, match="write"):
        await opened(url, tmp_path, [])
    assert not files(tmp_path)


async def test_commands_read_with_a_server_and_without(reopen: Reopen) -> None:
    """The same answer while the server's connections are open and after they are closed."""
    stores = await reopen()
    stores.ledger.append(rows_of(1))
    await stores.ledger.flush()
    totals = []
    for _ in range(2):
        async with open_reader("sqlite:store.db", reopen.path.parent) as reader:
            totals.append((await reader.spend(EVERYTHING))[1])
        await reopen.close()
    assert totals[0] == totals[1]
    assert totals[0].requests == 1


async def test_a_command_that_reads_creates_nothing(tmp_path: Path) -> None:
    """No store yet: an error that says so, and no file."""
    async with open_reader("sqlite:store.db", tmp_path) as reader:
        with pytest.raises(StoreError, match="no store at"):
            await reader.spend(EVERYTHING)
    assert not files(tmp_path)


async def test_keys_of_a_command_are_seen_by_the_server(reopen: Reopen) -> None:
    """The version tells a running process of another's write."""
    stores = await reopen()
    version = await stores.keys.version()
    async with open_keys("sqlite:store.db", reopen.path.parent, write=True) as keys:
        assert await keys.revoke("nobody", 1.0) is None
        assert await keys.list() == []
    assert await stores.keys.version() == version


async def test_full_sync_is_full(tmp_path: Path) -> None:
    """``ledger.sync: full`` reaches the connection that writes."""
    path = tmp_path / "store.db"
    prepare(path)
    modes = {}
    for sync in ("normal", "full"):
        with closing(connect(path, sync)) as connection:
            (modes[sync],) = connection.execute("PRAGMA synchronous").fetchone()
    assert modes == {"normal": 1, "full": 2}
    stores = await open_stores(
        "sqlite:store.db",
        tmp_path,
        max_answer_bytes=0,
        sync="full",
        on_lost=lambda _rows, _reason: None,
        clock=SystemClock(),
    )
    stores.ledger.append(rows_of(1))
    await stores.ledger.flush()
    await stores.close()


async def test_a_second_server_on_the_same_store_is_refused(reopen: Reopen) -> None:
    """It is told who has it; when that one ends, however it ends, the store is free."""
    await reopen()
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}\)"):
        await opened("sqlite:store.db", reopen.path.parent, [])
    await reopen()
    with closing(sqlite3.connect(reopen.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(StoreError, match="schema 99"):
            await reopen()


async def test_a_file_system_without_locks_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some network file systems have none: the operator is told, and served."""

    def no_locks(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    stores = await opened("sqlite:store.db", tmp_path, [])
    await stores.close()
    assert [(record.levelname, vars(record)["why"]) for record in caplog.records] == [
        ("WARNING", f"[Errno {errno.ENOLCK}] No locks available")
    ]


async def test_another_currency_is_refused(reopen: Reopen) -> None:
    """A ledger is kept in one book currency for good: amounts in two would be added up."""

    async def start(currency: str) -> None:
        stores = await open_stores(
            "sqlite:store.db", reopen.path.parent, max_answer_bytes=0, sync="normal", clock=SystemClock(),
            on_lost=lambda _rows, reason: pytest.fail(reason), currency=currency,
        )  # fmt: skip
        await stores.close()

    await start("USD")
    stores = await reopen()
    stores.ledger.append(rows_of(1))
    await reopen.close()
    with pytest.raises(ConfigError, match=r"kept in CNY.*write `currency: CNY`"):
        await start("USD")
    await start("CNY")


async def test_a_store_of_the_first_schema_goes_on(reopen: Reopen) -> None:
    """It keeps its rows, as rows that held nothing, and reports the same spend."""
    prepare(reopen.path, load_migrations()[:1])
    with closing(sqlite3.connect(reopen.path)) as connection, connection:
        for table, values in FIRST_SCHEMA.items():
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants
    stores = await reopen()
    assert await stores.reader.exchange("ex_000001") == rows_of(1)
    _, total = await stores.reader.spend(EVERYTHING)
    assert (total.requests, total.tokens, total.cost_nano, total.avoided_nano) == (1, 150, 7, 0)
    assert await stores.ledger.posted([PostedQuery("global", 0, 1e12)], excluding=[]) == [[Posted("", 7, 150)]]
    assert await stores.ledger.open_rows() == []
    assert await stores.budgets.list() == []


FIRST_SCHEMA: dict[str, tuple[object, ...]] = {
    "exchanges": (
        AT + 1, "ex_000001", "chat", "flash", "", "", "", "", "", "", "ok", 200, "off", 0, 1, 100, 20, 0, 30, 0, 0,
        7, 7, "CNY", 0.5, None, 0.0,
    ),
    "attempts": (
        "ex_000001", "at_000001", AT, AT + 0.4, "deepseek", "deepseek/flash", "", "ok", 0, "", 100, 20, 0, 30, 0, 0,
        7, "CNY", "1", 7, "",
    ),
    "shares": ("ex_000001", "at_000001", "direct", 7),
}  # fmt: skip
"""``rows_of(1)`` as the first schema kept them."""
