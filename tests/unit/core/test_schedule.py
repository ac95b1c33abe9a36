"""A schedule says peak or off-peak for every instant, and how long that holds."""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from penstock.core.schedule import Schedule, Span, Window
from tests.support.instants import epoch

WEEK = frozenset(range(7))
WORKDAYS = frozenset(range(5))
OFFICE = (Window(9 * 60, 12 * 60), Window(14 * 60, 18 * 60))
HOLIDAYS = {2026: frozenset({date(2026, 10, 1)})}
MONDAY = epoch("2026-11-09T00:00+08:00")
HOUR = 3600.0


def beijing(weekdays: frozenset[int], holidays: dict[int, frozenset[date]] | None = None) -> Schedule:
    """DeepSeek's windows."""
    return Schedule("test", ZoneInfo("Asia/Shanghai"), OFFICE, True, weekdays, holidays)


def spans(schedule: Schedule, since: float, until: float) -> Iterator[Span]:
    """The spans that follow one another from ``since`` on."""
    while since < until:
        span = schedule.span(since)
        yield span
        since = span.until


@pytest.mark.parametrize(("weekdays", "hours"), [(WEEK, 49), (WORKDAYS, 35)])
def test_the_spans_partition_the_week(weekdays: frozenset[int], hours: int) -> None:
    """Every hour of a week without holidays belongs to one span, and 35 of 168 (49 daily) are at peak."""
    week = list(spans(beijing(weekdays), MONDAY, MONDAY + 168 * HOUR))
    assert all(one.until == other.since for one, other in pairwise(week))
    assert (week[0].since, week[-1].until) == (MONDAY, MONDAY + 168 * HOUR)
    assert sum(span.until - span.since for span in week if span.peak) == hours * HOUR


@pytest.mark.parametrize(
    ("at", "peak"),
    [
        ("2026-11-20T08:59:59+08:00", False),
        ("2026-11-20T09:00:00+08:00", True),
        ("2026-11-20T11:59:59+08:00", True),
        ("2026-11-20T12:00:00+08:00", False),
        ("2026-11-20T13:59:59+08:00", False),
        ("2026-11-20T14:00:00+08:00", True),
        ("2026-11-20T17:59:59+08:00", True),
        ("2026-11-20T18:00:00+08:00", False),
        ("2026-11-21T10:00:00+08:00", False),
        ("2026-10-01T10:00:00+08:00", False),
        ("2026-10-02T10:00:00+08:00", True),
    ],
)
def test_windows_weekdays_and_holidays(at: str, peak: bool) -> None:  # noqa: FBT001 - a column of the table
    """A window includes its first second and not its end; weekends and holidays have no peak."""
    assert beijing(WORKDAYS, HOLIDAYS).span(epoch(at)).peak is peak


def test_the_weekday_is_the_zones_own() -> None:
    """A window at 20:00 UTC on a Sunday is Monday's in Beijing: weekdays are never UTC's."""
    early = Schedule("early", ZoneInfo("Asia/Shanghai"), (Window(4 * 60, 5 * 60),), True, WORKDAYS, None)
    assert early.span(epoch("2026-11-08T20:30Z")).peak
    assert not early.span(epoch("2026-11-13T20:30Z")).peak


@pytest.mark.parametrize(
    ("at", "peak"),
    [
        ("2025-06-01T16:29:59Z", True),
        ("2025-06-01T16:30:00Z", False),
        ("2025-06-02T00:00:00Z", False),
        ("2025-06-02T00:29:59Z", False),
        ("2025-06-02T00:30:00Z", True),
    ],
)
def test_a_window_may_cross_midnight(at: str, peak: bool) -> None:  # noqa: FBT001 - a column of the table
    """The night discount of 2025 ran from 16:30 to 00:30 UTC."""
    night = Schedule("night", ZoneInfo("UTC"), (Window(990, 30),), False, WEEK, None)
    assert night.span(epoch(at)).peak is peak


def test_a_crossing_window_belongs_to_the_day_it_begins_on() -> None:
    """Friday's night window runs into Saturday morning; Saturday's own does not exist."""
    nights = Schedule("nights", ZoneInfo("UTC"), (Window(22 * 60, 8 * 60),), True, WORKDAYS, None)
    assert nights.span(epoch("2026-11-21T07:59Z")).peak
    assert not nights.span(epoch("2026-11-21T22:00Z")).peak
    assert not nights.span(epoch("2026-11-23T07:59Z")).peak


def test_an_unknown_year_has_no_holidays_and_says_so() -> None:
    """Nobody undercharges for a calendar that is missing: the 1st of October 2027 is at peak."""
    schedule = beijing(WORKDAYS, HOLIDAYS)
    span = schedule.span(epoch("2027-10-01T10:00+08:00"))
    assert (span.peak, span.unknown_year) == (True, 2027)
    assert schedule.span(epoch("2026-10-01T10:00+08:00")).unknown_year is None
    assert beijing(WORKDAYS).span(epoch("2027-10-01T10:00+08:00")).unknown_year is None


def test_a_clock_change_moves_the_windows() -> None:
    """In New York 02:30 does not exist on 2026-03-08, and 01:30 comes twice on 2026-11-01: the wall clock rules."""
    nights = Schedule("nights", ZoneInfo("America/New_York"), (Window(90, 150),), True, WEEK, None)
    in_spring = [nights.span(epoch(at)).peak for at in ("2026-03-08T06:29Z", "2026-03-08T06:30Z", "2026-03-08T07:00Z")]
    in_autumn = [nights.span(epoch(at)).peak for at in ("2026-11-01T05:30Z", "2026-11-01T06:00Z", "2026-11-01T06:30Z")]
    assert in_spring == [False, True, False]
    assert nights.span(epoch("2026-03-08T06:55Z")).until == epoch("2026-03-08T07:00Z")
    odd = Schedule("odd", ZoneInfo("America/New_York"), (Window(97, 150),), True, WEEK, None)
    assert odd.span(epoch("2026-11-01T06:31Z")).until == epoch("2026-11-01T06:37Z")
    assert in_autumn == [True, False, True]
