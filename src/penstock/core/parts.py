"""What a node was lent of the accounts that it shares with others, as it was told last (docs/adr/0014-many-nodes.md).

A part is all that the node may have posted and pending of an account, since its lease began. What is idle of it
goes back: all where somebody is short, else all but what the pace of the last beats needs until the next ones.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from penstock.core.budget import Place

KEPT_BEATS: Final = 3.0
"""What so many beats may need stays."""
FADING: Final = 0.5
"""Of the pace that was known, per beat."""


class Standing(NamedTuple):
    """How a node stands with an account that it shares."""

    part: int
    """The most that it may have posted and pending there."""
    elsewhere: int
    """What others spent, as far as they said."""


class Part:
    """Of one account."""

    __slots__ = ("elsewhere", "extra", "lent", "pace", "told")

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

    @property
    def most(self) -> int:
        """What may be posted and pending of it here."""
        return self.lent + self.extra

    def beat(self, posted: int, used: int, *, short: bool) -> int:
        """How much goes back, now that so much is posted, and used with what is pending; once per beat."""
        spent = max(0, posted - self.told)
        self.pace = max(float(spent), FADING * self.pace)
        self.told = posted
        kept = used if short or self.pace < 1 else used + int(KEPT_BEATS * self.pace)
        return max(0, self.lent - kept)


class Parts:
    """Of all accounts."""

    def __init__(self) -> None:
        self._parts: dict[Place, Part] = {}

    def __iter__(self) -> Iterator[tuple[Place, Part]]:
        return iter(list(self._parts.items()))

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
            del self._parts[place]
