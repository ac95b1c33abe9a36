"""limit: rates per key, concurrency per key and gateway, a bounded queue. A cache hit still costs us work.

Fails closed: beyond a limit the request is refused with 429 and the seconds to wait. When the ledger cannot be written
and ``ledger.on_failure`` is ``refuse``, everything is refused here: no call is made that would not be recorded.
"""

from penstock.errors import LedgerUnavailable
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.gate import Gate
from penstock.pipeline.question import Question
from penstock.pipeline.rates import Rates
from penstock.ports.clock import Clock
from penstock.ports.ledger import Ledger

RETRY_AFTER_LEDGER_S = 5.0


class Limit:
    """Holds every exchange to its key's limits and the gateway's."""

    def __init__(
        self, clock: Clock, gate: Gate, rates: Rates, ledger: Ledger | None, question: Question | None = None
    ) -> None:
        """``ledger``: refuse everything while it is unhealthy; None = answer on (``on_failure: answer``).

        ``question``: what is asked of other nodes while rates are waited for; None = there are none.
        """
        self._clock = clock
        self._gate = gate
        self._ledger = ledger
        self._rates = rates
        self._question = question

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises RateLimited, Saturated, LedgerUnavailable, SharedUnavailable."""
        if self._ledger is not None and not self._ledger.healthy:
            raise LedgerUnavailable(
                "the ledger cannot be written, so nothing is spent now: try again later",
                retry_after_s=RETRY_AFTER_LEDGER_S,
            )
        principal = exchange.principal
        if principal.rpm or principal.tpm or principal.concurrency:
            await self._take(exchange)
        free = self._gate.take()
        if self._question is not None:
            self._question.review(exchange, waits=not free)
        if not free:
            await self._wait(exchange)
        return None

    async def _take(self, exchange: Exchange) -> None:
        """Of its key's limits."""
        question = self._question
        try:
            await self._rates.take(exchange, None if question is None else question.begin)
        except BaseException:
            if question is not None:
                question.give_up(exchange)
            raise

    async def _wait(self, exchange: Exchange) -> None:
        left_s = exchange.started + exchange.total_s - self._clock.monotonic()
        try:
            await self._gate.enter(exchange.principal.key_id, batch=exchange.asked.batch, most_s=left_s)
        except BaseException:
            self._rates.give_back(exchange)
            raise

    def leave(self, exchange: Exchange) -> None:
        """Give the slot back and correct the tokens to what was really used; our own hits count none."""
        self._gate.leave(self._clock.monotonic() - exchange.started)
        if exchange.asking is not None and self._question is not None:
            self._question.give_up(exchange)
        self._rates.give_back(exchange)
