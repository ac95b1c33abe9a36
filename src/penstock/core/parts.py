"""What a node was lent of the accounts that it shares with others, as it was told last (docs/adr/0014-many-nodes.md).

A part is all that the node may have posted and pending of an account, since its lease began. What is idle of it
goes back: all where somebody is short, else all but what the pace of the last beats needs until the next ones.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from penstock.core.budget import Place

KEPT_BEATS: Final = 3.0
"""What so many beats may need stays."""
FADING: Final = 0.5
"""Of the pace that was known, per beat."""
LOW: Final = 4
"""More is asked for when one part in so many of a slice is left."""


class Standing(NamedTuple):
    """How a node stands with an account that it shares."""

    part: int
    """The most that it may have posted and pending there."""
    elsewhere: int
    """What others spent, as far as they said."""


class Part:
    """Of one account."""

    __slots__ = ("elsewhere", "extra", "is_asked", "lent", "pace", "slice", "told")

    def __init__(self) -> None:
        self.lent = 0
        self.elsewhere = 0
        """What others spent, as far as they said."""
        self.extra = 0
        """What may be overspent while nobody lends."""
        self.told = 0
        """What we said that we spent of it."""
        self.pace = 0.0
        """Spent per beat."""
        self.slice = 0
        """What is lent beyond what is needed at once."""
        self.is_asked = False
        """More was asked for before it is needed, since the last beat."""

    @property
    def most(self) -> int:
        """What may be posted and pending of it here."""
        return self.lent + self.extra

    def ahead(self, used: int) -> int:
        """How much to ask for before it is needed; 0 = enough is left, or it was asked for since the last beat."""
        left = self.lent - used
        return self.slice - left if left * LOW < self.slice and not self.is_asked else 0

    def beat(self, posted: int, used: int, *, short: bool) -> int:
        """How much goes back, now that so much is posted, and used with what is pending; once per beat."""
        spent = max(0, posted - self.told)
        self.pace = max(float(spent), FADING * self.pace)
        self.told = posted
        self.is_asked = False
        kept = used if short or self.pace < 1 else used + int(KEPT_BEATS * self.pace)
        return max(0, self.lent - kept)


class Parts:
    """Of all accounts."""

    def __init__(self) -> None:
        self._parts: dict[Place, Part] = {}

    def places(self) -> Iterable[Place]:
        """Which there are."""
        return list(self._parts)

    def turn(self, most: int) -> list[Place]:
        """So many of them, others each time: those whose turn was longest ago."""
        places = list(islice(self._parts, most))
        for place in places:
            self._parts[place] = self._parts.pop(place)
        return places

    def of(self, place: Place) -> Part:
        """Of one, nothing where it was never asked for."""
        part = self._parts.get(place)
        if part is None:
            part = self._parts[place] = Part()
        return part

    def clear(self) -> None:
        """The lease is over."""
        self._parts.clear()

    def forget(self, places: Iterable[Place]) -> None:
        """Their windows are over."""
        for place in places:
            self._parts.pop(place, None)
