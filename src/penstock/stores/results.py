"""Results by Idempotency-Key in memory, bounded; the store behind them, where there is one, has them all."""

from typing import Final

from penstock.ports.results import StoredResult
from penstock.stores.lru import LruIndex

MAX_BYTES: Final = 16 << 20
"""Held in memory; a result of a quiet hour ago is read from the store behind."""

OVERHEAD_BYTES: Final = 1024


class MemoryResults:
    """The port ResultStore, for one process."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """``max_bytes``: of bodies plus ``OVERHEAD_BYTES`` each."""
        self._index: LruIndex[tuple[str, str], StoredResult] = LruIndex(max_bytes)

    async def get(self, tenant: str, key: str, now: float) -> StoredResult | None:
        """The stored result, unless it expired."""
        return self._index.get((tenant, key), now)

    def put(self, tenant: str, key: str, result: StoredResult) -> None:
        """Visible at once; forgotten with the process, or when newer ones need the room."""
        self._index.put((tenant, key), result, size_of(result), result.expires_at)

    def sweep(self, now: float) -> None:
        """Forget what expired."""
        self._index.sweep(now)


def size_of(result: StoredResult) -> int:
    """What a result counts."""
    return len(result.body) + OVERHEAD_BYTES
