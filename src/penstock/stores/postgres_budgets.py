"""Budgets that were set while running, in PostgreSQL. Every write bumps a counter, and tells who listens."""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.errors import StoreError
from penstock.ports.budgets import BudgetRecord
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.queries import load_queries

_encode = msgspec.json.encode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode


class PostgresBudgets:
    """The port BudgetStore. Durable when the call returns."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._queries = load_queries("postgres/budgets")

    async def list(self) -> Sequence[BudgetRecord]:
        """All of them, by name."""
        return [_read(row) for row in await self._pool.fetch(self._queries["list"])]

    async def put(self, record: BudgetRecord) -> None:
        """Store it in the place of what had its name. Raises StoreError, also for fields that are no JSON."""
        values = _values(record)

        async def work(connection: Connection) -> None:
            await connection.execute(self._queries["put"], *values)
            await self._bump(connection)

        await self._pool.write(work)

    async def delete(self, name: str) -> bool:
        """Forget the record of that name; False when there is none."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(self._queries["delete"], name) is not None
            if found:
                await self._bump(connection)
            return found

        return await self._pool.write(work)

    async def version(self) -> int:
        """A number that grows with every write, whichever node made it. Raises StoreError within the deadline."""
        return int(await self._pool.fetchval(self._queries["version"]))

    async def _bump(self, connection: Connection) -> None:
        await connection.execute(self._queries["bump"])
        await connection.execute(self._queries["tell"])


def _values(record: BudgetRecord) -> tuple[Any, ...]:
    try:
        return record.name, _encode(record.fields).decode(), int(record.removed)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the budget {record.name!r} cannot be kept: {error}") from error


def _read(row: Sequence[Any]) -> BudgetRecord:
    name, fields, removed = row
    return BudgetRecord(name, _decode_fields(fields), removed=bool(removed))
