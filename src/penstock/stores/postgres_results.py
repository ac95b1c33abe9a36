"""Results by Idempotency-Key in PostgreSQL, with this node's recent ones in memory before it."""

from typing import Any

import msgspec

from penstock.ports.results import StoredResult
from penstock.stores.postgres import Postgres
from penstock.stores.postgres_changes import PostgresChanges
from penstock.stores.queries import load_queries
from penstock.stores.results import MemoryResults, size_of

_encode = msgspec.json.encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class PostgresResults:
    """The port ResultStore. Between the put and its commit a result is in this node's memory only."""

    def __init__(self, changes: PostgresChanges, pool: Postgres) -> None:
        self._recent = MemoryResults()
        self._changes = changes
        self._pool = pool
        self._queries = load_queries("postgres/results")

    async def get(self, tenant: str, key: str, now: float) -> StoredResult | None:
        """The stored result, unless it expired. Raises StoreError when the store cannot say."""
        recent = await self._recent.get(tenant, key, now)
        if recent is not None:
            return recent
        rows = await self._pool.fetch(self._queries["get"], tenant, key, now)
        return _read(rows[0]) if rows else None

    def put(self, tenant: str, key: str, result: StoredResult) -> None:
        """Visible to this node at once; durable, and visible to all, soon."""
        self._recent.put(tenant, key, result)
        self._changes.add(self._queries["insert"], _values(tenant, key, result), size_of(result))

    def sweep(self, now: float) -> None:
        """Forget what expired here."""
        self._recent.sweep(now)

    def sweep_behind(self, now: float) -> None:
        """Forget what expired behind: once is enough for all nodes."""
        self._changes.add(self._queries["sweep"], (now,))


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
