"""Rates per minute: a sliding window made of two counters.

The count at any instant is this minute's plus the part of the last minute's that the window still covers: never more
than the limit in a clock minute, and no burst of twice the limit across its edge.
"""

WINDOW_S = 60.0


class MinuteWindow:
    """What was taken in the last minute. Amounts may be corrected afterwards, when the real ones are known."""

    __slots__ = ("_current", "_last", "_window", "limit")

    def __init__(self, limit: int) -> None:
        """``limit`` per minute, > 0."""
        self.limit = limit
        self._window = 0
        self._current = 0
        self._last = 0

    def used(self, now: float) -> float:
        """How much of the limit is taken at ``now``."""
        self._roll(now)
        return self._current + self._last * (1 - (now / WINDOW_S - self._window))

    def take(self, now: float, amount: int) -> float:
        """Take ``amount``: 0.0 when it was taken, else the seconds until it would fit (nothing is taken).

        An amount above the whole limit is taken as the limit: it waits for an empty window and is not refused for ever.
        """
        amount = min(amount, self.limit)
        if self.used(now) + amount <= self.limit:
            self._current += amount
            return 0.0
        return self._wait(now, amount)

    def correct(self, now: float, difference: int) -> None:
        """Add what was taken beyond the estimate, or give back what was not."""
        self._roll(now)
        self._current = max(0, self._current + difference)

    def _roll(self, now: float) -> None:
        window = int(now // WINDOW_S)
        if window > self._window:
            self._last = self._current if window == self._window + 1 else 0
            self._current = 0
            self._window = window

    def _wait(self, now: float, amount: int) -> float:
        start = self._window * WINDOW_S
        if self._current + amount <= self.limit:
            covered = (self.limit - self._current - amount) / self._last
            return max(0.001, start + WINDOW_S * (1 - covered) - now)
        covered = (self.limit - amount) / self._current
        return max(0.001, start + WINDOW_S * (2 - covered) - now)
