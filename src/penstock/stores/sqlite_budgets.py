"""Budgets that were set while running, in SQLite. Every write bumps a counter in its own transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.errors import StoreError
from penstock.ports.budgets import BudgetRecord
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter

_encode = msgspec.json.encode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode


class SqliteBudgets:
    """The port BudgetStore. Durable when the call returns."""

    def __init__(self, writer: SqliteWriter, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader
        self._queries = load_queries("budgets")

    async def list(self) -> Sequence[BudgetRecord]:
        """All of them, by name."""
        return await self._reader.run(
            lambda connection: [_read(row) for row in connection.execute(self._queries["list"])]
        )

    async def put(self, record: BudgetRecord) -> None:
        """Store it in the place of what had its name. Raises StoreError, also for fields that are no JSON."""
        values = _values(record)
        await self._writer.run(lambda connection: self._put(connection, values))

    async def delete(self, name: str) -> bool:
        """Forget the record of that name; False when there is none."""
        return await self._writer.run(lambda connection: self._delete(connection, name))

    async def version(self) -> int:
        """A number that grows with every write, whichever process made it."""
        return await self._reader.run(self._version)

    def _put(self, connection: sqlite3.Connection, values: tuple[Any, ...]) -> None:
        connection.execute(self._queries["put"], values)
        connection.execute(self._queries["bump"])

    def _delete(self, connection: sqlite3.Connection, name: str) -> bool:
        found = connection.execute(self._queries["delete"], (name,)).rowcount > 0
        if found:
            connection.execute(self._queries["bump"])
        return found

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute(self._queries["version"]).fetchone()
        return int(version)


def _values(record: BudgetRecord) -> tuple[Any, ...]:
    try:
        return record.name, _encode(record.fields).decode(), int(record.removed)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the budget {record.name!r} cannot be kept: {error}") from error


def _read(row: Sequence[Any]) -> BudgetRecord:
    name, fields, removed = row
    return BudgetRecord(name, _decode_fields(fields), removed=bool(removed))
