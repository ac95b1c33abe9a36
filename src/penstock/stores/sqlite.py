"""A SQLite file as a store: created private, in WAL mode, brought to the schema of this code or refused.

WAL lets any number of readers, other processes included, work beside the one writer. With ``sync`` ``normal`` what is
committed survives the end of the process, with ``full`` the loss of power too (an fsync per group).
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from penstock.errors import StoreError
from penstock.stores.queries import load_migrations

Connect = Callable[[], sqlite3.Connection]
"""Opens one more connection to the store."""

APPLICATION_ID: Final = 0x50454E53
"""``PENS``: how we tell a file of ours from another's (https://sqlite.org/pragma.html#pragma_application_id)."""

BUSY_TIMEOUT_S: Final = 2.0
"""How long a write waits for another process to finish its own."""

_WAL_KEPT_BYTES: Final = 64 << 20
_PAGE_BYTES: Final = 8192
"""Larger than the default because answers are: measured in docs/adr/0005."""

_SYNC: Final = {"normal": "PRAGMA synchronous = NORMAL", "full": "PRAGMA synchronous = FULL"}


def prepare(path: Path, migrations: Sequence[tuple[str, str]] | None = None) -> None:
    """Create the file if there is none, and bring it to the newest schema.

    Raises StoreError for a file that is not ours, is of a newer Penstock, or cannot be written.
    """
    steps = load_migrations() if migrations is None else migrations
    with store_errors(path, "opened"):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = connect(path)
        try:
            _require_wal(connection, path)
            _migrate(connection, path, steps)
        finally:
            connection.close()


def connect(path: Path, sync: str = "normal") -> sqlite3.Connection:
    """A connection that writes, for the thread that will own it."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute(_SYNC[sync])
    connection.execute("PRAGMA temp_store = MEMORY")  # a statement of many rows keeps a journal, which else is a file
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises StoreError when there is no store, or none this code can read."""
    if not path.exists():
        raise StoreError(f"there is no store at {path} yet: `penstock serve` creates it")
    with store_errors(path, "opened"):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        version, newest = _version(connection, path), len(load_migrations())
    if version != newest:
        connection.close()
        cure = "use that newer one" if version > newest else "start `penstock serve` once, which brings it up to date"
        raise StoreError(f"the store {path} has schema {version}, this Penstock reads schema {newest}: {cure}")
    return connection


def versions(path: Path) -> tuple[int, int]:
    """The schema of the file, and the newest that this code knows. Raises StoreError for what is no store of ours."""
    with store_errors(path, "opened"), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return _version(connection, path), len(load_migrations())


@contextmanager
def store_errors(where: object, what: str) -> Iterator[None]:
    """Turn the driver's and the system's errors into StoreError: ``the store <where> cannot be <what>``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the store {where} cannot be {what}: {error}", detail=repr(error)) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, holding the write lock from the start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, within a transaction."""
    connection.execute("SAVEPOINT piece")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO piece")
        raise
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE piece")


def _require_wal(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a file that is still empty
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"the store {path} cannot use write-ahead logging: is it on a network file system?")


def _migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[tuple[str, str]]) -> None:
    if _version(connection, path) == len(steps):
        return
    with transaction(connection):
        version = _version(connection, path)
        if version > len(steps):
            raise StoreError(
                f"the store {path} has schema {version}, this Penstock knows schema {len(steps)}: a newer one "
                "has used it, so use that"
            )
        for _, script in steps[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has seen; 0 for an empty one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise StoreError(f"{path} is a database, but not a store of Penstock")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would end our transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
