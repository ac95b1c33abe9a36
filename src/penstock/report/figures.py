"""What the report says, from what the ledger and the budgets say. Amounts are integers of nano-units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from penstock.core.budget_report import BudgetStanding
from penstock.core.days import Unit, names_between
from penstock.core.waterfall import Step, waterfall
from penstock.ports.ledger import Overview, OverviewQuery, Speed, SpendRow

TOPS: Final = ("model", "key", "team", "tag")
"""What has a list of its dearest."""
HOURLY_S: Final = 48 * 3600.0
"""The longest span that is shown by hours."""
DAILY: Final = 92
"""The most days that are shown one by one; then months are."""
STORED: Final = ("exact", "similar")
WITHOUT_CALL: Final = (*STORED, "joined")


def groupings(since: float, until: float) -> tuple[str, ...]:
    """What to ask the ledger for."""
    return ("lever", "hour" if until - since <= HOURLY_S else "day", *TOPS)


class Period(NamedTuple):
    """An hour, a day or a month."""

    name: str
    requests: int
    cost_nano: int
    baseline_nano: int
    """At least what was saved and what it cost: so it can be drawn although some of it has no price."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one model answered; None = never, or never as a stream."""

    model: str
    end: Speed | None
    first_byte: Speed | None
    stored: Speed | None
    """From a store of answers, to the end."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One report."""

    query: OverviewQuery
    made_at: float
    currency: str
    total: SpendRow
    without_call: int
    """Requests that were answered from a store, or by another's call."""
    steps: Sequence[Step]
    unit: Unit
    periods: Sequence[Period]
    spend: Mapping[str, Sequence[SpendRow]]
    """By grouping; the dearest first, hours and days in order."""
    paces: Sequence[Pace]
    outcomes: Mapping[str, int]
    budgets: Sequence[BudgetStanding]
    """The most used first."""


def figures(
    query: OverviewQuery, found: Overview, budgets: Sequence[BudgetStanding], *, currency: str, made_at: float
) -> Figures:
    """``query`` is as ``groupings`` wants it. ``currency``: the book's, for a ledger without rows."""
    levers, total = found.spend["lever"], found.total
    unit, periods = _periods(query, found, min(query.until, made_at))
    return Figures(
        query=query,
        made_at=made_at,
        currency=total.currency or currency,
        total=total,
        without_call=sum(row.requests for row in levers if row.group in WITHOUT_CALL),
        steps=waterfall(total.baseline_nano, {row.group: row.saved_nano for row in levers}, total.cost_nano),
        unit=unit,
        periods=periods,
        spend=found.spend,
        paces=_paces(found.speeds),
        outcomes=found.outcomes,
        budgets=sorted(budgets, key=lambda standing: (-standing.ratio, -standing.used, standing.budget.name)),
    )


def _periods(query: OverviewQuery, found: Overview, until: float) -> tuple[Unit, list[Period]]:
    """All of them so far, also those without a request; of a long time those from the first request on."""
    zone = ZoneInfo(query.timezone)
    if "hour" in found.spend:
        return "hour", _filled(names_between("hour", query.since, until, zone), found.spend["hour"])
    rows = found.spend["day"]
    days = names_between("day", query.since, until, zone)
    if len(days) > DAILY:
        days = [day for day in days if rows and day >= rows[0].group]
    filled = _filled(days, rows)
    return ("day", filled) if len(filled) <= DAILY else ("month", _months(filled))


def _filled(names: Sequence[str], rows: Sequence[SpendRow]) -> list[Period]:
    known = {row.group: _period(row) for row in rows}
    return [known.get(name, Period(name, 0, 0, 0)) for name in names]


def _period(row: SpendRow) -> Period:
    return Period(row.group, row.requests, row.cost_nano, row.cost_nano + row.saved_nano)


def _months(days: Sequence[Period]) -> list[Period]:
    months: dict[str, Period] = {}
    for day in days:
        name = day.name[: len("2026-11")]
        before = months.get(name, Period(name, 0, 0, 0))
        months[name] = Period(name, *(left + right for left, right in zip(before[1:], day[1:], strict=True)))
    return list(months.values())


def _paces(speeds: Sequence[Speed]) -> list[Pace]:
    """By model, the busiest first."""
    by = {(speed.model, speed.cached, speed.to): speed for speed in speeds}
    answers = {model: sum(each.answers for each in speeds if each.model == model) for model in {key[0] for key in by}}
    return [
        Pace(model, by.get((model, False, "end")), by.get((model, False, "first_byte")), by.get((model, True, "end")))
        for model in sorted(answers, key=lambda model: (-answers[model], model))
    ]
