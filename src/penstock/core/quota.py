"""Rates per minute: what was taken within the last minute, exact to a tick.

Amounts of one tick are kept as one, so a window holds at most a few hundred of them whatever the rate. A tick's amount
counts until a whole minute after the tick's end: never more than the limit in any minute, and no wait beyond a minute
and a tick.
"""

from collections import deque
from collections.abc import Sequence

WINDOW_S = 60.0
TICK_S = 0.1

Ticks = Sequence[tuple[int, int]]
"""Amounts by the tick of the monotonic clock in which they were taken, oldest first."""


class MinuteWindow:
    """What was taken in the last minute. Amounts may be corrected afterwards, when the real ones are known."""

    __slots__ = ("_taken", "_total", "limit")

    def __init__(self, limit: int, taken: Ticks = ()) -> None:
        """``limit`` per minute, > 0. ``taken``: by another window, which this one goes on with."""
        self.limit = limit
        self._taken = deque([*each] for each in taken)  # [tick, amount], oldest first
        self._total = sum(amount for _, amount in taken)

    @property
    def taken(self) -> Ticks:
        """All that still counts, and maybe more: for another window to go on with."""
        return [(tick, amount) for tick, amount in self._taken]

    def used(self, now: float) -> int:
        """How much was taken within the last minute."""
        taken = self._taken
        while taken and _leaves_at(taken[0][0]) <= now:
            self._total -= taken.popleft()[1]
        return self._total

    def take(self, now: float, amount: int) -> float:
        """Take ``amount``: 0.0 when it was taken, else the seconds until it would fit (nothing is taken).

        An amount above the whole limit is taken as the limit: it waits for an empty window and is not refused for ever.
        """
        amount = min(amount, self.limit)
        if self.used(now) + amount <= self.limit:
            self._add(now, amount)
            return 0.0
        return self._wait(now, amount)

    def correct(self, now: float, difference: int) -> None:
        """Add what was taken beyond the estimate, or give back what was not, the latest first."""
        self.used(now)
        if difference > 0:
            self._add(now, difference)
        while difference < 0 and self._taken:
            latest = self._taken[-1]
            given = min(latest[1], -difference)
            latest[1] -= given
            self._total -= given
            difference += given
            if not latest[1]:
                self._taken.pop()

    def _add(self, now: float, amount: int) -> None:
        tick = int(now // TICK_S)
        if self._taken and self._taken[-1][0] >= tick:
            self._taken[-1][1] += amount
        else:
            self._taken.append([tick, amount])
        self._total += amount

    def _wait(self, now: float, amount: int) -> float:
        """Until so much of the oldest has left that ``amount`` fits."""
        excess = self._total + amount - self.limit
        leaves_at = now
        for tick, taken in self._taken:
            excess -= taken
            leaves_at = _leaves_at(tick)
            if excess <= 0:
                break
        return leaves_at - now


def _leaves_at(tick: int) -> float:
    return (tick + 1) * TICK_S + WINDOW_S
