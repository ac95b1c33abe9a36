"""exact: the same request again gets the stored answer and costs nothing.

Only finished answers that came from ``attempt`` are stored, whole; a streaming asker gets a whole answer retold. A
wrong answer is worse than a miss: anything doubtful is not stored.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.records import ShareRow
from penstock.errors import NoDeployment, PenstockError, ProviderRefused, Saturated, UpstreamError
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.sharing import SHAREABLE, Sharing, tag_names
from penstock.pipeline.stream import retold
from penstock.ports import AnswerCache, Clock, StoredAnswer
from penstock.wire.answers import verdict

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Exact:
    """Looks answers up by their canonical request, and stores them."""

    def __init__(self, clock: Clock, answers: AnswerCache, sharing: Sharing, *, stale_on_error: bool) -> None:
        """``stale_on_error``: serve what is past its time where no provider answers."""
        self._stale_on_error = stale_on_error
        self._clock = clock
        self._answers = answers
        self._sharing = sharing

    async def enter(self, exchange: Exchange) -> Reply | None:
        """The stored answer, if there is one that may serve."""
        directive = exchange.asked.directive
        if exchange.asked.dialect in SHAREABLE and not directive.no_store and self._sharing.ttl_s(exchange):
            exchange.cache = "miss"
            if not directive.no_cache:
                now = self._clock.now()
                for key in (self._sharing.better_key(exchange), self._sharing.key(exchange)):
                    stored = None if key is None else await self._answers.get(key, now)
                    if stored is not None and self._fresh(stored, exchange, now):
                        return self._serve(exchange, stored, now)
        return None

    async def rescue(self, exchange: Exchange) -> Reply | None:
        """A stale answer where no provider gives a fresh one, if the config allows that and its client does."""
        directive = exchange.asked.directive
        if not self._stale_on_error or exchange.cache != "miss" or directive.no_cache or not _is_outage(exchange.error):
            return None
        now = self._clock.now()
        stored = await self._answers.get(self._sharing.key(exchange), now)
        if stored is None or (directive.max_age_s is not None and now - stored.stored_at > directive.max_age_s):
            return None
        exchange.degraded = ("stale", *exchange.degraded)
        return self._serve(exchange, stored, now)

    def leave(self, exchange: Exchange) -> None:
        """Store what ``attempt`` finished."""
        if exchange.cache != "miss" or not exchange.finished or exchange.error is not None:
            return
        whole, paid = exchange.answer(), exchange.paid
        if whole is None or paid is None or not (exchange.told is None or exchange.told.storable):
            return
        if not _storable(exchange.asked.dialect, exchange.said or _read(whole), exchange.fields):
            return
        made_at = self._clock.now() - (0 if exchange.told is None else exchange.told.age_s)
        passed = exchange.asked.passed
        stored = StoredAnswer(
            body=whole,
            stored_at=made_at,
            expires_at=made_at + self._sharing.ttl_s(exchange) + self._sharing.stale_s,
            attempt_id=paid.id,
            model=exchange.model.name,
            tenant=exchange.principal.key_id,
            tags=tag_names(exchange),
            deployment=exchange.served_by,
            usage=exchange.usage,
            estimated=exchange.estimated,
            entry=passed.entry if passed is not None and exchange.principal.edge_id else "",
        )
        self._answers.put(self._sharing.key(exchange), stored, exchange.at)

    def _fresh(self, stored: StoredAnswer, exchange: Exchange, now: float) -> bool:
        """This asker may want a younger one than the one who had it stored: by its own TTL, or by its request.

        Where the ladder says so, a stale one will do.
        """
        age_s = now - stored.stored_at
        max_age_s = exchange.asked.directive.max_age_s
        if max_age_s is not None and age_s > max_age_s:
            return False
        ttl_s = self._sharing.ttl_s(exchange)
        if age_s <= ttl_s:
            return True
        if "stale" not in exchange.steps or age_s > ttl_s + self._sharing.stale_s:
            return False
        exchange.degraded = ("stale", *exchange.degraded)
        return True

    def _serve(self, exchange: Exchange, stored: StoredAnswer, now: float) -> Reply:
        exchange.cache, exchange.age_s = "exact", max(0.0, now - stored.stored_at)
        exchange.served_by = stored.deployment
        exchange.usage = stored.usage
        exchange.estimated = stored.estimated
        exchange.shares.append(
            ShareRow(attempt_id=stored.attempt_id, exchange_id=exchange.id, amount_nano=0, lever="exact")
        )
        if exchange.wants_stream:
            return Reply(200, batches=retold(exchange.asked.dialect, stored.body))
        return Reply(200, body=stored.body)


def _is_outage(error: PenstockError | None) -> bool:
    """Whether it is nothing that the client could change."""
    if isinstance(error, UpstreamError):
        return not isinstance(error, ProviderRefused)
    return isinstance(error, NoDeployment | Saturated)


def _read(whole: bytes) -> Mapping[str, Any]:
    """What an answer says; nothing when it cannot be read."""
    try:
        return _decode(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _storable(dialect: str, answer: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
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
