"""What is known of a deployment's time to the first byte: a smoothed value and a high quantile, both fading with time.

An observation weighs half as much after every half-life, so neither forgets faster because more requests come, and both
say None again when nothing was seen for long. Times are seconds of a monotonic clock, given by the caller; one that
stands still or steps back ages nothing.
"""

from math import ceil, log
from typing import Final

HALF_LIFE_S: Final = 10.0
FORGOTTEN: Final = 6
"""Half-lives without an observation after which a smoothed value is not known any more."""

QUANTILE_HALF_LIFE_S: Final = 60.0
ENOUGH: Final = 20
"""Observations (faded ones count less) without which there is no quantile."""
STEP: Final = 1.05
"""The ratio of one bucket's upper edge to the one below."""
LEAST_S: Final = 0.001
MOST_S: Final = 1_000.0
BUCKETS: Final = 285
"""From ``LEAST_S`` to over ``MOST_S``."""
RENEWED_AT: Final = 1e9
"""How heavy a new observation may get before all are weighed anew."""


class Smoothed:
    """The mean of the observed values, the recent ones weighing more."""

    __slots__ = ("_at", "_half_life_s", "_mean", "_weight")

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        self._half_life_s = half_life_s
        self._mean = 0.0
        self._weight = 0.0
        self._at = 0.0

    def observe(self, value: float, now: float) -> None:
        """Count one; ``now`` in seconds."""
        if not self._weight:
            self._at = now
        elif now > self._at:
            self._weight *= 0.5 ** ((now - self._at) / self._half_life_s)
            self._at = now
        self._weight += 1
        self._mean += (value - self._mean) / self._weight

    def value(self, now: float) -> float | None:
        """The mean; None before the first observation and long after the last."""
        if not self._weight or now - self._at >= FORGOTTEN * self._half_life_s:
            return None
        return self._mean


class Quantile:
    """What a share of the recent observations did not exceed, from counts on a logarithmic scale.

    At most ``STEP`` too high and never too low, between ``LEAST_S`` and ``MOST_S``; beyond, it says the bound. The
    counts are kept as they would weigh at ``_since``: new ones count more instead of old ones less.
    """

    __slots__ = ("_counts", "_half_life_s", "_latest", "_since", "_total")

    def __init__(self, half_life_s: float = QUANTILE_HALF_LIFE_S) -> None:
        self._half_life_s = half_life_s
        self._counts = [0.0] * BUCKETS
        self._total = 0.0
        self._since = 0.0
        self._latest = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """Count one."""
        if not self._total:
            self._since = self._latest = now
        self._latest = max(self._latest, now)
        weight = self._weight(self._latest)
        if weight > RENEWED_AT:
            self._renew(weight)
            weight = 1.0
        self._counts[_bucket(seconds)] += weight
        self._total += weight

    def value(self, share: float, now: float) -> float | None:
        """Seconds that ``share`` (above 0, to 1) of the observations did not exceed; None when too few are known."""
        if self._total < ENOUGH * self._weight(max(now, self._latest)):
            return None
        above = (1 - share) * self._total
        for bucket in range(BUCKETS - 1, 0, -1):
            above -= self._counts[bucket]
            if above < 0:
                return LEAST_S * STEP**bucket
        return LEAST_S

    def _weight(self, now: float) -> float:
        """What an observation made ``now`` counts."""
        return float(2.0 ** min(1_000.0, (now - self._since) / self._half_life_s))

    def _renew(self, weight: float) -> None:
        self._counts = [count / weight for count in self._counts]
        self._total = sum(self._counts)
        self._since = self._latest


def _bucket(seconds: float) -> int:
    """The bucket whose upper edge is the first that is not below."""
    if seconds <= LEAST_S:
        return 0
    return min(BUCKETS - 1, ceil(log(seconds / LEAST_S) / log(STEP) - 1e-9))
