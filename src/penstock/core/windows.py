"""Windows of budgets: hour, day, week and month of a time zone, and total.

A day begins at the first instant whose local date is that day: where midnight does not exist (Santiago, Cairo), at the
clock change; where it comes twice, at the first. Weeks begin on Monday. Hours are counted from the first instant of
their day, so the last one of a day may be shorter. Windows follow each other without gap or overlap, whatever clocks
do: a clock that steps back re-enters the window it left, with all that was spent there.
"""

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

WINDOWS: Final = ("hour", "day", "week", "month", "total")
HOUR_S: Final = 3600
FOREVER: Final = inf


class Span(NamedTuple):
    """[start, end) in epoch seconds; ``end`` is when the budget is reset, infinite for ``total``."""

    start: float
    end: float

    def elapsed(self, at: float) -> float | None:
        """How much of it has gone by, 0 to 1; None = it never ends."""
        if self.end == FOREVER:
            return None
        return min(1.0, max(0.0, (at - self.start) / (self.end - self.start)))


def span_at(window: str, zone: ZoneInfo, at: float) -> Span:
    """The window of that kind that holds the instant ``at``."""
    if window == "total":
        return Span(0.0, FOREVER)
    if window == "hour":
        return _hour(zone, at)
    begin = _BEGINNINGS[window](_local(zone, at).date())
    span = _between(window, zone, begin)
    while at < span.start:  # the date went back after its successor had begun
        begin = _BEGINNINGS[window](begin - timedelta(days=1))
        span = _between(window, zone, begin)
    while at >= span.end:
        begin = _following(window, begin)
        span = _between(window, zone, begin)
    return span


def _hour(zone: ZoneInfo, at: float) -> Span:
    day = span_at("day", zone, at)
    start = day.start + (at - day.start) // HOUR_S * HOUR_S
    return Span(start, min(start + HOUR_S, day.end))


@lru_cache(maxsize=1024)
def _between(window: str, zone: ZoneInfo, begin: date) -> Span:
    return Span(_first_instant(zone, begin), _first_instant(zone, _following(window, begin)))


def _following(window: str, begin: date) -> date:
    """The first day of the next window."""
    if window == "month":
        return begin + timedelta(days=calendar.monthrange(begin.year, begin.month)[1])
    return begin + timedelta(days=7 if window == "week" else 1)


_BEGINNINGS: Final = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}
"""The first day of the window that holds a day."""


def _first_instant(zone: ZoneInfo, day: date) -> float:
    """The first whole second whose local date is ``day`` or later."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    early, late = sorted((midnight.timestamp(), midnight.replace(fold=1).timestamp()))
    if _local(zone, early).date() >= day and _local(zone, early - 1).date() < day:
        return early
    low, high = int(early) - HOUR_S, int(late) + HOUR_S  # around a clock change: look for it
    while low + 1 < high:
        middle = (low + high) // 2
        if _local(zone, middle).date() >= day:
            high = middle
        else:
            low = middle
    return float(high)


def _local(zone: ZoneInfo, at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(zone)
