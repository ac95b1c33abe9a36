"""What was done in the last seconds, from sums that are noted now and then: rates for who watches and who scales."""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

SPAN_S: Final = 10.0
"""How far back a rate reaches, as soon as so much is known."""
NOTE_S: Final = 1.0
"""The least between two notes."""


class Sums(NamedTuple):
    """All that was done since the start, or between two moments."""

    requests: int = 0
    """That ended."""
    errors: int = 0
    """Those of them that did not end well, whoever is to blame."""
    lookups: int = 0
    """Those that a cache was asked for."""
    hits: int = 0
    """And those that one answered, or another request in flight."""
    shed: int = 0
    tokens: int = 0
    cost_nano: int = 0
    saved_nano: int = 0
    calls: Mapping[str, int] = {}
    """To providers, by deployment."""
    failures: Mapping[str, int] = {}
    """Those of them that failed by the provider's fault."""

    def since(self, before: "Sums") -> "Sums":
        """What came after ``before``."""
        return Sums(
            requests=self.requests - before.requests,
            errors=self.errors - before.errors,
            lookups=self.lookups - before.lookups,
            hits=self.hits - before.hits,
            shed=self.shed - before.shed,
            tokens=self.tokens - before.tokens,
            cost_nano=self.cost_nano - before.cost_nano,
            saved_nano=self.saved_nano - before.saved_nano,
            calls=_less(self.calls, before.calls),
            failures=_less(self.failures, before.failures),
        )


class Noted(NamedTuple):
    """The sums at one moment, in monotonic seconds."""

    at: float
    sums: Sums


class Recent:
    """The notes of the last ``SPAN_S``, and the one before them."""

    def __init__(self) -> None:
        self._notes: deque[Noted] = deque()

    def is_due(self, now: float) -> bool:
        """Whether it is time for a note."""
        return not self._notes or now - self._notes[-1].at >= NOTE_S

    def note(self, now: float, sums: Sums) -> None:
        """Remember what has been done by now, and forget what is too old to be asked about."""
        notes = self._notes
        notes.append(Noted(now, sums))
        while len(notes) > 1 and notes[1].at <= now - SPAN_S:
            notes.popleft()

    def until(self, now: float, sums: Sums) -> tuple[float, Sums]:
        """The seconds looked back, 0.0 while nothing was noted before, and what was done in them."""
        before = self._notes[0] if self._notes else Noted(now, sums)
        return now - before.at, sums.since(before.sums)


def per_s(count: float, seconds: float) -> float:
    """A rate; 0.0 of no time."""
    return count / seconds if seconds > 0 else 0.0


def _less(counts: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in counts.items()}
