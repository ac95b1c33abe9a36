"""Which accounts a payer falls under, remembered while no window ends: the same payers come again and again."""

from collections.abc import Sequence
from math import inf

from penstock.core.budget import Budget, Payer, Place, places
from penstock.core.windows import Span

REMEMBERED = 4096
"""Payers."""

Found = Sequence[tuple[Budget, Place]]


class Places:
    """The accounts of some budgets. What it says is what ``core/budget.places`` says, sooner."""

    __slots__ = ("_found", "_since", "_spans", "_until", "budgets", "by_id", "hard", "has_ladder")

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self.budgets = budgets
        self.by_id = {budget.id: budget for budget in budgets}
        self.hard = tuple(budget for budget in budgets if budget.hard)
        self.has_ladder = any(budget.ladder for budget in budgets)
        """Whether any of them steps down before it refuses."""
        self._found: dict[Payer, Found] = {}
        self._spans: dict[str, Span] = {}
        self._since, self._until = inf, -inf
        """While all that is remembered holds, epoch seconds."""

    def of(self, payer: Payer, at: float) -> Found:
        """Every account that a request of ``payer`` at ``at`` falls under."""
        if not self.budgets:
            return ()
        if not self._since <= at < self._until:
            self._look_up_windows(at)
        found = self._found.get(payer)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[payer] = places(self.budgets, payer, at, self.span)
        return found

    def span(self, budget: Budget, at: float) -> Span:
        """The window at ``at``, which is nearly always the one of the last request."""
        span = self._spans.get(budget.id)
        if span is None or not span.start <= at < span.end:
            span = self._spans[budget.id] = budget.span(at)
        return span

    def _look_up_windows(self, at: float) -> None:
        self._found.clear()
        spans = [self.span(budget, at) for budget in self.budgets]
        self._since = max((span.start for span in spans), default=-inf)
        self._until = min((span.end for span in spans), default=inf)
