"""Which digests were told, for all who share a store. Kept among the results by Idempotency-Key, for a note is one.

Their tenant has a control character in its name, which no key's has.
"""

import sqlite3
from typing import Any, Final, Literal

from penstock.stores.postgres import Connection, Postgres
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_writer import SqliteWriter

State = Literal["taken", "busy", "told"]

_TENANT: Final = "\x1fdigest"
_TAKEN: Final = 0
_TOLD: Final = 1


class MemoryDigestNotes:
    """The port DigestNotes, gone with the process."""

    def __init__(self) -> None:
        self._notes: dict[str, tuple[float, int]] = {}

    async def take(self, note: str, now: float, until: float) -> State:
        """Take it."""
        expires_at, status = self._notes.get(note, (0.0, _TAKEN))
        if expires_at > now:
            return _word(status)
        self._notes[note] = until, _TAKEN
        return "taken"

    async def told(self, note: str, until: float) -> None:
        """It is done."""
        self._notes[note] = until, _TOLD

    async def give_back(self, note: str) -> None:
        """It was not done."""
        if self._notes.get(note, (0.0, _TOLD))[1] == _TAKEN:
            del self._notes[note]


class SqliteDigestNotes:
    """The port DigestNotes, beside a server or without one."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer
        self._queries = load_queries("digest")

    async def take(self, note: str, now: float, until: float) -> State:
        """Take it."""

        def work(connection: sqlite3.Connection) -> State:
            taken = connection.execute(self._queries["take"], (_TENANT, note, until, now)).rowcount > 0
            if taken:
                return "taken"
            (status,) = connection.execute(self._queries["status"], (_TENANT, note)).fetchone()
            return _word(status)

        return await self._writer.run(work)

    async def told(self, note: str, until: float) -> None:
        """It is done."""
        await self._change("told", (until, _TENANT, note))

    async def give_back(self, note: str) -> None:
        """It was not done."""
        await self._change("give_back", (_TENANT, note))

    async def _change(self, name: str, values: tuple[Any, ...]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(self._queries[name], values)

        await self._writer.run(work)


class PostgresDigestNotes:
    """The port DigestNotes, for all nodes."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._queries = load_queries("postgres/digest")

    async def take(self, note: str, now: float, until: float) -> State:
        """Take it."""

        async def work(connection: Connection) -> State:
            if await connection.fetchval(self._queries["take"], _TENANT, note, until, now) is not None:
                return "taken"
            return _word(await connection.fetchval(self._queries["status"], _TENANT, note))

        return await self._pool.write(work)

    async def told(self, note: str, until: float) -> None:
        """It is done."""
        await self._change("told", until, _TENANT, note)

    async def give_back(self, note: str) -> None:
        """It was not done."""
        await self._change("give_back", _TENANT, note)

    async def _change(self, name: str, *values: Any) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(self._queries[name], *values)

        await self._pool.write(work)


def _word(status: int | None) -> State:
    """What became of a note that another has, or had a moment ago."""
    return "told" if status == _TOLD else "busy"
