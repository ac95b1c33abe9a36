"""Small changes for PostgreSQL, in their order: what caches store behind and delete behind.

Fails open. When the store cannot be written, what carries a body is given up (its entry lives on in memory, and is lost
at the next start); deletions wait, however long, because what was purged must not come back.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from penstock.errors import StoreError
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.turns import INTERVAL_S, Turns

MAX_WAITING_BYTES: Final = 64 << 20
"""How much of what may be given up waits to be written."""

MAX_DELETIONS: Final = 100_000
"""How many deletions wait: the oldest are given up then, whose answers have a time of their own to end."""

_GROUP: Final = 256


Together = Callable[[Sequence[Any]], tuple[Any, ...]]
"""From the values of changes in a row to those of one statement that makes them all."""


class _Change(NamedTuple):
    sql: str
    values: tuple[Any, ...]
    size: int
    together: Together | None


class PostgresChanges:
    """Changes gather on the loop; a task of it writes them, some in one transaction."""

    def __init__(self, pool: Postgres, interval_s: float = INTERVAL_S) -> None:
        """On the running loop."""
        self._pool = pool
        self._waiting: deque[_Change] = deque()
        self._writing: list[_Change] = []
        self._bytes = 0
        self._asked: list[asyncio.Future[None]] = []
        self._turns = Turns(self._turn, "changes", interval_s)

    def add(self, sql: str, values: tuple[Any, ...], size: int = 0, together: Together | None = None) -> None:
        """One change to come; one that says its ``size`` in bytes stores something, and may be given up.

        What deletes something takes effect after what was to be stored before. ``together``: the statement makes many.
        """
        if size and self._bytes + size > MAX_WAITING_BYTES:
            return
        if not size and len(self._waiting) >= MAX_DELETIONS:
            self._bytes -= self._waiting.popleft().size
        self._bytes += size
        self._waiting.append(_Change(sql, values, size, together))
        self._turns.wake()

    async def flush(self) -> None:
        """Return when everything added before is committed. Raises StoreError."""
        if self._turns.stopping:
            raise StoreError("the store is closed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(done)
        self._turns.hurry()
        await done

    async def run(self, work: Callable[[Connection], Awaitable[Any]]) -> Any:
        """The result of ``work``, in a transaction after everything that was added before. Raises StoreError."""
        await self.flush()
        return await self._pool.write(work)

    async def close(self) -> None:
        """Write what waits, once."""
        await self._turns.close()

    async def _turn(self) -> bool:
        asked, self._asked = self._asked, []
        error: StoreError | None = None
        try:
            while self._writing or self._waiting:
                await self._write()
        except Exception as failure:  # noqa: BLE001 - who waits is told, whatever it is
            unforeseen = StoreError(f"the store cannot be written: {failure}", detail=repr(failure))
            error = failure if isinstance(failure, StoreError) else unforeseen
        for done in asked:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)
        return error is None

    async def _write(self) -> None:
        while self._waiting and len(self._writing) < _GROUP:
            self._writing.append(self._waiting.popleft())

        async def work(connection: Connection) -> None:
            for _, same in groupby(sorted(self._writing, key=_order), _order):
                await _make(connection, list(same))

        try:
            await self._pool.write(work)
        except BaseException:
            self._bytes -= sum(change.size for change in self._writing)
            self._writing = [change for change in self._writing if not change.size]
            raise
        self._bytes -= sum(change.size for change in self._writing)
        self._writing = []


def _order(change: _Change) -> tuple[bool, str]:
    """Deletions last: what they name was stored before. What one statement does is in a row, in the order it came."""
    return not change.size, change.sql


async def _make(connection: Connection, same: Sequence[_Change]) -> None:
    """Changes by one statement."""
    sql, _, _, together = same[0]
    values = [change.values for change in same]
    if together is None:
        await connection.executemany(sql, values)
    else:
        await connection.execute(sql, *together(values))
