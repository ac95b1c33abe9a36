"""The daily money digest: what yesterday cost and saved, as a notice. Values in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from penstock.core.budget_report import BudgetStanding
from penstock.core.money import format_amount, round_half_even
from penstock.core.notice import Notice, Part
from penstock.ports.ledger import SpendQuery, SpendRow

MOST_SHOWN: Final = 5
NEAR: Final = 0.8
"""Of a budget's limit: from there on it is told."""
NOBODY: Final = "(no team)"
_DIGITS: Final = 2
_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class Day:
    """What the ledger has of one day, by team."""

    total: SpendRow
    teams: Mapping[str, int]
    """Cost in nano-units."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What is told of one day."""

    day: date
    zone: ZoneInfo
    of_day: Day
    day_before: Day
    week_before: Day
    saved: Mapping[str, int]
    """By lever, in nano-units."""
    budgets: Sequence[BudgetStanding]
    currency: str


def yesterday(now: float, zone: ZoneInfo) -> date:
    """The last day that is over."""
    return datetime.fromtimestamp(now, zone).date() - timedelta(days=1)


def queries(day: date, zone: ZoneInfo) -> tuple[SpendQuery, SpendQuery, SpendQuery, SpendQuery]:
    """By team of that day, the day before and the same day a week before; by lever of that day."""
    before, week = day - timedelta(days=1), day - timedelta(days=_WEEK)
    return (
        _query("team", day, zone),
        _query("team", before, zone),
        _query("team", week, zone),
        _query("lever", day, zone),
    )


def day_of(rows: Sequence[SpendRow], total: SpendRow) -> Day:
    """What a query by team found."""
    return Day(total, {row.group: row.cost_nano for row in rows})


def notice_of(digest: Digest) -> Notice:
    """What people read."""
    total = digest.of_day.total
    currency = total.currency or digest.currency
    near = [each for each in digest.budgets if each.ratio >= NEAR]
    parts = [
        Part(f"Spent {_money(total.cost_nano, currency)}", tuple(_spent(digest, currency))),
        Part("By team", tuple(_teams(digest, currency))),
        Part("The biggest rise", tuple(_rise(digest, currency))),
        Part(f"Saved {_money(total.saved_nano, currency)}", tuple(_saved(digest, currency))),
        Part("Budgets near their end", tuple(map(_budget, near[:MOST_SHOWN]))),
    ]
    title = f"Penstock: {digest.day.isoformat()} ({digest.zone.key})"
    return Notice(title, "warning" if near else "info", tuple(part for part in parts if part.lines))


def _query(by: str, day: date, zone: ZoneInfo) -> SpendQuery:
    start, end = (datetime(each.year, each.month, each.day, tzinfo=zone) for each in (day, day + timedelta(days=1)))
    return SpendQuery(by, start.timestamp(), end.timestamp(), zone.key)


def _spent(digest: Digest, currency: str) -> Iterator[str]:
    total, before, week = digest.of_day.total, digest.day_before.total, digest.week_before.total
    yield f"{total.requests} requests, {total.errors} errors"
    yield (
        f"{_change(total.cost_nano, before.cost_nano)} the day before ({_money(before.cost_nano, currency)}), "
        f"{_change(total.cost_nano, week.cost_nano)} a week before ({_money(week.cost_nano, currency)})"
    )
    if total.unpriced:
        yield f"{total.unpriced} requests have no price and are not in it"
    if total.avoided_nano:
        yield f"budgets refused what would have cost about {_money(total.avoided_nano, currency)}"


def _teams(digest: Digest, currency: str) -> Iterator[str]:
    teams = sorted(digest.of_day.teams.items(), key=lambda team: (-team[1], team[0]))
    for name, cost in teams[:MOST_SHOWN]:
        share = round_half_even(100 * cost, digest.of_day.total.cost_nano) if digest.of_day.total.cost_nano else 0
        yield f"{name or NOBODY}: {_money(cost, currency)} ({share} %)"
    if rest := teams[MOST_SHOWN:]:
        yield f"{len(rest)} more: {_money(sum(cost for _, cost in rest), currency)}"


def _rise(digest: Digest, currency: str) -> Iterator[str]:
    """Against the dearer of the two days, so that neither a weekend nor one odd day makes a rise."""
    before, week = digest.day_before.teams, digest.week_before.teams

    def rise(team: str) -> int:
        return digest.of_day.teams[team] - max(before.get(team, 0), week.get(team, 0))

    rising = sorted((team for team in digest.of_day.teams if rise(team) > 0), key=lambda team: (-rise(team), team))
    for team in rising[:1]:
        then, earlier = (_money(past.get(team, 0), currency) for past in (before, week))
        yield f"{team or NOBODY}: +{_money(rise(team), currency)} (the day before {then}, a week before {earlier})"
    if digest.of_day.teams and not rising:
        yield "none: no team spent more than the day before and a week before"


def _saved(digest: Digest, currency: str) -> Iterator[str]:
    levers = sorted(digest.saved.items(), key=lambda lever: (-lever[1], lever[0]))
    yield from (f"{name or 'no lever'}: {_money(nano, currency)}" for name, nano in levers if nano)


def _budget(standing: BudgetStanding) -> str:
    value = "" if standing.budget.scope == "global" else f" of {standing.value or '(none)'}"
    ends = "" if standing.span.end == float("inf") else f", until {_day(standing)}"
    return f"{standing.budget.name}{value}: {int(100 * standing.ratio)} % used{ends}"


def _day(standing: BudgetStanding) -> str:
    return datetime.fromtimestamp(standing.span.end, standing.budget.zone).strftime("%Y-%m-%d %H:%M")


def _money(nano: int, currency: str) -> str:
    return f"{format_amount(nano, _DIGITS)} {currency}"


def _change(now: int, then: int) -> str:
    """In words that go before the day compared with."""
    if not then:
        return "as much as" if not now else "more than"
    percent = round_half_even(100 * (now - then), then)
    if not percent:
        return "as much as"
    return f"{abs(percent)} % {'more' if percent > 0 else 'less'} than"
