"""The limits of keys as one process holds them: rates of the last minute, and how many are under way."""

from collections.abc import Callable
from typing import Protocol

from penstock.core.quota import MinuteWindow
from penstock.core.tokens import estimate_request
from penstock.errors import RateLimited
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.standing import Standing, Standings
from penstock.ports.clock import Clock

BeforeWaiting = Callable[[Exchange], None] | None
"""Called when it has to wait for others."""


class Rates(Protocol):
    """Who holds keys to their limits."""

    async def take(self, exchange: Exchange, before_waiting: BeforeWaiting = None) -> None:
        """What it takes of its key's limits, all or nothing. Raises RateLimited, SharedUnavailable."""
        ...

    def give_back(self, exchange: Exchange) -> None:
        """It is over; the tokens are what was really used."""
        ...


class OwnRates:
    """The port Rates of a process that is alone, or asks nobody."""

    def __init__(self, clock: Clock, keys: Standings) -> None:
        self._clock = clock
        self._keys = keys

    async def take(self, exchange: Exchange, before_waiting: BeforeWaiting = None) -> None:  # noqa: ARG002 - the port's
        """Raises RateLimited."""
        self.take_now(exchange)

    def take_now(self, exchange: Exchange) -> None:
        """The same; nobody has to be waited for."""
        principal, key_id = exchange.principal, exchange.principal.limited
        standing = self._keys.get(key_id)
        if standing is None:
            standing = self._keys[key_id] = Standing()
        standing.follow(principal)
        now = self._clock.monotonic()
        if principal.concurrency and standing.active >= principal.concurrency:
            raise too_many(principal.concurrency)
        if standing.requests is not None:
            self._take(standing.requests, now, 1, "requests")
        if standing.tokens is not None:
            self._take(standing.tokens, now, estimate(exchange), "tokens")
        standing.active += 1
        exchange.standing = standing

    def give_back(self, exchange: Exchange) -> None:
        """Our own hits count no tokens."""
        standing = exchange.standing
        if standing is None:
            return
        exchange.standing = None
        standing.active -= 1
        if standing.tokens is not None:
            taken = min(estimate(exchange), standing.tokens.limit)
            standing.tokens.correct(self._clock.monotonic(), used(exchange) - taken)

    def undo(self, exchange: Exchange) -> None:
        """It was refused elsewhere: as if it had never been asked."""
        standing = exchange.standing
        self.give_back(exchange)
        if standing is not None and standing.requests is not None:
            standing.requests.correct(self._clock.monotonic(), -1)

    def _take(self, window: MinuteWindow, now: float, amount: int, what: str) -> None:
        wait_s = window.take(now, amount)
        if wait_s:
            raise used_up(window.limit, what, wait_s)


def used_up(limit: int, what: str, wait_s: float) -> RateLimited:
    """The refusal of a rate."""
    return RateLimited(
        f"this key's limit of {limit} {what} per minute is used up: try again in {wait_s:.1f} s", retry_after_s=wait_s
    )


def too_many(limit: int) -> RateLimited:
    """The refusal of one more at once."""
    return RateLimited(f"this key already has {limit} requests in flight, its limit", retry_after_s=1.0)


def estimate(exchange: Exchange) -> int:
    """Its tokens, before anything is known."""
    return estimate_request(exchange.asked.dialect, exchange.fields)


def used(exchange: Exchange) -> int:
    """Its tokens, when all is known."""
    return sum(attempt.usage.total for attempt in exchange.attempts)
