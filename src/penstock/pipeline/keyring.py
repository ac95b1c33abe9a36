"""The keys a process knows: the store's and the config's, looked up by digest."""

import hashlib
import hmac
import logging
from collections.abc import Sequence
from math import inf
from typing import Final

from penstock.config.settings import StaticKey
from penstock.errors import KeysUnavailable, UnknownKey
from penstock.pipeline.exchange import ANONYMOUS, Principal
from penstock.ports.keys import KeyRecord

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5.0


def digest_key(pepper: bytes, key: str) -> str:
    """How a key is stored: HMAC-SHA256 under the pepper, in hex."""
    return hmac.digest(pepper, key.encode(), hashlib.sha256).hex()


class KeyRing:
    """Fails closed: what is not on the ring is a stranger. In open mode, with no key anywhere, all are anonymous.

    The first key, of either kind, ends open mode for good: a revoked key still counts as one, and one that a reload
    drops from the config has been one.

    While the store cannot be asked its keys are believed for ``stale_s``. Then the config's alone are: any other might
    have been revoked, or made, meanwhile.
    """

    def __init__(self, pepper: bytes, static: Sequence[StaticKey], stale_s: float = inf) -> None:
        """``pepper``: ``server.secret`` or the file beside the store."""
        self.stale_s = stale_s
        self._pepper = pepper
        self._confirmed_at = inf
        """Monotonic seconds; inf = the store was never asked."""
        self._doubted = False
        """The store could not be asked since."""
        self._told = False
        """That they are too old."""
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

    def confirm(self, at: float) -> None:
        """The store was asked then, monotonic, and these are its keys."""
        self._confirmed_at, self._doubted = at, False
        if self._told:
            self._told = False
            log.info("keys are known again")

    def doubt(self) -> None:
        """The store could not be asked."""
        self._doubted = True

    def age_s(self, monotonic: float) -> float:
        """How long ago these were the store's keys for sure."""
        return max(0.0, monotonic - self._confirmed_at)

    def live(self, now: float) -> int:
        """How many of the store's keys would be let in."""
        return sum(now < expires_at for _, expires_at in self._stored.values())

    def named(self, name: str, now: float) -> Principal | None:
        """Who holds the live key of that name or id; None = there is none."""
        stored = (principal for principal, expires_at in self._stored.values() if now < expires_at)
        found = (each for each in (*stored, *self._static.values()) if name in (each.name, each.key_id))
        return next(found, None)

    def identify(self, credential: str, now: float, monotonic: float) -> Principal:
        """Who holds this key: ``now`` for what expires, the other for how old what we know is; clocks step.

        Raises UnknownKey, which says what to do, and KeysUnavailable.
        """
        if self._doubted and monotonic - self._confirmed_at > self.stale_s:
            return self._identify_by_config(credential)
        principal = self.find(credential, now)
        if principal is None:
            raise UnknownKey(
                "this API key is unknown, revoked or expired: ask whoever runs this gateway for one"
                if credential
                else "an API key is needed: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        return principal

    def _identify_by_config(self, credential: str) -> Principal:
        principal = self._of_config(credential)
        if principal is None:
            if not self._told:
                self._told = True
                log.error("keys are too old to be believed, so clients are refused", extra={"stale_s": self.stale_s})
            raise KeysUnavailable(
                "who may ask cannot be looked up now, and has not been for too long: try again",
                retry_after_s=RETRY_AFTER_S,
            )
        return principal

    def find(self, credential: str, now: float) -> Principal | None:
        """Who holds this key, however old it is; None for a stranger, a revoked or an expired key."""
        if self.open:
            return ANONYMOUS
        if not credential:
            return None
        stored = self._stored.get(digest_key(self._pepper, credential))
        if stored is not None:
            principal, expires_at = stored
            return principal if now < expires_at else None
        return self._of_config(credential)

    def _of_config(self, credential: str) -> Principal | None:
        if self._static and credential:
            return self._static.get(hashlib.sha256(credential.encode()).hexdigest())
        return None


def _static_principal(key: StaticKey) -> Principal:
    return Principal(f"config:{key.name}", key.name, key.team, key.models, key.rpm, key.tpm, key.concurrency)


def _stored_principal(record: KeyRecord) -> Principal:
    return Principal(
        record.id, record.name, record.team, record.models, record.rpm, record.tpm, record.concurrency
    )  # fmt: skip
