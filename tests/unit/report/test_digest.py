"""The daily digest: what it says of a day, of a quiet one, and of one that has no past."""

from collections.abc import Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from penstock.core.budget import Budget
from penstock.core.budget_report import BudgetStanding
from penstock.core.notice import Notice
from penstock.core.windows import Span
from penstock.ports.ledger import SpendRow
from penstock.report.digest import Day, Digest, notice_of, queries, yesterday

SHANGHAI = ZoneInfo("Asia/Shanghai")
NANO = 10**9


def spent(teams: Mapping[str, int], *, saved: int = 0, unpriced: int = 0, avoided: int = 0) -> Day:
    """A day, in whole CNY by team."""
    total = SpendRow(
        "total", 100, 1000, sum(teams.values()) * NANO, 0, saved * NANO, 0, unpriced, 3, avoided * NANO,
        "CNY" if teams else "",
    )  # fmt: skip
    return Day(total, {team: cost * NANO for team, cost in teams.items()})


def told(
    today: Day, before: Day, week: Day, saved: Mapping[str, int] | None = None, *budgets: BudgetStanding
) -> Notice:
    """Of the 21st."""
    levers = {lever: cost * NANO for lever, cost in (saved or {}).items()}
    return notice_of(Digest(date(2026, 11, 21), SHANGHAI, today, before, week, levers, budgets, "CNY"))


def standing(name: str, used: int, limit: int, scope: str = "global", value: str = "") -> BudgetStanding:
    """A budget's account in November."""
    end = datetime(2026, 12, 1, tzinfo=SHANGHAI).timestamp()
    budget = Budget(name=name, scope=scope, unit="money", limit=limit, window="month", zone=SHANGHAI)
    return BudgetStanding(budget, value, Span(0.0, end), limit, used, 0)


NOTHING = spent({})


def test_it_says_what_who_pays_wants_to_know() -> None:
    """Total and change, teams, the biggest rise, savings by lever, budgets near their end."""
    notice = told(
        spent({"search": 60, "support": 30, "": 10}, saved=50, unpriced=2, avoided=7),
        spent({"search": 70, "support": 10}),
        spent({"search": 100, "support": 25, "": 75}),
        {"exact": 45, "joined": 5, "direct": 0},
        standing("all", 97, 100),
        standing("per-team", 80, 100, "team", "search"),
        standing("other", 79, 100),
    )
    assert notice.title == "Penstock: 2026-11-21 (Asia/Shanghai)"
    assert notice.tone == "warning"
    assert dict(notice.parts) == {
        "Spent 100.00 CNY": (
            "100 requests, 3 errors",
            "25 % more than the day before (80.00 CNY), 50 % less than a week before (200.00 CNY)",
            "2 requests have no price and are not in it",
            "budgets refused what would have cost about 7.00 CNY",
        ),
        "By team": ("search: 60.00 CNY (60 %)", "support: 30.00 CNY (30 %)", "(no team): 10.00 CNY (10 %)"),
        "The biggest rise": ("support: +5.00 CNY (the day before 10.00 CNY, a week before 25.00 CNY)",),
        "Saved 50.00 CNY": ("exact: 45.00 CNY", "joined: 5.00 CNY"),
        "Budgets near their end": (
            "all: 97 % used, until 2026-12-01 00:00",
            "per-team of search: 80 % used, until 2026-12-01 00:00",
        ),
    }


def test_a_day_without_requests_is_one_too() -> None:
    """Nothing is divided by nothing, and nothing rose."""
    notice = told(NOTHING, NOTHING, NOTHING)
    assert [part.heading for part in notice.parts] == ["Spent 0.00 CNY"]
    assert notice.parts[0].lines[1].startswith("as much as the day before (0.00 CNY), as much as a week")
    assert notice.tone == "info"


def test_a_first_day_rises_from_nothing() -> None:
    """More than nothing is no percentage."""
    parts = dict(told(spent({"a": 5}), NOTHING, NOTHING).parts)
    assert "more than the day before (0.00 CNY)" in parts["Spent 5.00 CNY"][1]
    assert parts["The biggest rise"] == ("a: +5.00 CNY (the day before 0.00 CNY, a week before 0.00 CNY)",)


def test_a_weekly_habit_is_no_rise() -> None:
    """It must be more than the day before and than a week before."""
    parts = dict(told(spent({"a": 50}), spent({"a": 5}), spent({"a": 50})).parts)
    assert parts["The biggest rise"] == ("none: no team spent more than the day before and a week before",)


def test_many_teams_are_summed_up() -> None:
    """The five dearest, and the rest together."""
    parts = dict(told(spent({f"t{number}": 10 - number for number in range(8)}), NOTHING, NOTHING).parts)
    assert len(parts["By team"]) == 6
    assert parts["By team"][-1] == "3 more: 12.00 CNY"


def test_days_are_those_of_the_zone() -> None:
    """From midnight to midnight there, also where the clocks are changed."""
    zone = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 10, 26, 0, 30, tzinfo=zone).timestamp()
    day = yesterday(now, zone)
    today, before, week, lever = queries(day, zone)
    assert day == date(2026, 10, 25)
    assert (today.until - today.since, before.until - before.since) == (25 * 3600, 24 * 3600)
    assert before.until == today.since
    assert week.since == datetime(2026, 10, 18, tzinfo=zone).timestamp()
    assert (today.by, lever.by, lever.since, lever.timezone) == ("team", "lever", today.since, "Europe/Berlin")
