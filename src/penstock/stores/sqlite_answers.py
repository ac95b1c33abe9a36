"""Answers behind the index, as rows in SQLite; and the index read back at the start."""

import sqlite3
import zlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.answers import Changed, Purged, PurgesSince, StoredAnswer
from penstock.stores.answers import Answers, Entry, size_of
from penstock.stores.changes import Changes
from penstock.stores.purges import KEPT_PURGES, mark, purges_since, read_mark
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_reader import SqliteReader

_encode = msgspec.json.encode
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


class StoredModel(NamedTuple):
    """What the cache holds of a model. Times are epoch seconds."""

    model: str
    entries: int
    body_bytes: int
    oldest_at: float
    expires_at: float


class SqliteBacking:
    """The port Backing: changes are written in their order, bodies are read one by one."""

    shared = False

    def __init__(self, changes: Changes, reader: SqliteReader) -> None:
        self._changes = changes
        self._reader = reader
        self._queries = load_queries("answers")

    def put(self, id_: int, key: bytes, answer: StoredAnswer) -> None:
        """Store behind, or not at all when the store is in trouble."""
        self._changes.add(self._queries["insert"], _values(id_, key, answer), size_of(len(answer.body)))

    def delete(self, ids: Sequence[int]) -> None:
        """Delete behind, however long it takes."""
        for id_ in ids:
            self._changes.add(self._queries["delete"], (id_,))

    async def fetch(self, id_: int, key: bytes) -> StoredAnswer | None:
        """The row, if it is there and whole."""
        named = {"id": id_, "key": key}
        try:
            row = await self._reader.run(
                lambda connection: connection.execute(self._queries["fetch"], named).fetchone()
            )
        except StoreError:
            return None
        return None if row is None else _read(row)

    async def flush(self) -> None:
        """Return when all changes are committed. Raises StoreError."""
        await self._changes.flush()

    async def find(self, key: bytes, now: float) -> StoredAnswer | None:  # noqa: ARG002 - the port's
        """The index knows all there is."""
        return None

    async def purge(
        self,
        at: float,
        model: str | None,
        tenant: str | None,
        tag: str | None,
        deployments: Collection[str],  # noqa: ARG002 - the port's
    ) -> int:
        """Keep what was purged; what the index forgot is deleted already."""
        self._changes.add(self._queries["note_purge"], (at, model, tenant, tag))
        self._changes.add(self._queries["trim_purges"], (KEPT_PURGES,))
        await self.flush()
        return 0

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """What was purged since. Raises StoreError."""
        id_, at = read_mark(after)
        return await self._reader.run(lambda connection: self._purges(connection, id_, at, limit))

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """What edges asked for. Raises StoreError."""
        return await self._reader.run(lambda connection: self._changed(connection, wanted))

    def _purges(self, connection: sqlite3.Connection, id_: int, at: float, limit: int) -> PurgesSince:
        """The row of the mark itself comes too: it says whether this is the list that the mark is of."""
        rows = connection.execute(self._queries["purges_since"], {"id": id_, "rows": limit + 1}).fetchall()
        return purges_since((id_, at), [Purged(*row) for row in rows], limit, lambda: self._last(connection))

    def _last(self, connection: sqlite3.Connection) -> tuple[int, float]:
        last = connection.execute(self._queries["last_purge"]).fetchone()
        return (0, 0.0) if last is None else (int(last[0]), float(last[1]))

    def _changed(self, connection: sqlite3.Connection, wanted: Changed) -> list[tuple[str, StoredAnswer]]:
        """Row by row: bodies may be large, and the bound is on their sum."""
        id_, since = read_mark(wanted.after)
        first, last = f"{wanted.edge}/", f"{wanted.edge}0"
        named = {"since": since, "id": id_, "until": wanted.until, "first": first, "last": last, "now": wanted.now}
        found: list[tuple[str, StoredAnswer]] = []
        size = 0
        for id_, *row in connection.execute(self._queries["changed"], named):
            answer = _read(row)
            if answer is None or len(answer.body) > wanted.max_bytes:
                continue
            size += len(answer.body)
            if size > wanted.max_bytes:
                break
            found.append((mark(id_, answer.stored_at), answer))
            if len(found) >= wanted.limit:
                break
        return found


async def load_index(answers: Answers, reader: SqliteReader) -> None:
    """Make every stored entry known, without its body."""
    query = load_queries("answers")["index"]
    for entry, size, expires_at in await reader.run(lambda connection: _entries(connection, query)):
        answers.restore(entry, size, expires_at)


async def stored_answers(reader: SqliteReader, now: float) -> list[StoredModel]:
    """What the store holds that is not expired, by model, largest first."""
    query = load_queries("answers")["stats"]
    rows = await reader.run(lambda connection: connection.execute(query, {"now": now}).fetchall())
    return [StoredModel(*row) for row in rows]


def _entries(connection: sqlite3.Connection, query: str) -> list[tuple[Entry, int, float]]:
    """(entry, bytes of body, end). Models, tenants and tags are few: one object each, however many rows name it."""
    shared: dict[Any, Any] = {}
    found = []
    for id_, key, end, size, *names, text in connection.execute(query):
        tags = _read_tags(text, shared)
        if tags is not None:
            model, tenant, deployment = (shared.setdefault(name, name) for name in names)
            found.append((Entry(id_, key, model, tenant, tags, None, deployment=deployment), size, end))
    return found


def _read_tags(text: str, shared: dict[Any, Any]) -> tuple[str, ...] | None:
    """None for a text that we did not write: such a row is not known, so it is a miss."""
    try:
        tags = _decode_tags(text)
    except msgspec.MsgspecError:
        return None
    found: tuple[str, ...] = shared.setdefault(tags, tags)
    return found


def _values(id_: int, key: bytes, answer: StoredAnswer) -> tuple[Any, ...]:
    """As ``insert`` takes them. Byte arrays, since for ``bytes`` the driver looks for an adapter, which costs more."""
    return (
        id_, bytearray(key), answer.expires_at, len(answer.body), zlib.crc32(answer.body), answer.model, answer.tenant,
        _encode(answer.tags).decode(), answer.stored_at, answer.attempt_id, answer.deployment, *answer.usage,
        1 if answer.estimated else 0, answer.entry, bytearray(answer.body),
    )  # fmt: skip


def _read(row: Sequence[Any]) -> StoredAnswer | None:
    """The answer in a row; None when its body is not what was stored."""
    expires_at, size, checksum, model, tenant, text, stored_at, attempt_id, deployment = row[:9]
    estimated, entry, body = row[14:]
    tags = _read_tags(text, {})
    if len(body) != size or zlib.crc32(body) != checksum or tags is None:
        return None
    return StoredAnswer(
        body=body, stored_at=stored_at, expires_at=expires_at, attempt_id=attempt_id, model=model, tenant=tenant,
        tags=tags, deployment=deployment, usage=Usage(*row[9:14]), estimated=bool(estimated),
        entry=entry,
    )  # fmt: skip
