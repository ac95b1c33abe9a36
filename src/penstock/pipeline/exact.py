"""exact: the same request again gets the stored answer and costs nothing."""

from penstock.errors import NoDeployment, PenstockError, ProviderRefused, Saturated, UpstreamError
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.sharing import SHAREABLE
from penstock.pipeline.stored import Storing
from penstock.ports.answers import AnswerCache
from penstock.ports.clock import Clock


class Exact:
    """Looks answers up by their canonical request, and stores them."""

    def __init__(
        self, clock: Clock, answers: AnswerCache, storing: Storing, *, stale_on_error: bool, near: bool = False
    ) -> None:
        """``stale_on_error``: serve what is past its time where no provider answers.

        ``near``: look in memory only, because ``across`` looks further.
        """
        self._stale_on_error = stale_on_error
        self._clock = clock
        self._answers = answers
        self._storing = storing
        self._near = near

    async def enter(self, exchange: Exchange) -> Reply | None:
        """The stored answer, if there is one that may serve."""
        directive = exchange.asked.directive
        if exchange.asked.dialect in SHAREABLE and not directive.no_store and self._storing.is_on(exchange):
            exchange.cache = "miss"
            if not directive.no_cache:
                now = self._clock.now()
                for key in self._storing.keys(exchange):
                    stored = self._answers.held(key, now) if self._near else await self._answers.get(key, now)
                    reply = self._storing.served(exchange, stored)
                    if reply is not None:
                        return reply
        return None

    async def rescue(self, exchange: Exchange) -> Reply | None:
        """A stale answer where no provider gives a fresh one, if the config allows that and its client does."""
        directive = exchange.asked.directive
        if not self._stale_on_error or exchange.cache != "miss" or directive.no_cache or not _is_outage(exchange.error):
            return None
        now = self._clock.now()
        stored = await self._answers.get(self._storing.key(exchange), now)
        if stored is None or (directive.max_age_s is not None and now - stored.stored_at > directive.max_age_s):
            return None
        exchange.degraded = ("stale", *exchange.degraded)
        return self._storing.serve(exchange, stored)

    def leave(self, exchange: Exchange) -> None:
        """Store what ``attempt`` finished."""
        if exchange.cache != "miss":
            return
        answer, may_be_stored = self._storing.made(exchange)
        if answer is not None and may_be_stored:
            self._answers.put(self._storing.key(exchange), answer, exchange.at)


def _is_outage(error: PenstockError | None) -> bool:
    """Whether it is nothing that the client could change."""
    if isinstance(error, UpstreamError):
        return not isinstance(error, ProviderRefused)
    return isinstance(error, NoDeployment | Saturated)
