"""Answers behind the index, as rows in SQLite; and the index read back at the start."""

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports import StoredAnswer
from penstock.stores.answers import Answers, Entry, size_of
from penstock.stores.changes import Changes
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
    return [
        (Entry(id_, key, shared.setdefault(model, model), shared.setdefault(tenant, tenant), tags, None), size, end)
        for id_, key, end, size, model, tenant, text in connection.execute(query)
        if (tags := _read_tags(text, shared)) is not None
    ]


def _read_tags(text: str, shared: dict[Any, Any]) -> tuple[str, ...] | None:
    """None for a text that we did not write: such a row is not known, so it is a miss."""
    try:
        tags = _decode_tags(text)
    except msgspec.MsgspecError:
        return None
    found: tuple[str, ...] = shared.setdefault(tags, tags)
    return found


def _values(id_: int, key: bytes, answer: StoredAnswer) -> tuple[Any, ...]:
    return (
        id_, key, answer.expires_at, len(answer.body), zlib.crc32(answer.body), answer.model, answer.tenant,
        _encode(answer.tags).decode(), answer.stored_at, answer.attempt_id, answer.deployment, *answer.usage,
        1 if answer.estimated else 0, answer.body,
    )  # fmt: skip


def _read(row: Sequence[Any]) -> StoredAnswer | None:
    """The answer in a row; None when its body is not what was stored."""
    expires_at, size, checksum, model, tenant, text, stored_at, attempt_id, deployment = row[:9]
    estimated, body = row[14:]
    tags = _read_tags(text, {})
    if len(body) != size or zlib.crc32(body) != checksum or tags is None:
        return None
    return StoredAnswer(
        body=body, stored_at=stored_at, expires_at=expires_at, attempt_id=attempt_id, model=model, tenant=tenant,
        tags=tags, deployment=deployment, usage=Usage(*row[9:14]), estimated=bool(estimated),
    )  # fmt: skip
