"""The exact cache: an index in memory, a store behind it.

Where one process has the store, every entry is in the index, so a key that is not stored is known to be a miss without
asking the store; entries of an earlier process are in the index without their bodies, which are fetched when first
asked for. Where many nodes share it, what the index has not is looked for there. Fails open: an answer
that cannot be read back whole is a miss, and one that cannot be written is lost at the next start. What is purged is
forgotten at once, and behind as soon as the store can be written.

Answers come in any order, so each says when it was asked for: what was asked for before the last purge, whatever that
purged, is not stored any more, and what was asked for earlier never replaces what was asked for later. A clock that is
set back costs entries, no more.

While a process hands over to its successor, two of them have one store behind. The one that goes stores nothing there
any more (``withdraw``: its successor begins to read the index), then answers nothing either (``retire``: it would not
see what its successor purges). Deletions go on: what the successor then does not find is a miss.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Final, Protocol

import msgspec

from penstock.ports.answers import Changed, Purged, PurgesSince, StoredAnswer
from penstock.stores.lru import LruIndex
from penstock.stores.purges import KEPT_PURGES, purges_since, read_mark

OVERHEAD_BYTES: Final = 1280
"""What an entry costs in memory beside its body: measured at 1.15 KB with two tags."""


class Entry(msgspec.Struct):
    """What the index knows of an answer. ``id`` names its row behind; 0 = it has none."""

    id: int
    key: bytes
    model: str
    tenant: str
    tags: tuple[str, ...]
    answer: StoredAnswer | None
    """None = only the store behind has it."""
    asked_at: float = 0.0
    """0 = by an earlier process."""
    deployment: str = ""


class Backing(Protocol):
    """Where answers outlive the process. Calls take effect in their order."""

    shared: bool
    """Whether others store there, too."""

    def put(self, id_: int, key: bytes, answer: StoredAnswer) -> None:
        """Store behind."""
        ...

    def delete(self, ids: Sequence[int]) -> None:
        """Delete behind."""
        ...

    async def fetch(self, id_: int, key: bytes) -> StoredAnswer | None:
        """What is stored; None when it is not there whole."""
        ...

    async def find(self, key: bytes, now: float) -> StoredAnswer | None:
        """What anybody stored under ``key``; asked only where the store is shared."""
        ...

    async def flush(self) -> None:
        """Return when all that was called before is durable. Raises StoreError."""
        ...

    async def purge(
        self, at: float, model: str | None, tenant: str | None, tag: str | None, deployments: Collection[str]
    ) -> int:
        """Keep what was purged, None = of every one; how many others were deleted.

        Returns when that, and all that was called before, is durable. Raises StoreError.
        """
        ...

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """As the port's. Raises StoreError."""
        ...

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """As the port's. Raises StoreError."""
        ...


class NoBacking:
    """Nothing outlives the process."""

    shared = False

    def __init__(self) -> None:
        self._purges: list[Purged] = []

    def put(self, id_: int, key: bytes, answer: StoredAnswer) -> None:
        """Nothing to do."""

    def delete(self, ids: Sequence[int]) -> None:
        """Nothing to do."""

    async def fetch(self, id_: int, key: bytes) -> StoredAnswer | None:  # noqa: ARG002 - the port's
        """Nothing is there."""
        return None

    async def find(self, key: bytes, now: float) -> StoredAnswer | None:  # noqa: ARG002 - the port's
        """Nothing is there."""
        return None

    async def flush(self) -> None:
        """Nothing to do."""

    async def purge(
        self,
        at: float,
        model: str | None,
        tenant: str | None,
        tag: str | None,
        deployments: Collection[str],  # noqa: ARG002 - the port's
    ) -> int:
        """Keep it as long as the process."""
        self._purges.append(Purged(self._last[0] + 1, at, model, tenant, tag))
        del self._purges[:-KEPT_PURGES]
        return 0

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """What was purged since."""
        id_, at = read_mark(after)
        rows = [purge for purge in self._purges if purge.id >= id_][: limit + 1]
        return purges_since((id_, at), rows, limit, lambda: self._last)

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:  # noqa: ARG002 - the port's
        """Nothing is there."""
        return []

    @property
    def _last(self) -> tuple[int, float]:
        return (self._purges[-1].id, self._purges[-1].at) if self._purges else (0, 0.0)


class Answers:
    """The port AnswerCache. For the loop's thread only."""

    def __init__(self, max_bytes: int, backing: Backing, now: Callable[[], float], first_id: int = 1) -> None:
        """``max_bytes``: of bodies plus ``OVERHEAD_BYTES`` each, in memory and behind alike. ``now``: epoch seconds."""
        self._index: LruIndex[bytes, Entry] = LruIndex(max_bytes)
        self._backing = backing
        self._now = now
        self._ids = count(first_id)
        self._purged_at = 0.0
        self._stores = self._answers = True

    async def withdraw(self) -> None:
        """Store nothing behind from now on; what was stored before is durable then. Raises StoreError."""
        self._stores = False
        await self._backing.flush()

    def retire(self) -> None:
        """Answer nothing and take nothing from now on."""
        self._answers = False

    def resume(self) -> None:
        """Neither: there is no successor after all."""
        self._stores = self._answers = True

    async def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """The answer, unless it expired; asks the store for an entry of an earlier process, or of another one."""
        if not self._answers:
            return None
        entry = self._index.get(key, now)
        if entry is None:
            return await self._found(key, now) if self._backing.shared else None
        return entry.answer or await self._fetched(entry, now)

    def held(self, key: bytes, now: float) -> StoredAnswer | None:
        """What is in memory, whole."""
        entry = self._index.get(key, now) if self._answers else None
        return None if entry is None else entry.answer

    def hold(self, key: bytes, answer: StoredAnswer) -> None:
        """Have it in memory, unless an answer is there already."""
        if self._answers and self._index.get(key, self._now()) is None:
            entry = Entry(0, key, answer.model, answer.tenant, answer.tags, answer, deployment=answer.deployment)
            self._leave(self._index.put(key, entry, size_of(len(answer.body)), answer.expires_at))

    def put(self, key: bytes, answer: StoredAnswer, asked_at: float | None = None) -> None:
        """Hold it now, store it behind; not if it is outdated. ``asked_at``: epoch seconds, None = just now."""
        now = self._now()
        asked_at = now if asked_at is None else asked_at
        held = self._index.get(key, now)
        outdated = asked_at < self._purged_at or (held is not None and asked_at < held.asked_at)
        if outdated or not self._answers:
            return
        entry = Entry(
            next(self._ids) if self._stores else 0, key, answer.model, answer.tenant, answer.tags, answer, asked_at,
            answer.deployment,
        )  # fmt: skip
        gone = self._index.put(key, entry, size_of(len(answer.body)), answer.expires_at)
        self._leave(gone)
        if entry.id and entry not in gone:
            self._backing.put(entry.id, key, answer)

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> int:
        """Forget what matches all that is given. Returns when that will survive a restart. Raises StoreError.

        A tenant that is an edge stands for all of its own. ``deployments``: ``provider/model``, or ``provider/`` for
        all that it serves; edges of ours, who do not know them, are told to forget the like from anywhere.
        """
        gone = self.forget(model=model, tenant=tenant, tag=tag, deployments=deployments)
        return max(gone, await self._backing.purge(self._purged_at, model, tenant, tag, deployments))

    def forget(
        self, *, model: str | None, tenant: str | None, tag: str | None, deployments: Collection[str] = ()
    ) -> int:
        """What a purge does here; how many entries that were."""
        self._purged_at = self._now()
        within = tuple(each for each in deployments if each.endswith("/"))
        gone = self._index.remove_where(
            lambda entry: (
                (model is None or entry.model == model)
                and (tenant is None or entry.tenant == tenant or entry.tenant.startswith(f"{tenant}/"))
                and (tag is None or tag in entry.tags)
                and (not deployments or entry.deployment in deployments or entry.deployment.startswith(within))
            )
        )
        self._leave(gone)
        return len(gone)

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """What was purged since. Raises StoreError."""
        return await self._backing.purges(after, limit)

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """What edges asked for and is still held, each with its mark. Raises StoreError."""
        return await self._backing.changed(wanted)

    def stats(self) -> tuple[int, int]:
        """(entries, bytes) held now."""
        return len(self._index), self._index.bytes

    def sweep(self, now: float) -> int:
        """Forget what expired; how many that were."""
        gone = self._index.sweep(now)
        self._leave(gone)
        return len(gone)

    def restore(self, entry: Entry, body_bytes: int, expires_at: float) -> None:
        """Know an entry of an earlier process. Oldest first: what does not fit any more is deleted behind."""
        self._ids = count(entry.id + 1)
        self._leave(self._index.put(entry.key, entry, size_of(body_bytes), expires_at))

    async def _fetched(self, entry: Entry, now: float) -> StoredAnswer | None:
        answer = await self._backing.fetch(entry.id, entry.key)
        if self._index.get(entry.key, now) is not entry:  # purged, replaced or evicted while we looked
            return None
        if answer is None:
            self._leave(self._index.remove(entry.key))
        entry.answer = answer
        return answer

    async def _found(self, key: bytes, now: float) -> StoredAnswer | None:
        """What another node stored, held from now on; not what was purged while we looked."""
        purged_at = self._purged_at
        answer = await self._backing.find(key, now)
        held = self._index.get(key, now)
        if held is not None or answer is None or self._purged_at != purged_at:
            return None if held is None else held.answer
        self.hold(key, answer)
        return answer

    def _leave(self, gone: Sequence[Entry]) -> None:
        if gone:
            self._backing.delete([entry.id for entry in gone])


def size_of(body_bytes: int) -> int:
    """What an entry with such a body counts."""
    return body_bytes + OVERHEAD_BYTES
