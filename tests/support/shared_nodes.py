"""Nodes that share a Redis: what each has of it, opened and closed together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from penstock.clock import SystemClock, SystemRng, TimeIds
from penstock.core.usage import Usage
from penstock.ports.answers import StoredAnswer
from penstock.stores.redis_answers import RedisAnswers
from penstock.stores.redis_gaps import RedisGaps
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_purges import SharedPurge
from penstock.stores.redis_url import read_redis_url
from penstock.wire.sse import Event

PATIENT_S: Final = 2.0


@dataclass
class Node:
    """One of them. ``purged``: what it was told of."""

    link: RedisLink
    answers: RedisAnswers
    purged: list[SharedPurge] = field(default_factory=list)


@asynccontextmanager
async def node_at(
    url: str, *, deadline_s: float = PATIENT_S, max_bytes: int = 1 << 20, settled_s: float | None = None
) -> AsyncIterator[Node]:
    """One that is open. ``settled_s``: as ``RedisGaps`` has it; None = it knows nothing of the store behind."""
    clock, purged = SystemClock(), list[SharedPurge]()
    link = RedisLink(read_redis_url(url), clock, SystemRng(1), deadline_s=deadline_s)
    ids = TimeIds(clock.now)
    answers = RedisAnswers(
        link,
        clock,
        ids,
        gaps=None if settled_s is None else RedisGaps(link, clock, partial(ids.new, "gap"), settled_s=settled_s),
        on_purge=purged.append,
        max_answer_bytes=max_bytes,
        max_flight_bytes=4 * max_bytes,
    )
    await link.open()
    await answers.open()
    try:
        yield Node(link, answers, purged)
    finally:
        await answers.close()
        await link.close()


def an_answer(body: bytes = b'{"id":"\xc3\xa9\x00"}', **more: object) -> StoredAnswer:
    """A finished one, good for an hour."""
    now = SystemClock().now()
    fields: dict[str, object] = {
        "body": body,
        "stored_at": now,
        "expires_at": now + 3600,
        "attempt_id": "att_1",
        "model": "m",
        "tenant": "edge/t",
        "tags": ("feature=x",),
        "deployment": "p/m",
        "usage": Usage(1, 2, 3, 4, 5),
        "estimated": False,
        **more,
    }
    return StoredAnswer(**fields)  # type: ignore[arg-type]  # by name, as a test wants them


def events(*texts: str) -> Sequence[Event]:
    """Of a stream."""
    return [Event(f"data: {text}\n\n".encode(), text.encode()) for text in texts]
