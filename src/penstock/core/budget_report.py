"""Budgets as they are shown: by the command line, by the admin API, and in the answer of a refused request.

Amounts are decimal strings, exact to the nano-unit; tokens are whole numbers in such strings. Instants are ISO 8601 in
the budget's zone.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from penstock.core.budget import Budget, Payer
from penstock.core.money import DECIMALS, format_amount
from penstock.core.records import OPEN, AttemptRow, ExchangeRow
from penstock.core.windows import FOREVER, Span

TOKENS: Final = "tokens"

Row = dict[str, object]


class BudgetStanding(NamedTuple):
    """One account as it stands. Amounts are integers in the unit of its budget."""

    budget: Budget
    value: str
    span: Span
    limit: int
    used: int
    """Posted: what was billed."""
    pending: int
    """Held by attempts that have not ended."""

    @property
    def ratio(self) -> float:
        """Used per limit."""
        return used_ratio(self.used, self.limit)


def used_ratio(used: int, limit: int) -> float:
    """Used per limit. Of a limit of nothing: 1 once something was used."""
    return used / limit if limit else float(used > 0)


def standings(budget: Budget, span: Span, used: Mapping[str, int], pending: Mapping[str, int]) -> list[BudgetStanding]:
    """The accounts of one window, most used first: those with something on them, and those with a limit of their own.

    ``used`` and ``pending``: amounts by scope value. ``global`` has its one account always.
    """
    always = ("",) if budget.scope == "global" else tuple(budget.entries)
    found = [
        BudgetStanding(budget, value, span, budget.limit_of(value), used.get(value, 0), pending.get(value, 0))
        for value in dict.fromkeys((*always, *used, *pending))
    ]
    return sorted(found, key=lambda standing: (-standing.ratio, -standing.used, standing.value))


def open_holds(
    budget: Budget, span: Span, left_open: Iterable[tuple[ExchangeRow, Sequence[AttemptRow]]]
) -> dict[str, int]:
    """What attempts that have not ended hold of a budget, by scope value, as the ledger tells."""
    held: dict[str, int] = {}
    for exchange, attempts in left_open:
        amount = sum(
            (attempt.held_nano or 0) if budget.unit == "money" else attempt.held_tokens
            for attempt in attempts
            if attempt.outcome == OPEN and span.start <= attempt.started_at < span.end
        )
        for value in payer_of(exchange).values(budget.scope):
            held[value] = held.get(value, 0) + amount
    return {value: amount for value, amount in held.items() if amount}


def payer_of(row: ExchangeRow) -> Payer:
    """Whose money an exchange spent."""
    tags = tuple(f"{name}={value}" for name, value in row.tags.items())
    return Payer(team=row.team, key=row.key_name, user=row.user, model=row.model, tags=tags)


def budget_rows(found: Iterable[BudgetStanding], currency: str) -> list[Row]:
    """A row per account. ``currency``: the book's."""
    return [_row(standing, currency) for standing in found]


def refusal_fields(refused_by: Mapping[str, str | int | float | None]) -> Row:
    """What ``BudgetExceeded`` knows, for the answer: ``unit`` is ``tokens`` or the currency.

    ``resets_at`` is in the zone that ``timezone`` names, UTC without one; null = never.
    """
    unit, resets_at = str(refused_by["unit"]), refused_by["resets_at"]
    zone = str(refused_by.get("timezone") or "UTC")
    shown = {name: value for name, value in refused_by.items() if name != "timezone"}
    amounts = {name: _amount(int(refused_by[name] or 0), unit) for name in ("used", "limit")}
    never = resets_at is None or resets_at == FOREVER
    return {
        **shown,
        **amounts,
        "currency": None if unit == TOKENS else unit,
        "resets_at": None if never else _instant(float(resets_at or 0), ZoneInfo(zone)),
    }


def _row(standing: BudgetStanding, currency: str) -> Row:
    budget, used, limit = standing.budget, standing.used, standing.limit
    unit = currency if budget.unit == "money" else TOKENS
    end = standing.span.end
    return {
        "budget": budget.name,
        "scope": budget.scope,
        "value": standing.value,
        "unit": unit,
        "used": _amount(used, unit),
        "pending": _amount(standing.pending, unit),
        "limit": _amount(limit, unit),
        "remaining": _amount(max(0, limit - used - standing.pending), unit),
        "usage_percentage": _percentage(standing),
        "currency": currency if unit == currency else None,
        "window": budget.window,
        "resets_at": None if end == FOREVER else _instant(end, budget.zone),
        "hard": budget.hard,
    }


def _percentage(standing: BudgetStanding) -> float:
    """To two decimals, never rounded up: 100 is used up."""
    if not standing.limit:
        return 100.0 * standing.ratio
    return 10_000 * standing.used // standing.limit / 100


def _amount(amount: int, unit: str) -> str:
    return str(amount) if unit == TOKENS else format_amount(amount, DECIMALS)


def _instant(at: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")
