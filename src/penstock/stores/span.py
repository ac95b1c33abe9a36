"""How an instant is asked for: ``7d`` (that long ago), ``2026-11-01``, ``2026-11-01T08:00+08:00``, ``now``, ``all``."""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from penstock.config.units import parse_duration
from penstock.errors import StoreError

ALL: Final = "all"


def parse_instant(text: str, now: float, timezone: str) -> float:
    """Epoch seconds. A date is its first instant in ``timezone``, a time without an offset is in it too.

    Raises StoreError for what is no instant, and for an unknown zone.
    """
    if text == ALL:
        return 0.0
    if text == "now":
        return now
    if "-" in text:
        return _written(text, timezone)
    try:
        return now - parse_duration(text)
    except ValueError:
        raise _no_instant(text) from None


def _written(text: str, timezone: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _no_instant(text) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=find_zone(timezone))).timestamp()


def find_zone(name: str) -> ZoneInfo:
    """The IANA zone of that name. Raises StoreError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise StoreError(f"there is no time zone {name!r}: write an IANA name, such as Asia/Shanghai") from error


def _no_instant(text: str) -> StoreError:
    return StoreError(f"{text!r} is no time: write 7d, 12h, 2026-11-01, 2026-11-01T08:00+08:00, now or all")
