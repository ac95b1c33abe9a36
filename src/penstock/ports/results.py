"""What came of requests with an Idempotency-Key, and where it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The first result under an Idempotency-Key, replayed for 24 h."""

    body_digest: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes
    exchange_id: str
    expires_at: float


class ResultStore(Protocol):
    """Results by (tenant, Idempotency-Key)."""

    async def get(self, tenant: str, key: str, now: float) -> StoredResult | None:
        """The stored result, unless it expired."""
        ...

    def put(self, tenant: str, key: str, result: StoredResult) -> None:
        """Visible at once; durable soon."""
        ...
