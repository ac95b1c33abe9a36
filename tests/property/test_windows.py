"""Windows of budgets: contiguous, monotone, and reset at the first instant of the zone's day."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.windows import WINDOWS, span_at

ZONES = (
    "Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Africa/Cairo",
    "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham",
)  # fmt: skip
"""Twelve zones: whole, half and quarter offsets, missing midnights, a missing day, half-hour summer time."""
FIRST, LAST = date(2024, 1, 1), date(2028, 12, 31)
instants = st.floats(1.0e9, 1.95e9)


def local_date(zone: ZoneInfo, at: float) -> date:
    """The date on a wall there."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).date()


@pytest.mark.parametrize("name", ZONES)
def test_every_day_of_five_years_begins_once_and_at_its_first_instant(name: str) -> None:
    """Found by walking: no day is skipped, none comes twice, and the second before it belongs to another date."""
    zone = ZoneInfo(name)
    at = datetime(FIRST.year, 1, 1, tzinfo=zone).timestamp()
    day = FIRST
    while day <= LAST:
        span = span_at("day", zone, at)
        assert span.start == at
        assert local_date(zone, at) == day
        assert local_date(zone, at - 1) < day
        assert 22 * 3600 <= span.end - span.start <= 26 * 3600
        at, day = span.end, day + timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "first_instant", "hours"),
    [
        ("America/Santiago", "2026-09-06T01:00-03:00", 23),
        ("Africa/Cairo", "2026-04-24T01:00+03:00", 23),
        ("Europe/Berlin", "2026-03-29T00:00+01:00", 23),
        ("America/New_York", "2026-11-01T00:00-04:00", 25),
    ],
)
def test_the_four_dates(name: str, first_instant: str, hours: int) -> None:
    """Where local midnight does not exist, and days of 23 and 25 hours."""
    start = datetime.fromisoformat(first_instant).timestamp()
    span = span_at("day", ZoneInfo(name), start + 7200)
    assert span == (start, start + hours * 3600)


def test_a_day_that_never_was() -> None:
    """Samoa went from 29 to 31 December 2011: the day after begins where the one before ends."""
    zone = ZoneInfo("Pacific/Apia")
    before = span_at("day", zone, datetime(2011, 12, 29, 12, tzinfo=zone).timestamp())
    after = span_at("day", zone, before.end)
    assert after.start == before.end
    assert local_date(zone, after.start) == date(2011, 12, 31)


def test_a_date_that_comes_back() -> None:
    """St. John's went back at 00:01: the day before returned for an hour, the new day was not begun anew."""
    zone = ZoneInfo("America/St_Johns")
    midnight = datetime(2010, 11, 7, tzinfo=zone).timestamp()
    span = span_at("day", zone, midnight)
    assert span.start == midnight
    assert local_date(zone, midnight + 120) == date(2010, 11, 6)
    assert span_at("day", zone, midnight + 120) == span


@given(st.sampled_from(WINDOWS), st.sampled_from(ZONES), instants)
def test_a_window_holds_its_instant_and_meets_its_neighbours(window: str, name: str, at: float) -> None:
    """Neither gap nor overlap, at any instant of any zone."""
    zone = ZoneInfo(name)
    span = span_at(window, zone, at)
    assert span.start <= at < span.end
    assert span_at(window, zone, span.start) == span
    if window != "total":
        assert span_at(window, zone, span.end).start == span.end
        assert span_at(window, zone, span.start - 0.001).end == span.start


@given(st.sampled_from(WINDOWS[:-1]), st.sampled_from(ZONES), instants, st.floats(-7200, 7200))
def test_a_step_of_the_clock_never_makes_a_new_window_of_an_old_one(
    window: str, name: str, at: float, step: float
) -> None:
    """The later instant is in the same window or a later one; back again means the same window again."""
    zone = ZoneInfo(name)
    here, there = span_at(window, zone, at), span_at(window, zone, at + step)
    assert (there.start >= here.start) == (step >= 0 or there == here)
    assert span_at(window, zone, at) == here


@given(st.sampled_from(ZONES), instants)
def test_windows_nest(name: str, at: float) -> None:
    """An hour lies within its day, a day within its week and its month."""
    zone = ZoneInfo(name)
    hour, day, week, month = (span_at(window, zone, at) for window in WINDOWS[:-1])
    assert day.start <= hour.start
    assert hour.end <= day.end
    for longer in (week, month):
        assert longer.start <= day.start
        assert day.end <= longer.end


@given(instants, st.sampled_from(WINDOWS), st.sampled_from(ZONES))
def test_a_window_goes_by_from_nothing_to_all(at: float, window: str, name: str) -> None:
    """Also for a clock that has stepped out of it; ``total`` never ends."""
    span = span_at(window, ZoneInfo(name), at)
    elapsed = span.elapsed(at)
    if window == "total":
        assert elapsed is None
        return
    assert elapsed is not None
    assert at == pytest.approx(span.start + elapsed * (span.end - span.start))
    assert [span.elapsed(each) for each in (span.start - 1, span.start, span.end, span.end + 1)] == [0, 0, 1, 1]
