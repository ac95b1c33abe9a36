"""What the demo found, in the words of the person who pays: before, after, change, and what that makes of a month.

Pure arithmetic on the figures of two ways of sending the same traffic. ``after`` costs what the gateway's ledger says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple, TypeVar

MONTH_CNY = Decimal(12_800)
"""The month of the founding story: what the bill was before anything was measured."""

_NANO = 10**9

_Figure = TypeVar("_Figure", int, float)


@dataclass(frozen=True, slots=True)
class Leg:
    """The traffic on one of its two ways. ``latencies_s`` are those of the answered questions, in any order."""

    requests: int
    errors: int
    hits: int
    """Answered without asking the provider: exact and joined."""
    cost_nano: int
    latencies_s: Sequence[float]

    @property
    def hit_share(self) -> float:
        """Hits among all requests."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def error_share(self) -> float:
        """Errors among all requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def mean_s(self) -> float:
        """Mean time to the end of the answer."""
        return sum(self.latencies_s) / len(self.latencies_s) if self.latencies_s else 0.0

    @property
    def p95_s(self) -> float:
        """The time within which 95 of 100 questions were answered."""
        return quantile(self.latencies_s, 95)


class Line(NamedTuple):
    """One row of the table."""

    what: str
    before: str
    after: str
    change: str
    gain: float = 0.0
    """Above 0: better after than before; below: worse."""


@dataclass(frozen=True, slots=True)
class Month:
    """The founding story's month, scaled by what this traffic cost on either way."""

    before: Decimal
    after: Decimal
    requests: int
    """How many questions like these that month holds."""

    @property
    def saved(self) -> Decimal:
        """What does not have to be paid."""
        return self.before - self.after


def quantile(values: Sequence[float], per_hundred: int) -> float:
    """The smallest value that is not exceeded by ``per_hundred`` of 100 values; 0 of none."""
    rank = -(-per_hundred * len(values) // 100)
    return sorted(values)[max(1, rank) - 1] if values else 0.0


def comparison(before: Leg, after: Leg) -> list[Line]:
    """The table, top to bottom."""
    saved_nano = before.cost_nano - after.cost_nano
    hits, errors = after.hit_share - before.hit_share, after.error_share - before.error_share
    return [
        _less("Cost", money, before.cost_nano, after.cost_nano),
        Line("Saved", "-", money(saved_nano), f"{percent(saved_nano, before.cost_nano)} of the bill", saved_nano),
        _less("Mean time to answer", time, before.mean_s, after.mean_s),
        _less("P95 time to answer", time, before.p95_s, after.p95_s),
        Line("Cache hit rate", share(before.hit_share), share(after.hit_share), points(hits), hits),
        Line("Error rate", share(before.error_share), share(after.error_share), points(errors), -errors),
    ]


def _less(what: str, show: Callable[[_Figure], str], before: _Figure, after: _Figure) -> Line:
    """A line where less is better."""
    return Line(what, show(before), show(after), relative(before, after), before - after)


def month(before: Leg, after: Leg) -> Month:
    """The month that cost ``MONTH_CNY``, had it gone the other way. Without any cost, nothing changes."""
    if not before.cost_nano:
        return Month(MONTH_CNY, MONTH_CNY, 0)
    scale = MONTH_CNY * _NANO / before.cost_nano
    after_cny = (scale * after.cost_nano / _NANO).quantize(Decimal(1), ROUND_HALF_EVEN)
    return Month(MONTH_CNY, after_cny, int(scale * before.requests))


def by_lever(saved_nano: Mapping[str, int]) -> str:
    """What the ledger books to each lever, the largest first."""
    ranked = sorted(saved_nano.items(), key=lambda item: -item[1])
    return ", ".join(f"{lever} {money(amount)}" for lever, amount in ranked if amount)


def money(nano: int) -> str:
    """Nano-yuan as yuan with four decimals: one question costs a fraction of a fen."""
    return f"{Decimal(nano) / _NANO:.4f} CNY"


def whole_money(amount: Decimal) -> str:
    """An amount of a month."""
    return f"{amount:,.0f} CNY"


def time(seconds: float) -> str:
    """A latency."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def share(value: float) -> str:
    """A rate."""
    return f"{100 * value:.1f} %"


def percent(part: float, whole: float) -> str:
    """A part of a whole."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def relative(before: float, after: float) -> str:
    """The change as a share of ``before``."""
    return f"{100 * (after - before) / before:+.1f} %" if before else "-"


def points(change: float) -> str:
    """The change of a rate, in percentage points."""
    return f"{100 * change:+.1f} points"
