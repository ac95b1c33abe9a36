"""Client keys in PostgreSQL. Every write bumps a counter in its own transaction, and tells who listens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from penstock.ports.keys import KeyRecord
from penstock.stores.memory_keys import name_taken
from penstock.stores.postgres import KEYS, SPACE, Connection, Postgres
from penstock.stores.queries import load_queries

_encode = msgspec.json.encode
_decode_models = msgspec.json.Decoder(tuple[str, ...]).decode


class PostgresKeys:
    """The port KeyStore. Durable when the call returns."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._queries = load_queries("postgres/keys")

    async def list(self) -> Sequence[KeyRecord]:
        """All of them, oldest first."""
        return [_read(row) for row in await self._pool.fetch(self._queries["list"])]

    async def add(self, record: KeyRecord) -> None:
        """Store a new one. Raises StoreError when a live key has its name, and when it cannot be stored."""

        async def work(connection: Connection) -> bool:
            await connection.execute(self._queries["lock"], SPACE, KEYS)
            if await self._live(connection, record.name, record.created_at) is not None:
                return False
            await connection.execute(self._queries["insert"], *_values(record))
            await self._bump(connection)
            return True

        if not await self._pool.write(work):
            raise name_taken(record.name)

    async def revoke(self, name_or_id: str, at: float) -> KeyRecord | None:
        """Revoke the live key of that id or name, as of ``at``; None when there is none."""

        async def work(connection: Connection) -> KeyRecord | None:
            await connection.execute(self._queries["lock"], SPACE, KEYS)
            record = await self._live(connection, name_or_id, at)
            if record is None:
                return None
            await connection.execute(self._queries["revoke"], record.id, at)
            await self._bump(connection)
            return replace(record, revoked_at=at)

        return await self._pool.write(work)

    async def version(self) -> int:
        """A number that grows with every write, whichever node made it. Raises StoreError within the deadline."""
        return int(await self._pool.fetchval(self._queries["version"]))

    async def _live(self, connection: Connection, name: str, at: float) -> KeyRecord | None:
        row = await connection.fetchrow(self._queries["live"], name, at)
        return None if row is None else _read(row)

    async def _bump(self, connection: Connection) -> None:
        await connection.execute(self._queries["bump"])
        await connection.execute(self._queries["tell"])


def _values(record: KeyRecord) -> tuple[Any, ...]:
    return (
        record.id, record.name, record.digest, record.prefix, record.created_at, record.expires_at, record.revoked_at,
        record.team, _encode(record.models).decode(), record.rpm, record.tpm, record.concurrency,
    )  # fmt: skip


def _read(row: Sequence[Any]) -> KeyRecord:
    id_, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency = row
    return KeyRecord(
        id=id_, name=name, digest=digest, prefix=prefix, created_at=created_at, expires_at=expires_at,
        revoked_at=revoked_at, team=team, models=_decode_models(models), rpm=rpm, tpm=tpm, concurrency=concurrency,
    )  # fmt: skip
