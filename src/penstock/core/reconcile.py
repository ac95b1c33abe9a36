"""The ledger held against what a provider says: its bill per day and model, and the change of its balance. Pure.

Exact: a bill's lines are summed as integers of 1e-18 and rounded once per row, half to even, to the ledger's
nano-units; totals are sums of rows. A day is a date of the bill's time zone. The ledger comes as sums per quarter of an
hour: every zone's days begin on one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from penstock.core.money import NANO, round_half_even

QUARTER_S: Final = 900
ATTO_PER_NANO: Final = 10**9


class BillLine(NamedTuple):
    """A line of a bill: ``atto`` is 1e-18 of its currency."""

    day: date
    model: str
    atto: int
    tokens: int | None = None


class Charges(NamedTuple):
    """What the calls to one deployment that ended (or began, by ``billed_at``) in one quarter were charged."""

    quarter: int
    """Epoch seconds // 900."""
    deployment: str
    currency: str
    """Of ``nano``; "" = none of them has a price."""
    calls: int
    tokens: int
    nano: int
    book_nano: int
    estimated_nano: int
    """The part of ``nano`` whose tokens are our own count."""
    estimated_book_nano: int
    unpriced: int
    """Calls that no price covers: not in the amounts."""


class Charged(NamedTuple):
    """An amount of one currency and its estimated part."""

    nano: int
    estimated_nano: int


@dataclass(slots=True)
class Drift:
    """A day and model on both sides. ``billed_tokens`` None = the bill names none."""

    day: date | None
    model: str
    calls: int = 0
    tokens: int = 0
    ledger_nano: int = 0
    estimated_nano: int = 0
    unpriced: int = 0
    billed_nano: int = 0
    billed_tokens: int | None = None

    @property
    def drift_nano(self) -> int:
        """What the bill has more than the ledger."""
        return self.billed_nano - self.ledger_nano

    @property
    def drift_percent(self) -> Decimal | None:
        """Of the billed amount, two decimals; None when nothing was billed."""
        return percent(self.drift_nano, self.billed_nano)


def percent(part: int, whole: int) -> Decimal | None:
    """``part`` in hundredths of ``whole``, two decimals, half to even; None of nothing."""
    if not whole:
        return None
    return Decimal(round_half_even(part * 10_000 * (1 if whole > 0 else -1), abs(whole))).scaleb(-2)


def converted(charges: Charges, currency: str, book: str, fx: Mapping[str, Decimal]) -> Charged:
    """The amounts in ``currency``: as charged, where they are in it, else through the ``book`` currency.

    ``fx``: book currency per unit of each other one. Raises ValueError when it lacks ``currency`` and needs it.
    """
    if charges.currency in {"", currency}:
        return Charged(charges.nano, charges.estimated_nano)
    if currency == book:
        return Charged(charges.book_nano, charges.estimated_book_nano)
    if currency not in fx:
        raise ValueError(f"there is no rate from {book} to {currency}; add `fx: {{{currency}: ...}}` to the config")
    numerator, denominator = fx[currency].as_integer_ratio()
    amounts = (charges.book_nano, charges.estimated_book_nano)
    return Charged(*(round_half_even(nano * denominator, numerator) for nano in amounts))


def sum_in(charges: Iterable[Charges], currency: str, book: str, fx: Mapping[str, Decimal]) -> Charged:
    """All of them in ``currency``. Raises ValueError as ``converted`` does."""
    amounts = [converted(each, currency, book, fx) for each in charges]
    return Charged(sum(each.nano for each in amounts), sum(each.estimated_nano for each in amounts))


def day_of(quarter: int, zone: ZoneInfo) -> date:
    """The date on a wall there."""
    return datetime.fromtimestamp(quarter * QUARTER_S, UTC).astimezone(zone).date()


def drifts(
    lines: Iterable[BillLine],
    charges: Iterable[Charges],
    *,
    zone: ZoneInfo,
    name_of: Callable[[str, date], str],
    amount_of: Callable[[Charges], Charged],
) -> list[Drift]:
    """A row per day and model that either side knows, in order.

    ``name_of``: the model that a name of either side was on that day; ``amount_of``: in the bill's currency.
    """
    rows: dict[tuple[date, str], Drift] = {}

    def row(day: date, name: str) -> Drift:
        model = name_of(name, day)
        return rows.setdefault((day, model), Drift(day, model))

    for each in charges:
        _add_charges(row(day_of(each.quarter, zone), each.deployment.partition("/")[2]), each, amount_of(each))
    sums: dict[tuple[date, str], int] = {}
    for line in lines:
        found = row(line.day, line.model)
        key = (line.day, found.model)
        sums[key] = sums.get(key, 0) + line.atto
        if line.tokens is not None:
            found.billed_tokens = (found.billed_tokens or 0) + line.tokens
    for key, atto in sums.items():
        rows[key].billed_nano = round_half_even(atto, ATTO_PER_NANO)
    return [rows[key] for key in sorted(rows)]


def _add_charges(row: Drift, charges: Charges, charged: Charged) -> None:
    row.calls += charges.calls
    row.tokens += charges.tokens
    row.unpriced += charges.unpriced
    row.ledger_nano += charged.nano
    row.estimated_nano += charged.estimated_nano


def total_of(rows: Sequence[Drift]) -> Drift:
    """The sum of all rows."""
    total = Drift(None, "")
    for row in rows:
        total.calls += row.calls
        total.tokens += row.tokens
        total.unpriced += row.unpriced
        total.ledger_nano += row.ledger_nano
        total.estimated_nano += row.estimated_nano
        total.billed_nano += row.billed_nano
        if row.billed_tokens is not None:
            total.billed_tokens = (total.billed_tokens or 0) + row.billed_tokens
    return total


class Balance(NamedTuple):
    """What a provider said that an account holds, at an instant in epoch seconds; nano-units of ``currency``."""

    provider: str
    currency: str
    at: float
    total_nano: int
    granted_nano: int
    topped_up_nano: int


class BalanceChange(NamedTuple):
    """Two balances of one account and currency, and what the ledger charged between them."""

    before: Balance
    now: Balance
    charged: Charged
    paid_in_nano: int | None = None
    """What was paid in between; None = nobody said."""

    @property
    def change_nano(self) -> int:
        """What the balance rose by; below zero: fell."""
        return self.now.total_nano - self.before.total_nano

    @property
    def rose(self) -> bool:
        """Whether something was surely paid in: spending lets neither a balance nor a part of it grow."""
        before, now = self.before, self.now
        grown = now.granted_nano > before.granted_nano or now.topped_up_nano > before.topped_up_nano
        return grown or self.change_nano > 0

    @property
    def topped_up_nano(self) -> int:
        """What was paid in: as said, else what the ledger leaves to explain of a rise, else nothing."""
        if self.paid_in_nano is not None:
            return self.paid_in_nano
        return max(0, self.change_nano + self.charged.nano) if self.rose else 0

    @property
    def drift_nano(self) -> int | None:
        """What the balance lost more than the ledger charged; None: unknown, because it rose by nobody knows what."""
        if self.rose and self.paid_in_nano is None:
            return None
        return self.topped_up_nano - self.change_nano - self.charged.nano

    @property
    def drift_ratio(self) -> float | None:
        """The drift, either way, per what the ledger charged; None = it is unknown.

        Less than a unit counts as a unit: balances have two decimals, so that what is rounded there is no drift, and
        an account that falls though nothing was charged is one.
        """
        drift_nano = self.drift_nano
        return None if drift_nano is None else abs(drift_nano) / max(self.charged.nano, NANO)
