"""When a price list is at peak: daily windows in a time zone, on weekdays, never on public holidays.

Windows and weekdays are read on the wall clock of the schedule's own zone: DeepSeek's Monday to Friday are Beijing's
(https://api-docs.deepseek.com/zh-cn/quick_start/pricing, note 2), which is not the same as UTC's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Final, NamedTuple

Holidays = Mapping[int, frozenset[date]]
"""Year -> its public holidays. A year that is missing is unknown, not free of them."""

_GRID_S: Final = 900
"""Every zone's offset changes on a quarter of an hour, UTC."""

_DAY: Final = timedelta(days=1)


class Window(NamedTuple):
    """From ``start`` until before ``end``, minutes after midnight; over midnight when ``end`` <= ``start``."""

    start: int
    end: int


class Span(NamedTuple):
    """One tariff from ``since`` until before ``until``, seconds since the epoch."""

    peak: bool
    since: float
    until: float
    unknown_year: int | None
    """The year whose public holidays the calendar lacks: its holidays are priced like other days."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The windows of a week."""

    name: str
    zone: tzinfo
    windows: tuple[Window, ...]
    windows_are_peak: bool
    """Or off-peak, with peak everywhere else."""
    weekdays: frozenset[int]
    """The days (Monday = 0) on which a window may begin."""
    holidays: Holidays | None = field(repr=False)
    """These days are off-peak from midnight to midnight. None = holidays are like other days."""

    def span(self, at: float) -> Span:
        """The tariff at ``at`` and how long it holds, at least."""
        local = datetime.fromtimestamp(at, self.zone)
        since, until = self._bounds(at, local)
        return Span(self._is_peak(local), since, until, self._unknown_year(local))

    def _is_peak(self, local: datetime) -> bool:
        if self.holidays is not None and local.date() in self.holidays.get(local.year, ()):
            return False
        inside = any(self._inside(window, local) for window in self.windows)
        return inside == self.windows_are_peak

    def _inside(self, window: Window, local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        today = local.weekday() in self.weekdays
        if window.start < window.end:
            return today and window.start <= minute < window.end
        yesterday = (local.weekday() - 1) % 7 in self.weekdays
        return (today and minute >= window.start) or (yesterday and minute < window.end)

    def _unknown_year(self, local: datetime) -> int | None:
        return local.year if self.holidays is not None and local.year not in self.holidays else None

    def _bounds(self, at: float, local: datetime) -> tuple[float, float]:
        """The nearest instants around ``at`` where the tariff may change; the clock itself may not change between."""
        marks = sorted({mark for day in (-1, 0, 1, 2) for mark in self._marks(local.date() + day * _DAY)})
        since, until = next((a, b) for a, b in pairwise(marks) if a <= at < b)
        if self._offset(since) != self._offset(until):
            cell = at - at % _GRID_S
            return max(since, cell), min(until, cell + _GRID_S)
        return since, until

    def _marks(self, day: date) -> list[float]:
        """Midnight and the windows' edges on ``day``; an hour that a clock change repeats, both times."""
        midnight = datetime.combine(day, time())
        minutes = {0, *(minute for window in self.windows for minute in window)}
        walls = [midnight + timedelta(minutes=minute) for minute in minutes]
        return [wall.replace(tzinfo=self.zone, fold=fold).timestamp() for wall in walls for fold in (0, 1)]

    def _offset(self, at: float) -> timedelta | None:
        return datetime.fromtimestamp(at, self.zone).utcoffset()
