"""Small changes for the writer, in their order: what caches store behind and delete behind.

Fails open. When the store cannot be written, what carries a body is given up (its entry lives on in memory, and is lost
at the next start); deletions wait, however long, because what was purged must not come back.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from penstock.errors import StoreError
from penstock.stores.sqlite import transaction
from penstock.stores.sqlite_writer import SqliteWriter

MAX_WAITING_BYTES: Final = 64 << 20
"""How much of what may be given up waits to be written."""


class _Change(NamedTuple):
    sql: str
    values: tuple[Any, ...]
    size: int


class Changes:
    """Changes gather on the loop; the writer's thread writes them in one transaction."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer
        self._waiting: deque[_Change] = deque()
        self._writing: list[_Change] = []
        self._taken_bytes = 0
        self._settled_bytes = 0

    def add(self, sql: str, values: tuple[Any, ...], size: int = 0) -> None:
        """One statement to come; one that says its ``size`` in bytes may be given up."""
        if size and self._taken_bytes - self._settled_bytes + size > MAX_WAITING_BYTES:
            return
        self._taken_bytes += size
        self._waiting.append(_Change(sql, values, size))
        self._writer.wake()

    async def flush(self) -> None:
        """Return when everything added before is committed. Raises StoreError."""
        await self._writer.flush(self)

    def write(self, connection: sqlite3.Connection) -> None:
        """On the writer's thread: everything that waits, in one transaction."""
        while self._waiting:
            self._writing.append(self._waiting.popleft())
        if not self._writing:
            return
        try:
            with transaction(connection):
                _execute(connection, self._writing)
        except BaseException:
            self._settle(change for change in self._writing if change.size)
            self._writing = [change for change in self._writing if not change.size]
            raise
        self._settle(self._writing)
        self._writing = []

    def fail(self, error: StoreError) -> None:
        """Nobody is told: what is lost is found again by asking the provider."""

    def _settle(self, changes: Iterable[_Change]) -> None:
        self._settled_bytes += sum(change.size for change in changes)


def _execute(connection: sqlite3.Connection, changes: Iterable[_Change]) -> None:
    for sql, same in groupby(changes, itemgetter(0)):
        connection.executemany(sql, [change.values for change in same])
