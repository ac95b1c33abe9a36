"""One kind of telemetry on its way to the collector: a post at a time, and none while it is to be left alone.

A collector that fails is left alone for as long as it asks for (``Retry-After``), else for longer each time, and one
post finds out whether it is back. That is the whole breaker. Nobody who has a request to answer waits for any of it.
"""

import logging
from enum import Enum
from typing import Final, NamedTuple

from penstock.errors import UpstreamError
from penstock.observe.otlp import rejected
from penstock.ports.clock import Clock, Rng
from penstock.ports.telemetry import Collector

log = logging.getLogger(__name__)

BACKOFF_S: Final = 1.0
MOST_BACKOFF_S: Final = 60.0
MOST_ASKED_S: Final = 600.0
"""The longest ``Retry-After`` that is believed."""
_LATER: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses that say: again. (OTLP/HTTP names all but 408.)"""


class Fate(Enum):
    """What became of a post."""

    TAKEN = "taken"
    REFUSED = "refused"
    """For good: it would be refused again."""
    LATER = "later"


class Delivery(NamedTuple):
    """The same, and how many spans of what was taken were not."""

    fate: Fate
    rejected: int = 0


class Courier:
    """Posts to one path of the collector."""

    def __init__(self, path: str, collector: Collector, clock: Clock, rng: Rng) -> None:
        """``path``: such as ``/v1/traces``."""
        self._path = path
        self._collector = collector
        self._clock = clock
        self._rng = rng
        self._failed = 0
        """Posts in a row."""
        self._not_before = float("-inf")

    @property
    def may_go(self) -> bool:
        """The collector need not be left alone."""
        return self._clock.monotonic() >= self._not_before

    async def send(self, body: bytes) -> Delivery:
        """Post it."""
        try:
            answer = await self._collector.post(self._path, body)
        except UpstreamError as error:
            return self._fail(Fate.LATER, error.detail or error.public, None)
        if answer.status in _LATER:
            return self._fail(Fate.LATER, f"it answers {answer.status}", answer.retry_after_s)
        if answer.status // 100 != 2:  # noqa: PLR2004 - 2xx is success
            return self._fail(Fate.REFUSED, f"it refuses: {answer.status}", answer.retry_after_s)
        if self._failed:
            log.info("the telemetry collector takes posts again", extra={"path": self._path, "failed": self._failed})
        self._failed = 0
        return Delivery(Fate.TAKEN, rejected(answer.body))

    def _fail(self, fate: Fate, why: str, asked_s: float | None) -> Delivery:
        """Leave the collector alone for a while, and never in step with other processes."""
        wait_s = min(MOST_BACKOFF_S, BACKOFF_S * 2.0 ** min(self._failed, 10)) * (1 + self._rng.random()) / 2
        self._not_before = self._clock.monotonic() + max(wait_s, min(asked_s or 0.0, MOST_ASKED_S))
        self._failed += 1
        if self._failed == 1:
            log.warning(
                "the telemetry collector takes nothing; it is tried again", extra={"path": self._path, "why": why}
            )
        return Delivery(fate)
