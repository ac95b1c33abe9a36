"""limit: rates per key, concurrency per key and gateway, a bounded queue. A cache hit still costs us work.

Fails closed: beyond a limit the request is refused with 429 and the seconds to wait. When the ledger cannot be written
and ``ledger.on_failure`` is ``refuse``, everything is refused here: no call is made that would not be recorded.
"""

from penstock.core.quota import MinuteWindow
from penstock.core.tokens import estimate_request
from penstock.errors import LedgerUnavailable, RateLimited
from penstock.pipeline.exchange import Exchange, Principal, Reply
from penstock.pipeline.gate import Gate
from penstock.pipeline.standing import Standing, Standings
from penstock.ports import Clock, Ledger

RETRY_AFTER_LEDGER_S = 5.0


class Limit:
    """Holds every exchange to its key's limits and the gateway's."""

    def __init__(self, clock: Clock, gate: Gate, keys: Standings, ledger: Ledger | None) -> None:
        """``ledger``: refuse everything while it is unhealthy; None = answer on (``on_failure: answer``)."""
        self._clock = clock
        self._gate = gate
        self._ledger = ledger
        self._keys = keys

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises RateLimited, Saturated, LedgerUnavailable."""
        if self._ledger is not None and not self._ledger.healthy:
            raise LedgerUnavailable(
                "the ledger cannot be written, so nothing is spent now: try again later",
                retry_after_s=RETRY_AFTER_LEDGER_S,
            )
        principal = exchange.principal
        if principal.rpm or principal.tpm or principal.concurrency:
            self._hold_to_key(exchange, principal)
        await self._take_slot(exchange)
        return None

    def leave(self, exchange: Exchange) -> None:
        """Give the slot back and correct the tokens to what was really used; our own hits count none."""
        self._gate.leave(self._clock.monotonic() - exchange.started)
        if exchange.standing is not None:
            self._give_back(exchange, exchange.standing)

    async def _take_slot(self, exchange: Exchange) -> None:
        try:
            left_s = exchange.started + exchange.total_s - self._clock.monotonic()
            await self._gate.enter(exchange.principal.key_id, batch=exchange.asked.batch, most_s=left_s)
        except BaseException:
            if exchange.standing is not None:
                self._give_back(exchange, exchange.standing)
            raise

    def _give_back(self, exchange: Exchange, standing: Standing) -> None:
        standing.active -= 1
        if standing.tokens is not None:
            used = sum(attempt.usage.total for attempt in exchange.attempts)
            taken = min(self._estimate(exchange), standing.tokens.limit)
            standing.tokens.correct(self._clock.monotonic(), used - taken)

    def _hold_to_key(self, exchange: Exchange, principal: Principal) -> None:
        key_id = principal.edge_id or principal.key_id  # an edge has no more than its key, for however many it asks
        standing = self._keys.get(key_id)
        if standing is None:
            standing = self._keys[key_id] = Standing()
        standing.follow(principal)
        now = self._clock.monotonic()
        if principal.concurrency and standing.active >= principal.concurrency:
            raise RateLimited(
                f"this key already has {principal.concurrency} requests in flight, its limit", retry_after_s=1.0
            )
        if standing.requests is not None:
            self._take(standing.requests, now, 1, "requests")
        if standing.tokens is not None:
            self._take(standing.tokens, now, self._estimate(exchange), "tokens")
        standing.active += 1
        exchange.standing = standing

    def _take(self, window: MinuteWindow, now: float, amount: int, what: str) -> None:
        wait_s = window.take(now, amount)
        if wait_s:
            raise RateLimited(
                f"this key's limit of {window.limit} {what} per minute is used up: try again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )

    def _estimate(self, exchange: Exchange) -> int:
        return estimate_request(exchange.asked.dialect, exchange.fields)
