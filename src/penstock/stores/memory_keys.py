"""Client keys in a list, and the rules that every key store keeps."""

from collections.abc import Sequence
from dataclasses import replace

from penstock.errors import StoreError
from penstock.ports.keys import KeyRecord


class MemoryKeys:
    """The port KeyStore over a list."""

    def __init__(self) -> None:
        self._records: list[KeyRecord] = []
        self._version = 0

    async def list(self) -> Sequence[KeyRecord]:
        """All of them, oldest first."""
        return sorted(self._records, key=lambda record: (record.created_at, record.id))

    async def add(self, record: KeyRecord) -> None:
        """Store a new one. Raises StoreError when a live key has its name."""
        if self._live(record.name, record.created_at) is not None:
            raise name_taken(record.name)
        self._records.append(record)
        self._version += 1

    async def revoke(self, name_or_id: str, at: float) -> KeyRecord | None:
        """Revoke the live key of that id or name, as of ``at``; None when there is none."""
        record = self._live(name_or_id, at)
        if record is None:
            return None
        revoked = replace(record, revoked_at=at)
        self._records[self._records.index(record)] = revoked
        self._version += 1
        return revoked

    async def version(self) -> int:
        """A number that grows with every write."""
        return self._version

    def _live(self, name_or_id: str, at: float) -> KeyRecord | None:
        live = [record for record in self._records if record.is_live(at) and name_or_id in (record.id, record.name)]
        return min(live, key=lambda record: record.id != name_or_id, default=None)


def name_taken(name: str) -> StoreError:
    """What ``add`` raises."""
    return StoreError(f"a live key is named {name!r} already: revoke it first, or choose another name")
