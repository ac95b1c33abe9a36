"""Making a client key: shown once, kept as a keyed hash."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from penstock.errors import StoreError
from penstock.ports.keys import KeyRecord

PREFIX: Final = "psk-"

ANONYMOUS: Final = "anonymous"
"""The tenant of open mode."""

LONGEST_LIFE_S: Final = 3650 * 86_400
"""Ten years, as for every duration of the config."""

_LARGEST_LIMIT: Final = 10**12
_BYTES: Final = 32
_LONGEST_NAME: Final = 100
_SHOWN: Final = len(PREFIX) + 6


def new_key(
    name: str,
    *,
    id_: str,
    digest: Callable[[str], str],
    now: float,
    team: str = "",
    models: tuple[str, ...] = (),
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    expires_in_s: float | None = None,
) -> tuple[str, KeyRecord]:
    """A new key, and what is stored of it. ``digest``: HMAC-SHA256 under the pepper, in hex.

    Raises StoreError for a name that nobody could type or read, and for a life or a limit out of all reason.
    """
    _require_readable(name, team)
    if expires_in_s is not None and not 0 < expires_in_s <= LONGEST_LIFE_S:
        raise StoreError("a key lives for more than 0 s and for 3650 days at most, or for ever")
    if not all(1 <= limit <= _LARGEST_LIMIT for limit in (rpm, tpm, concurrency) if limit is not None):
        raise StoreError(f"rpm, tpm and concurrency are 1 to {_LARGEST_LIMIT}, or absent")
    key = PREFIX + secrets.token_urlsafe(_BYTES)
    record = KeyRecord(
        id=id_,
        name=name,
        digest=digest(key),
        prefix=key[:_SHOWN],
        created_at=now,
        expires_at=None if expires_in_s is None else now + expires_in_s,
        team=team,
        models=models,
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
    )
    return key, record


def _require_readable(name: str, team: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise StoreError(f"a key needs a name of 1 to {_LONGEST_NAME} printable characters")
    if not team.isprintable() or len(team) > _LONGEST_NAME:
        raise StoreError(f"a team has a name of at most {_LONGEST_NAME} printable characters")


def key_ids(name: str, records: Sequence[KeyRecord], static: Iterable[str]) -> list[str]:
    """Every tenant that ``name`` may mean: keys of that name or id, revoked ones too, the config's, ``anonymous``."""
    stored = [record.id for record in records if name in (record.id, record.name)]
    config = [f"config:{name}" for known in static if known == name]
    return [*stored, *config, *([name] if name == ANONYMOUS else [])]
