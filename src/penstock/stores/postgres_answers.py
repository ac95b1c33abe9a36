"""Answers behind the index, as rows in PostgreSQL that all nodes read; and the purges that all nodes hear of.

What this node's index has not may be there: another node's, or one of before a restart. A purge deletes there at once,
for everybody; what others hold in memory they forget when they hear of it (told by NOTIFY, polled each second). Fails
open: an answer that cannot be read is a miss.
"""

import secrets
import zlib
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.answers import Changed, Purge, Purged, PurgesSince, StoredAnswer
from penstock.stores.answers import OVERHEAD_BYTES, Answers, size_of
from penstock.stores.postgres import PURGING, SPACE, Connection, Postgres
from penstock.stores.postgres_changes import PostgresChanges
from penstock.stores.purges import KEPT_PURGES, mark, purges_since, read_mark
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_answers import StoredModel

_encode = msgspec.json.encode
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode

ROOM: Final = 8
"""How many nodes' caches the table holds at most."""


def first_id() -> int:
    """Where a process begins to number its answers: apart from every other's."""
    return secrets.randbits(30) << 32


class PostgresBacking:
    """The port Backing: changes are written in their order, bodies are read one by one."""

    shared = True

    def __init__(self, changes: PostgresChanges, pool: Postgres, max_bytes: int) -> None:
        """``max_bytes``: of this node's cache."""
        self.node = secrets.token_hex(8)
        self._changes = changes
        self._pool = pool
        self._max_bytes = max_bytes
        self._heard = 0
        self._queries = load_queries("postgres/answers")

    def put(self, id_: int, key: bytes, answer: StoredAnswer) -> None:
        """Store behind, or not at all when the store is in trouble."""
        values = key, _line(id_, answer), answer.body
        self._changes.add(self._queries["insert"], values, size_of(len(answer.body)), together=_together)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete behind what this process stored, however long it takes."""
        for id_ in ids:
            if id_:
                self._changes.add(self._queries["delete"], (id_,))

    async def fetch(self, id_: int, key: bytes) -> StoredAnswer | None:  # noqa: ARG002 - by the key, here
        """The row, if it is there and whole."""
        return await self.find(key, 0.0)

    async def find(self, key: bytes, now: float) -> StoredAnswer | None:
        """What any node stored under ``key``, unless it expired, or is not whole."""
        try:
            rows = await self._pool.fetch(self._queries["find"], key, now)
        except StoreError:
            return None
        return _read(rows[0]) if rows else None

    async def flush(self) -> None:
        """Return when all changes are committed. Raises StoreError."""
        await self._changes.flush()

    async def purge(
        self, at: float, model: str | None, tenant: str | None, tag: str | None, deployments: Collection[str]
    ) -> int:
        """Delete what matches, whoever stored it, and tell all nodes; how many that were. Raises StoreError."""

        async def work(connection: Connection) -> int:
            await connection.execute(self._queries["lock"], SPACE, PURGING)
            what = model, tenant, tag, list(deployments)
            done = await connection.execute(self._queries["purge"], *what)
            await connection.execute(self._queries["note_purge"], at, *what, self.node)
            await connection.execute(self._queries["trim_purges"], KEPT_PURGES)
            await connection.execute(self._queries["tell"])
            return int(done.rpartition(" ")[2])

        return int(await self._changes.run(work))

    async def begin(self) -> None:
        """Hear only of purges to come: nothing is held yet. Raises StoreError."""
        self._heard = (await self._last())[0]

    async def hear(self, answers: Answers) -> Sequence[Purge]:
        """Forget what other nodes purged since the last time; that, and what this one did. Raises StoreError."""
        heard: list[Purge] = []
        for id_, model, tenant, tag, deployments, ours in await self._pool.fetch(
            self._queries["heard_since"], self._heard, self.node
        ):
            if id_ <= self._heard:  # another who looked at the same time was first
                continue
            if not ours:
                answers.forget(model=model, tenant=tenant, tag=tag, deployments=deployments)
            heard.append(Purge(model, tenant, tag, tuple(deployments), ours))
            self._heard = id_
        return heard

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """What was purged since. Raises StoreError.

        The row of the mark itself comes too: it says whether this is the list that the mark is of.
        """
        id_, at = read_mark(after)
        rows = await self._pool.fetch(self._queries["purges_since"], id_, limit + 1)
        last = await self._last()
        return purges_since((id_, at), [Purged(*row) for row in rows], limit, lambda: last)

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """What edges asked for. Raises StoreError."""
        id_, since = read_mark(wanted.after)
        rows = await self._pool.fetch(
            self._queries["changed"], since, id_, wanted.until, f"{wanted.edge}/", f"{wanted.edge}0", wanted.now,
            wanted.max_bytes, wanted.limit,
        )  # fmt: skip
        found: list[tuple[str, StoredAnswer]] = []
        size = 0
        for number, *row in rows:
            answer = _read(row)
            if answer is None:
                continue
            size += len(answer.body)
            if size > wanted.max_bytes:
                break
            found.append((mark(number, answer.stored_at), answer))
        return found

    async def sweep(self, now: float) -> None:
        """Forget what expired, and the oldest beyond the room there is, whoever stored it. Raises StoreError."""
        await self._pool.fetch(self._queries["sweep"], now)
        await self._pool.fetch(self._queries["trim"], ROOM * self._max_bytes, OVERHEAD_BYTES)

    async def last_end(self, before: float) -> float:
        """Until when what was stored before then is good at most, epoch seconds; 0 = nothing was. Raises StoreError."""
        return float(await self._pool.fetchval(self._queries["last_end"], before) or 0)

    async def _last(self) -> tuple[int, float]:
        rows = await self._pool.fetch(self._queries["last_purge"])
        return (int(rows[0][0]), float(rows[0][1])) if rows else (0, 0.0)


async def stored_answers(pool: Postgres, now: float) -> list[StoredModel]:
    """What the store holds that is not expired, by model, largest first. Raises StoreError."""
    return [StoredModel(*row) for row in await pool.fetch(load_queries("postgres/answers")["stats"], now)]


class _Line(msgspec.Struct, gc=False):
    """A row by the names of its columns, but for what is bytes."""

    id: int
    expires_at: float
    size: int
    checksum: int
    model: str
    tenant: str
    tags: str
    stored_at: float
    attempt_id: str
    deployment: str
    input_miss: int
    input_hit: int
    cache_write: int
    output: int
    reasoning: int
    estimated: int
    entry: str


def _line(id_: int, answer: StoredAnswer) -> _Line:
    return _Line(
        id_, answer.expires_at, len(answer.body), zlib.crc32(answer.body), answer.model, answer.tenant,
        _encode(answer.tags).decode(), answer.stored_at, answer.attempt_id, answer.deployment, *answer.usage,
        1 if answer.estimated else 0, answer.entry,
    )  # fmt: skip


def _together(rows: Sequence[tuple[bytes, _Line, bytes]]) -> tuple[str, list[bytes], list[bytes]]:
    """What one call is given of all; of what is stored under one key the last."""
    last = {row[0]: row for row in rows}
    keys, lines, bodies = zip(*last.values(), strict=True)
    return _encode(lines).decode(), list(keys), list(bodies)


def _read(row: Sequence[Any]) -> StoredAnswer | None:
    """The answer in a row; None when its body is not what was stored."""
    expires_at, size, checksum, model, tenant, text, stored_at, attempt_id, deployment = row[:9]
    estimated, entry, body = row[14:]
    try:
        tags = _decode_tags(text)
    except msgspec.MsgspecError:
        return None
    if len(body) != size or zlib.crc32(body) != checksum:
        return None
    return StoredAnswer(
        body=body, stored_at=stored_at, expires_at=expires_at, attempt_id=attempt_id, model=model, tenant=tenant,
        tags=tags, deployment=deployment, usage=Usage(*row[9:14]), estimated=bool(estimated),
        entry=entry,
    )  # fmt: skip
