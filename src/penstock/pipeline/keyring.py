"""The keys a process knows: the store's and the config's, looked up by digest."""

import hashlib
import hmac
from collections.abc import Sequence

from penstock.config.settings import StaticKey
from penstock.errors import UnknownKey
from penstock.pipeline.exchange import ANONYMOUS, Principal
from penstock.ports import KeyRecord


def digest_key(pepper: bytes, key: str) -> str:
    """How a key is stored: HMAC-SHA256 under the pepper, in hex."""
    return hmac.digest(pepper, key.encode(), hashlib.sha256).hex()


class KeyRing:
    """Fails closed: what is not on the ring is a stranger. In open mode, with no key anywhere, all are anonymous.

    The first key, of either kind, ends open mode for good: a revoked key still counts as one, and one that a reload
    drops from the config has been one.
    """

    def __init__(self, pepper: bytes, static: Sequence[StaticKey]) -> None:
        """``pepper``: ``server.secret`` or the file beside the store."""
        self._pepper = pepper
        self._static: dict[str, Principal] = {}
        self._stored: dict[str, tuple[Principal, float]] = {}
        self.open = True
        self.version = -1
        self.adopt(static)

    def adopt(self, static: Sequence[StaticKey]) -> None:
        """Take the config's keys as they are now."""
        self._static = {key.key_sha256.lower(): _static_principal(key) for key in static}
        self.open = self.open and not static

    def load(self, records: Sequence[KeyRecord], version: int) -> None:
        """Take the store's keys as they are now."""
        self._stored = {
            record.digest: (_stored_principal(record), record.expires_at or float("inf"))
            for record in records
            if record.revoked_at is None
        }
        self.open = self.open and not records
        self.version = version

    def live(self, now: float) -> int:
        """How many of the store's keys would be let in."""
        return sum(now < expires_at for _, expires_at in self._stored.values())

    def named(self, name: str, now: float) -> Principal | None:
        """Who holds the live key of that name or id; None = there is none."""
        stored = (principal for principal, expires_at in self._stored.values() if now < expires_at)
        found = (each for each in (*stored, *self._static.values()) if name in (each.name, each.key_id))
        return next(found, None)

    def identify(self, credential: str, now: float) -> Principal:
        """Who holds this key. Raises UnknownKey, which says what to do."""
        principal = self.find(credential, now)
        if principal is None:
            raise UnknownKey(
                "this API key is unknown, revoked or expired: ask whoever runs this gateway for one"
                if credential
                else "an API key is needed: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        return principal

    def find(self, credential: str, now: float) -> Principal | None:
        """Who holds this key; None for a stranger, a revoked or an expired key."""
        if self.open:
            return ANONYMOUS
        if not credential:
            return None
        stored = self._stored.get(digest_key(self._pepper, credential))
        if stored is not None:
            principal, expires_at = stored
            return principal if now < expires_at else None
        if self._static:
            return self._static.get(hashlib.sha256(credential.encode()).hexdigest())
        return None


def _static_principal(key: StaticKey) -> Principal:
    return Principal(f"config:{key.name}", key.name, key.team, key.models, key.rpm, key.tpm, key.concurrency)


def _stored_principal(record: KeyRecord) -> Principal:
    return Principal(
        record.id, record.name, record.team, record.models, record.rpm, record.tpm, record.concurrency
    )  # fmt: skip
