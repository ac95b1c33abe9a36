"""Budgets as rules: what is limited, for whom, and which accounts a request falls under.

An account is one budget, one value of its scope, one window: ``(per-user, alice, today)``. A request without a user or
a team shares the account of the empty name with all others like it; one without tags falls under no account of a tag.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from penstock.core.windows import Span, span_at

SCOPES: Final = ("global", "team", "key", "user", "model", "tag")
UNITS: Final = ("money", "tokens")
STEPS_S: Final = 5 * 3600.0
"""A clock that steps two hours either way is four behind its furthest ahead, and time goes on."""
STEPS: Final = ("stale", "thinking_off", "cheaper", "refuse")
"""The rungs of the degradation ladder, gentlest first."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit per window and scope value. ``money`` is counted in nano-units of the book currency."""

    name: str
    scope: str
    unit: str
    limit: int
    window: str
    zone: ZoneInfo
    hard: bool = True
    """A soft one refuses nothing: it only warns."""
    alerts: tuple[float, ...] = (0.8, 1.0)
    """Fractions of the limit at which the operator is told, once per account."""
    unlisted: str = "default"
    """For scope values without an entry: ``default`` = ``limit`` holds for them, ``deny`` = they may spend nothing."""
    entries: Mapping[str, int] = field(default_factory=dict)
    """Limits of scope values that have one of their own."""
    ladder: Mapping[str, float] = field(default_factory=dict)
    """Which of ``STEPS`` is taken from which fraction of the limit on; empty = none."""

    id: str = field(init=False, repr=False, compare=False)
    """The name of its accounts: a budget that counts something else under the same name has accounts of its own."""

    def __post_init__(self) -> None:
        """Name its accounts."""
        object.__setattr__(self, "id", f"{self.name}|{self.scope}|{self.unit}|{self.window}|{self.zone.key}")

    def limit_of(self, value: str) -> int:
        """The limit of one scope value; 0 = it may spend nothing."""
        limit = self.entries.get(value)
        if limit is None and self.scope == "key":  # a tenant has its edge's, unless it has one of its own
            limit = self.entries.get(value.partition("/")[0])
        if limit is None:
            return 0 if self.unlisted == "deny" else self.limit
        return limit

    def span(self, at: float) -> Span:
        """The window that holds the instant ``at``."""
        return span_at(self.window, self.zone, at)

    def spans_around(self, at: float) -> Iterator[Span]:
        """The window at ``at`` and all those that a clock may step into, or have been in, which is wrong there."""
        span = self.span(at - STEPS_S)
        yield span
        while span.end <= at + STEPS_S:
            span = self.span(span.end)
            yield span


class Payer(msgspec.Struct, frozen=True, gc=False):
    """Whose money it is: what the scopes of budgets read of a request."""

    team: str = ""
    key: str = ""
    """The key's name: a key that replaces another goes on with its account."""
    user: str = ""
    model: str = ""
    """As asked for."""
    tags: tuple[str, ...] = ()
    """``name=value``."""

    def values(self, scope: str) -> Sequence[str]:
        """The scope values that this payer has."""
        if scope == "tag":
            return self.tags
        if scope == "key":
            return key_values(self.key)
        return ("" if scope == "global" else getattr(self, scope),)


def key_values(name: str) -> Sequence[str]:
    """A key, and where it is ``edge/tenant`` the edge before it: what a tenant spends its edge has spent too."""
    edge, slash, _ = name.partition("/")
    return (edge, name) if slash else (name,)


class Place(NamedTuple):
    """The name of an account."""

    budget: str
    """``Budget.id``."""
    value: str
    start: float
    """When its window began, epoch seconds."""


def places(
    budgets: Sequence[Budget], payer: Payer, at: float, span_of: Callable[[Budget, float], Span] = Budget.span
) -> list[tuple[Budget, Place]]:
    """Every account that a request of ``payer`` at ``at`` falls under. ``span_of`` may remember windows."""
    return [
        (budget, Place(budget.id, value, span_of(budget, at).start))
        for budget in budgets
        for value in payer.values(budget.scope)
    ]
