"""Keys, and where they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A client key. The key itself is never stored: ``digest`` is HMAC-SHA256 of it under the pepper, in hex."""

    id: str
    name: str
    digest: str
    prefix: str
    """The first characters, to recognise it by."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    team: str = ""
    models: tuple[str, ...] = ()
    """Empty = all."""
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    def is_live(self, at: float) -> bool:
        """Neither revoked nor expired at ``at``, epoch seconds."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > at)


class KeyStore(Protocol):
    """Client keys."""

    async def list(self) -> Sequence[KeyRecord]:
        """All of them, revoked ones too, oldest first."""
        ...

    async def add(self, record: KeyRecord) -> None:
        """Store a new one. Raises StoreError when the name is taken by a live key."""
        ...

    async def revoke(self, name_or_id: str, at: float) -> KeyRecord | None:
        """Revoke a live one; None when there is none of that name or id."""
        ...

    async def version(self) -> int:
        """A number that changes with every write, by whichever process: cheap to poll."""
        ...
