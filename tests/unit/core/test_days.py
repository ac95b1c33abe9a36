"""Names of hours, days and months: all that a span touches, in every zone, also where clocks are changed."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.days import Unit, name_of, names_between

ZONES = st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
SINCE = st.integers(1_700_000_000, 1_800_000_000)
BERLIN = ZoneInfo("Europe/Berlin")


@given(
    SINCE, st.integers(1, 400_000), st.floats(0, 1, exclude_max=True), ZONES, st.sampled_from(["hour", "day", "month"])
)
def test_every_instant_has_its_name_among_them(since: int, length: int, at: float, zone: str, unit: Unit) -> None:
    """The first is that of the first instant, the last that of the last second, none comes twice."""
    found, place = names_between(unit, since, since + length, ZoneInfo(zone)), ZoneInfo(zone)
    first, some, last = (
        name_of(unit, datetime.fromtimestamp(each, place))
        for each in (since, since + int(at * length), since + length - 1)
    )
    assert (found[0], found[-1]) == (first, last)
    assert some in found
    assert len(set(found)) == len(found)


def test_an_empty_span_touches_nothing() -> None:
    """No time, or less."""
    assert names_between("day", 5, 5, BERLIN) == names_between("hour", 5, 4, BERLIN) == []


def test_the_end_is_not_included() -> None:
    """A span until midnight does not touch the next day."""
    midnight = datetime(2026, 11, 2, tzinfo=BERLIN).timestamp()
    assert names_between("day", midnight - 60, midnight, BERLIN) == ["2026-11-01"]
    assert names_between("day", midnight - 60, midnight + 0.5, BERLIN) == ["2026-11-01", "2026-11-02"]


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 1), 24)])
def test_a_day_has_the_hours_that_its_clocks_show(day: tuple[int, int, int], hours: int) -> None:
    """Fewer in spring, more in autumn: an hour that comes twice has two names."""
    since = datetime(*day, tzinfo=BERLIN)
    until = datetime(day[0], day[1], day[2], 23, 59, 59, tzinfo=BERLIN)
    assert len(names_between("hour", since.timestamp(), until.timestamp() + 1, BERLIN)) == hours


def test_names_are_those_of_the_ledger() -> None:
    """An hour says its offset; a day and a month need none."""
    local = datetime(2026, 11, 22, 13, 59, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert [name_of(unit, local) for unit in ("hour", "day", "month")] == [
        "2026-11-22T13:00+08:00", "2026-11-22", "2026-11",
    ]  # fmt: skip
