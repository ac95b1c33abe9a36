"""Parts of one rate that a process was lent, for itself to take from.

A part of a minute is worth nothing after a while; what was not taken of it until then goes back. How much to ask for is
what was taken within the last such while: who asks once in a second is lent one at a time, so that a small limit is
used up to the last by whoever comes.
"""

from collections import deque
from typing import Final

AHEAD: Final = 0.5
"""More is asked for when so much of what a while takes is left."""
FEW: Final = 4
"""So slow a rate is asked for each time: what is lent ahead would be missed elsewhere."""


class LentRate:
    """Requests or tokens of a minute."""

    __slots__ = ("_pace", "_parts", "_taken", "_while_s", "unused")

    def __init__(self, while_s: float) -> None:
        """``while_s``: how long a part is worth anything."""
        self._while_s = while_s
        self._parts: deque[list[float]] = deque()  # [until, amount], oldest first
        self._taken: deque[tuple[float, int]] = deque()
        self._pace = 0
        self.unused = 0
        """What is to be given back; negative: used beyond what was taken."""

    def add(self, until: float, amount: int) -> None:
        """Lent just now, and worth something until then."""
        if amount:
            self._parts.append([until, amount])

    def left(self, now: float) -> int:
        """What may be taken."""
        parts = self._parts
        while parts and parts[0][0] <= now:
            self.unused += int(parts.popleft()[1])
        return int(sum(amount for _, amount in parts))

    def take(self, now: float, amount: int) -> None:
        """Take what is left, the oldest first."""
        self._taken.append((now, amount))
        self._pace += amount
        while amount and self._parts:
            part = self._parts[0]
            taken = min(int(part[1]), amount)
            part[1] -= taken
            amount -= taken
            if not part[1]:
                self._parts.popleft()

    def pace(self, now: float) -> int:
        """What was taken within the last while."""
        while self._taken and self._taken[0][0] <= now - self._while_s:
            self._pace -= self._taken.popleft()[1]
        return self._pace

    def ahead(self, now: float) -> int:
        """What to ask for before it is needed; 0 = nothing yet."""
        pace = self.pace(now)
        return pace if len(self._taken) >= FEW and self.left(now) < AHEAD * pace else 0

    def back(self) -> int:
        """What goes back now."""
        unused, self.unused = self.unused, 0
        return unused


class LentPlaces:
    """How many may be under way at once: lent until it is said that they are not needed."""

    __slots__ = ("active", "lent", "most", "until")

    def __init__(self) -> None:
        self.active = self.lent = 0
        self.most = 0
        """Under way at once since the last look."""
        self.until = 0.0

    def add(self, until: float, amount: int) -> None:
        """Lent just now; all that it has is its own until then."""
        self.until = max(until, self.until)
        self.lent += amount

    def left(self, now: float) -> int:
        """What may be taken; less than nothing where what is under way is lent no more."""
        if self.until <= now:  # others may have it by now
            self.lent = 0
        return self.lent - self.active

    def take(self) -> None:
        """One more is under way."""
        self.active += 1
        self.most = max(self.most, self.active)

    def back(self) -> int:
        """What was not needed since the last look."""
        idle = max(0, self.lent - self.most)
        self.lent -= idle
        self.most = self.active
        return idle
