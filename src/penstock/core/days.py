"""The names of hours, days and months in a time zone: as the ledger groups by them, and as a calendar has them."""

import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

Unit = Literal["hour", "day", "month"]

_QUARTER_S: Final = 900
"""Since 2012 every hour of every zone begins on a quarter of one."""


def name_of(unit: Unit, local: datetime) -> str:
    """``2026-11``, ``2026-11-22``, or ``2026-11-22T13:00+08:00``: the offset tells an hour that comes twice apart."""
    if unit == "hour":
        return local.strftime("%Y-%m-%dT%H:00") + local.isoformat()[-6:]
    return local.strftime("%Y-%m-%d" if unit == "day" else "%Y-%m")


def names_between(unit: Unit, since: float, until: float, zone: ZoneInfo) -> list[str]:
    """The names of all that [since, until), epoch seconds, touches, in order."""
    if since >= until:
        return []
    if unit == "hour":
        quarters = range(math.floor(since / _QUARTER_S), math.ceil(until / _QUARTER_S))
        return _unique(name_of(unit, datetime.fromtimestamp(each * _QUARTER_S, zone)) for each in quarters)
    first, last = _date(since, zone), _date(math.nextafter(until, -math.inf), zone)
    days = (first + timedelta(days=each) for each in range((last - first).days + 1))
    return _unique(name_of(unit, datetime(day.year, day.month, day.day, tzinfo=zone)) for day in days)


def _date(at: float, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(math.floor(at), zone).date()


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
