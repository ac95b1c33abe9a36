"""From the baseline to the cost, lever by lever: integers of nano-units, so that the steps meet exactly."""

from collections.abc import Mapping
from typing import Final, NamedTuple

BASELINE: Final = "baseline"
COST: Final = "cost"
UNMATCHED: Final = "unmatched"
"""Requests of which only the cost or only the baseline is known: they save nothing, and stand in one of the two."""


class Step(NamedTuple):
    """A bar: from ``start_nano`` to ``end_nano``. The first and the last stand on zero."""

    name: str
    start_nano: int
    end_nano: int

    @property
    def change_nano(self) -> int:
        """What it adds; below zero = what it saves."""
        return self.end_nano - self.start_nano


def waterfall(baseline_nano: int, saved: Mapping[str, int], cost_nano: int) -> list[Step]:
    """The baseline, what each lever saved (the most first, what cost more last), what is left over, and the cost.

    Levers that neither saved nor cost anything have no step. Each step begins where the one before it ended.
    """
    steps = [Step(BASELINE, 0, baseline_nano)]
    left = baseline_nano
    for name, amount in sorted(saved.items(), key=lambda lever: (-lever[1], lever[0])):
        if amount:
            steps.append(Step(name, left, left - amount))
            left -= amount
    if left != cost_nano:
        steps.append(Step(UNMATCHED, left, cost_nano))
    return [*steps, Step(COST, 0, cost_nano)]
