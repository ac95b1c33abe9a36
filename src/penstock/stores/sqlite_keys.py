"""Client keys in SQLite. Every write bumps a counter in its own transaction, so that a poll of one number suffices."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from penstock.ports.keys import KeyRecord
from penstock.stores.memory_keys import name_taken
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_reader import SqliteReader
from penstock.stores.sqlite_writer import SqliteWriter

_encode = msgspec.json.encode
_decode_models = msgspec.json.Decoder(tuple[str, ...]).decode


class SqliteKeys:
    """The port KeyStore. Durable when the call returns."""

    def __init__(self, writer: SqliteWriter, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader
        self._queries = load_queries("keys")

    async def list(self) -> Sequence[KeyRecord]:
        """All of them, oldest first."""
        return await self._reader.run(
            lambda connection: [_read(row) for row in connection.execute(self._queries["list"])]
        )

    async def add(self, record: KeyRecord) -> None:
        """Store a new one. Raises StoreError when a live key has its name."""
        await self._writer.run(lambda connection: self._add(connection, record))

    async def revoke(self, name_or_id: str, at: float) -> KeyRecord | None:
        """Revoke the live key of that id or name, as of ``at``; None when there is none."""
        return await self._writer.run(lambda connection: self._revoke(connection, name_or_id, at))

    async def version(self) -> int:
        """A number that grows with every write, whichever process made it."""
        return await self._reader.run(self._version)

    def _add(self, connection: sqlite3.Connection, record: KeyRecord) -> None:
        if self._live(connection, record.name, record.created_at) is not None:
            raise name_taken(record.name)
        connection.execute(self._queries["insert"], _values(record))
        connection.execute(self._queries["bump"])

    def _revoke(self, connection: sqlite3.Connection, name_or_id: str, at: float) -> KeyRecord | None:
        record = self._live(connection, name_or_id, at)
        if record is None:
            return None
        connection.execute(self._queries["revoke"], {"id": record.id, "at": at})
        connection.execute(self._queries["bump"])
        return replace(record, revoked_at=at)

    def _live(self, connection: sqlite3.Connection, name: str, at: float) -> KeyRecord | None:
        row = connection.execute(self._queries["live"], {"name": name, "at": at}).fetchone()
        return None if row is None else _read(row)

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute(self._queries["version"]).fetchone()
        return int(version)


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
