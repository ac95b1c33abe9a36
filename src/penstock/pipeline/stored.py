"""Answers as they are stored: when one may serve, how it is served, and what of an exchange is one.

Only finished answers that came from ``attempt`` are stored, whole; a streaming asker gets a whole answer retold. A
wrong answer is worse than a miss: anything doubtful is not stored.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.records import ShareRow
from penstock.pipeline.exchange import Exchange, Made, Reply
from penstock.pipeline.sharing import Sharing
from penstock.pipeline.stream import retold
from penstock.ports.answers import StoredAnswer
from penstock.ports.clock import Clock
from penstock.wire.answers import verdict

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Storing:
    """What is common to the stages that serve and store answers."""

    def __init__(self, clock: Clock, sharing: Sharing) -> None:
        self._clock = clock
        self._sharing = sharing

    def key(self, exchange: Exchange) -> bytes:
        """Under what its answer is stored."""
        return self._sharing.key(exchange)

    def keys(self, exchange: Exchange) -> tuple[bytes, ...]:
        """Under what an answer may be found, the better one first."""
        better, key = self._sharing.better_key(exchange), self._sharing.key(exchange)
        return (key,) if better is None else (better, key)

    def is_on(self, exchange: Exchange) -> bool:
        """Whether answers to it are stored at all."""
        return bool(self._sharing.ttl_s(exchange))

    # --- serving

    def youngest(self, exchange: Exchange, now: float) -> float:
        """When an answer must have been made to serve this asker, epoch seconds: by its own TTL, or by its request.

        Where the ladder says so, a stale one will do.
        """
        age_s = self._sharing.ttl_s(exchange)
        if age_s and "stale" in exchange.steps:
            age_s += self._sharing.stale_s
        max_age_s = exchange.asked.directive.max_age_s
        return now - (age_s if max_age_s is None else min(age_s, max_age_s))

    def served(self, exchange: Exchange, stored: StoredAnswer | None) -> Reply | None:
        """The reply; None when there is no answer, or too old a one for this asker."""
        if stored is None:
            return None
        now = self._clock.now()
        if stored.stored_at < self.youngest(exchange, now):
            return None
        if "stale" in exchange.steps and now - stored.stored_at > self._sharing.ttl_s(exchange):
            exchange.degraded = ("stale", *exchange.degraded)
        return self.serve(exchange, stored)

    def serve(self, exchange: Exchange, stored: StoredAnswer) -> Reply:
        """The reply, whatever its age."""
        exchange.cache, exchange.age_s = "exact", max(0.0, self._clock.now() - stored.stored_at)
        return given(exchange, stored, "exact")

    # --- storing

    def made(self, exchange: Exchange) -> Made:
        """Its answer, as it came from ``attempt``, and whether others may get it later; found out once it is left."""
        if exchange.made is None:
            answer = self._made(exchange)
            exchange.made = Made(answer, answer is not None and self._may_be_stored(exchange, answer))
        return exchange.made

    def _made(self, exchange: Exchange) -> StoredAnswer | None:
        """None = it has none."""
        if not exchange.finished or exchange.error is not None:
            return None
        whole, paid = exchange.answer(), exchange.paid
        if whole is None or paid is None:
            return None
        made_at = self._clock.now() - (0 if exchange.told is None else exchange.told.age_s)
        passed = exchange.asked.passed
        return StoredAnswer(
            body=whole,
            stored_at=made_at,
            expires_at=made_at + self._sharing.ttl_s(exchange) + self._sharing.stale_s,
            attempt_id=paid.id,
            model=exchange.model.name,
            tenant=exchange.principal.key_id,
            tags=exchange.asked.tag_names,
            deployment=exchange.served_by,
            usage=exchange.usage,
            estimated=exchange.estimated,
            entry=passed.entry if passed is not None and exchange.principal.edge_id else "",
        )

    def _may_be_stored(self, exchange: Exchange, answer: StoredAnswer) -> bool:
        """It is complete, and nobody said no."""
        if exchange.cache != "miss" or not (exchange.told is None or exchange.told.storable):
            return False
        exchange.said = exchange.said or _read(answer.body)
        return _complete(exchange.asked.dialect, exchange.said, exchange.fields)


def given(exchange: Exchange, answer: StoredAnswer, lever: str) -> Reply:
    """The answer of another exchange as the reply to this one, which is charged nothing."""
    book(exchange, answer, lever)
    if exchange.wants_stream:
        return Reply(200, batches=retold(exchange.asked.dialect, answer.body))
    return Reply(200, body=answer.body)


def book(exchange: Exchange, answer: StoredAnswer, lever: str) -> None:
    """Used like the one that was paid, and paid by whom it was."""
    exchange.served_by = answer.deployment
    exchange.usage, exchange.estimated = answer.usage, answer.estimated
    exchange.shares.append(
        ShareRow(attempt_id=answer.attempt_id, exchange_id=exchange.id, amount_nano=0, lever=lever)
    )  # fmt: skip


def _read(whole: bytes) -> Mapping[str, Any]:
    """What an answer says; nothing when it cannot be read."""
    try:
        return _decode(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _complete(dialect: str, answer: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Complete, and as many choices or vectors as were asked for: a stream may end before its last choice began."""
    if verdict(dialect, answer) != "complete":
        return False
    if dialect == "embeddings":
        return len(answer["data"]) >= _texts(asked["input"])
    number = asked.get("n")
    return not isinstance(number, int) or len(answer.get("choices", ())) >= number


def _texts(asked: object) -> int:
    """How many vectors an embeddings input asks for: a list of numbers is one text, in tokens."""
    return len(asked) if isinstance(asked, list) and not isinstance(asked[0], int) else 1
