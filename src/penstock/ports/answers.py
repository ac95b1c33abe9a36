"""Where answers are kept, and how one is forgotten."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from penstock.core.usage import Usage


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer as the exact cache keeps it: always whole, whatever the first asker wanted."""

    body: bytes
    """The whole answer's JSON."""
    stored_at: float
    expires_at: float
    attempt_id: str
    """The attempt that produced it."""
    model: str
    tenant: str
    tags: tuple[str, ...]
    deployment: str
    usage: Usage
    estimated: bool
    entry: str = ""
    """Under what the edge that asked for it keeps it; opaque here, "" = no edge did."""


class Purged(NamedTuple):
    """One purge. None = of every one."""

    id: int
    at: float
    model: str | None
    tenant: str | None
    tag: str | None


class Purge(NamedTuple):
    """What of the cache is forgotten: what matches all that is given; nothing given = everything."""

    model: str | None = None
    tenant: str | None = None
    """An edge stands for all of its own."""
    tag: str | None = None
    deployments: Sequence[str] = ()
    """``provider/model``, or ``provider/`` for all that it serves."""
    ours: bool = False
    """Whether this process began it."""


class PurgesSince(NamedTuple):
    """The purges after a mark, oldest first, and the mark to go on from."""

    purges: Sequence[Purged]
    mark: str
    known: bool
    """False: what was purged since is not known any more, so it may have been anything."""


class Changed(NamedTuple):
    """Which answers an edge asks for: of its tenants, later than a mark."""

    edge: str
    """The id of its key."""
    after: str
    """A mark; "" = from the beginning."""
    until: float
    """Stored up to then, epoch seconds."""
    now: float
    limit: int
    max_bytes: int
    """Of all bodies together; one that is larger by itself is never given."""


class AnswerCache(Protocol):
    """Finished answers by key. ``get`` never returns an expired one. Loses entries, never mixes them up."""

    async def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """The answer stored under ``key``."""
        ...

    def held(self, key: bytes, now: float) -> StoredAnswer | None:
        """The same, of what this process has in memory; nobody else is asked."""
        ...

    def hold(self, key: bytes, answer: StoredAnswer) -> None:
        """Have in memory what another node stored."""
        ...

    def put(self, key: bytes, answer: StoredAnswer, asked_at: float | None = None) -> None:
        """Visible to ``get`` at once; durable soon.

        ``asked_at``: when its exchange arrived, epoch seconds; None = just now. Not stored when it was asked for before
        the last purge, or before the answer that is held was.
        """
        ...

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> int:
        """Forget what matches all that is given (nothing given = everything); how many were forgotten.

        ``deployments``: ``provider/model``, or ``provider/`` for all that it serves.
        """
        ...

    def forget(
        self, *, model: str | None, tenant: str | None, tag: str | None, deployments: Collection[str] = ()
    ) -> int:
        """What a purge by another node does here; how many were forgotten."""
        ...

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """At most ``limit`` purges since a mark ("" = from the beginning). Raises StoreError, BadRequest."""
        ...

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """Answers that edges asked for, each with the mark to go on from after it. Raises StoreError, BadRequest."""
        ...

    def stats(self) -> tuple[int, int]:
        """(entries, bytes) held now."""
        ...

    async def withdraw(self) -> None:
        """Store nothing durably from now on: another process begins to. Raises StoreError."""
        ...

    def retire(self) -> None:
        """Answer nothing and take nothing from now on: another process does."""
        ...

    def resume(self) -> None:
        """Undo both."""
        ...
