"""once: the same Idempotency-Key and body gets the first result again, for 24 h; another body is refused.

A repeat that comes while the first is still answered waits for it. Only answers are kept: after a failure the key is
free, and the next request under it is a new one. What a failed call cost stands in the ledger either way.
"""

import asyncio
import hashlib

import msgspec

from penstock.errors import IdempotencyMismatch
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.first import First, FirstName, Firsts, end
from penstock.pipeline.stream import told
from penstock.ports.clock import Clock
from penstock.ports.results import ResultStore, StoredResult
from penstock.wire.sse import Event, SseParser

KEPT_S = 24 * 3600.0
KEPT_FOR_EDGES_S = 3600.0
"""Every request of an edge has a key, for its retries; what its clients' keys stand for it keeps itself."""
STREAMED = "text/event-stream"

_encode = msgspec.json.encode


class Once:
    """A repeat is not a new request."""

    def __init__(self, clock: Clock, results: ResultStore, firsts: Firsts) -> None:
        self._clock = clock
        self._results = results
        self._firsts = firsts

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises IdempotencyMismatch."""
        key = exchange.asked.idempotency_key
        if not key:
            return None
        digest = _digest(exchange)
        name = (exchange.principal.key_id, key)
        while (first := self._firsts.get(name)) is not None:
            _same_body(first.body_digest, digest)
            result = await self._awaited(exchange, first)
            if result is not None:
                return _replay(result)
        first = self._firsts[name] = First(digest, exchange)
        stored = await self._stored(name, first)
        if stored is None:
            exchange.first = first
            return None
        return _replay(stored)

    def tap(self, exchange: Exchange, event: Event) -> Event:
        """Keep what is sent."""
        if exchange.first is not None:
            exchange.first.keep(event.raw)
        return event

    def leave(self, exchange: Exchange) -> None:
        """Keep an answer, free the key after anything else."""
        first = exchange.first
        if first is None:
            return
        exchange.first = None
        name = (exchange.principal.key_id, exchange.asked.idempotency_key)
        result = self._result(exchange, first)
        if result is not None:
            self._results.put(*name, result)
        end(self._firsts, name, first, result)

    async def _awaited(self, exchange: Exchange, first: First) -> StoredResult | None:
        """The first's result; None when it has none. As long as anyone waits for it, it goes on without its client."""
        waiting_since = self._clock.monotonic()
        first.leader.join()
        try:
            return await asyncio.shield(first.result)
        finally:
            exchange.waited_s += self._clock.monotonic() - waiting_since
            first.leader.part()

    async def _stored(self, name: FirstName, first: First) -> StoredResult | None:
        """What the store holds; the key is ours while we look, and free again if it holds something."""
        stored = None
        try:
            stored = await self._results.get(*name, self._clock.now())
            if stored is not None:
                _same_body(stored.body_digest, first.body_digest)
        except BaseException:
            end(self._firsts, name, first, None)
            raise
        if stored is not None:
            end(self._firsts, name, first, stored)
        return stored

    def _result(self, exchange: Exchange, first: First) -> StoredResult | None:
        body = b"".join(first.parts)
        if exchange.error is not None or exchange.reply is None or not body:
            return None
        if exchange.principal.edge_id and not exchange.attempts:  # it cost nothing, and would not again
            return None
        return StoredResult(
            body_digest=first.body_digest,
            status=exchange.reply.status,
            headers={"content-type": STREAMED} if exchange.streamed else {},
            body=body,
            exchange_id=exchange.id,
            expires_at=self._clock.now() + (KEPT_FOR_EDGES_S if exchange.principal.edge_id else KEPT_S),
        )


def _digest(exchange: Exchange) -> bytes:
    """Of all that is asked: the endpoint, the body, the headers that go on."""
    asked = exchange.asked
    head = _encode((asked.dialect, sorted(asked.forward.items())))
    return hashlib.sha256(head + exchange.raw).digest()


def _same_body(first: bytes, now: bytes) -> None:
    if first != now:
        raise IdempotencyMismatch("this Idempotency-Key was used for another request: use a new key for a new request")


def _replay(result: StoredResult) -> Reply:
    headers = {"idempotent-replayed": "true"}
    if result.headers.get("content-type") == STREAMED:
        return Reply(result.status, batches=told([SseParser().feed(result.body)]), headers=headers)
    return Reply(result.status, body=result.body, headers=headers)
