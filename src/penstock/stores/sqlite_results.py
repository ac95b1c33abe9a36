"""Results by Idempotency-Key in SQLite, with the recent ones in memory before it."""

import sqlite3
from typing import Any

import msgspec

from penstock.ports.results import StoredResult
from penstock.stores.changes import Changes
from penstock.stores.queries import load_queries
from penstock.stores.results import MemoryResults, size_of
from penstock.stores.sqlite_reader import SqliteReader

_encode = msgspec.json.encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class SqliteResults:
    """The port ResultStore. Between the put and its commit a result is in memory."""

    def __init__(self, changes: Changes, reader: SqliteReader) -> None:
        self._recent = MemoryResults()
        self._changes = changes
        self._reader = reader
        self._queries = load_queries("results")

    async def get(self, tenant: str, key: str, now: float) -> StoredResult | None:
        """The stored result, unless it expired. Raises StoreError when the store cannot say."""
        recent = await self._recent.get(tenant, key, now)
        if recent is not None:
            return recent
        named = {"tenant": tenant, "key": key, "now": now}
        row = await self._reader.run(lambda connection: self._row(connection, named))
        return None if row is None else _read(row)

    def put(self, tenant: str, key: str, result: StoredResult) -> None:
        """Visible at once; durable soon."""
        self._recent.put(tenant, key, result)
        self._changes.add(self._queries["insert"], _values(tenant, key, result), size_of(result))

    def sweep(self, now: float) -> None:
        """Forget what expired, here and behind."""
        self._recent.sweep(now)
        self._changes.add(self._queries["sweep"], (now,))

    def _row(self, connection: sqlite3.Connection, named: dict[str, Any]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = connection.execute(self._queries["get"], named).fetchone()
        return row


def _values(tenant: str, key: str, result: StoredResult) -> tuple[Any, ...]:
    headers = _encode(dict(result.headers)).decode()
    return (
        tenant, key, result.expires_at, result.body_digest, result.status, headers, result.exchange_id, result.body,
    )  # fmt: skip


def _read(row: tuple[Any, ...]) -> StoredResult:
    expires_at, body_digest, status, headers, exchange_id, body = row
    return StoredResult(
        body_digest=body_digest, status=status, headers=_decode_headers(headers), body=body, exchange_id=exchange_id,
        expires_at=expires_at,
    )  # fmt: skip
