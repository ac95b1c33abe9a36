"""Which month an exchange lies in: the one that its id begins with. Pure.

All rows of an exchange go by its id, so they lie together whenever they are written; a month is dropped whole.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

NO_MONTH: Final = 0
"""Of an id that says no time of ours."""

_ID_TIME: Final = 12
"""Hex digits of milliseconds that our names begin with (clock.TimeIds)."""
_FIRST, _LAST = 2020 * 12, 2100 * 12
_MS_PER_DAY: Final = 86_400_000


class Months:
    """The months of ids; asked for once per row of traffic, so days are remembered."""

    def __init__(self) -> None:
        self._of_day: dict[int, int] = {}

    def of(self, exchange_id: str) -> int:
        """Year * 12 + month - 1; ``NO_MONTH`` where the id says none between 2020 and 2100."""
        digits = exchange_id.rpartition("_")[2]
        try:
            day = int(digits[:_ID_TIME], 16) // _MS_PER_DAY if len(digits) > _ID_TIME else 0
        except ValueError:
            return NO_MONTH
        month = self._of_day.get(day)
        if month is None:
            month = self._of_day[day] = _month_of_day(day)
        return month


def month_at(at: float) -> int:
    """The month of an instant, epoch seconds, UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.year * 12 + moment.month - 1


def months_after(month: int, count: int) -> Iterator[int]:
    """``month`` and as many after it."""
    return iter(range(month, month + count + 1))


def name_of(month: int) -> str:
    """``2026_11``."""
    return f"{month // 12}_{month % 12 + 1:02}"


def begin_of(month: int) -> float:
    """Its first instant, epoch seconds, UTC."""
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()


def _month_of_day(day: int) -> int:
    seconds = day * 86_400
    if seconds >= 1 << 33:
        return NO_MONTH
    month = month_at(seconds)
    return month if _FIRST <= month < _LAST else NO_MONTH
