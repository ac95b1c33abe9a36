"""How many requests at once our own event loop does in time."""

from math import inf
from typing import Final

from penstock.core.concurrency import GROWTH, IN_USE

LOOKS: Final = 3
WINDOW_S: Final = 0.1
"""So many looks at the loop, and so long, make a window at least."""
LATE_S: Final = 0.007
"""A loop that is later than this in three quarters of a window has more to do than it can: a request takes ten turns
of it or so. One long stall, whoever's it is, is late once. With less a neighbour on our core would be too much work."""
FEWER: Final = 0.3
"""No window takes more away."""
FORGOTTEN_S: Final = 5.0
"""A loop that has been in time for so long bears what it bore before."""


class LoopLimit:
    """How many requests at once this process bears, by how late its own event loop is.

    What is too much work shows as turns of the loop that become longer, for then everything that is ready in a turn
    has to wait for everything else. Then the limit is set to the part of what is under way that would be on time. It
    starts, and ends up again, at ``most``: many slow streams are no work, so their number says nothing by itself. What
    was learned in an overload is forgotten soon after it, or the next hundred slow streams would find few places.
    """

    def __init__(self, least: int, most: int) -> None:
        """``least`` and ``most`` requests at once, 1 <= least <= most."""
        self._least = least
        self._most = most
        self._limit = float(most)
        self._late: list[float] = []
        self._began = 0.0
        self._busiest = 0
        self._suspected = False
        self._late_at = -inf

    @property
    def limit(self) -> int:
        """Requests at once that it bears."""
        return int(self._limit)

    def observe(self, late_s: float, active: int, now: float) -> None:
        """A look at the loop came ``late_s`` after it was due, with so many requests under way."""
        if not self._late:
            self._began = now - late_s
        self._late.append(late_s)
        self._busiest = max(self._busiest, active)
        if len(self._late) >= LOOKS and now - self._began >= WINDOW_S:
            self._judge(sorted(self._late)[len(self._late) // 4], self._busiest, now)
            self._late, self._busiest = [], 0

    def _judge(self, late_s: float, active: int, now: float) -> None:
        if late_s > LATE_S:
            self._late_at = now
            if self._suspected:
                self._set(min(self._limit, active) * max(FEWER, LATE_S / late_s))
            self._suspected = True
            return
        self._suspected = False
        if now - self._late_at >= FORGOTTEN_S:
            self._set(self._most)
        elif active >= IN_USE * self._limit:
            self._set(self._limit + max(1.0, GROWTH * self._limit))

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, float(self._least)), float(self._most))
