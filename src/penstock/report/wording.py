"""Figures as people read them. Pure."""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from penstock.core.money import DECIMALS, NANO, format_amount

NOBODY: Final = "(none)"
"""How a report shows whose requests have no such name."""

STEPS: Final = {
    "baseline": "Without Penstock",
    "exact": "Exact cache",
    "joined": "Joined requests",
    "similar": "Similar cache",
    "prefix": "Prefix cache",
    "routing": "Routing",
    "compression": "Compression",
    "off-peak": "Off-peak",
    "packing": "Packing",
    "hedging": "Hedging",
    "direct": "Failed calls, tariffs",
    "unmatched": "Without a known price",
    "cost": "Cost",
}
"""What a bar of the waterfall is called; a lever that is not here keeps its name."""

LONGEST: Final = 120
"""Characters of a name."""

CUT: Final = "\u2026"
UNPRINTABLE: Final = "\ufffd"

NOTHING: Final = "\u2013"
"""Where there is no figure."""

_COARSE: Final = ((100 * NANO, 2), (NANO, 4))
_FINE: Final = 6
_UNITS: Final = ((10**9, "billion"), (10**6, "million"))
_MINUTE_S: Final = 100.0


def digits_for(highest_nano: int) -> int:
    """How many decimals amounts are shown with where the highest is this."""
    return next((digits for least, digits in _COARSE if highest_nano >= least), _FINE)


def money(nano: int, digits: int = _FINE) -> str:
    """``1,234.50``; what is too little to show is ``<0.01``, not nothing."""
    shown = grouped(format_amount(nano, digits))
    if nano and not shown.strip("-0.,"):
        return f"{'>-' if nano < 0 else '<'}{format_amount(10 ** (DECIMALS - digits), digits)}"
    return shown


def fine_money(nano: int) -> str:
    """The amount of one request: what is left of it is small."""
    return money(nano, max(4, digits_for(nano * 10)))


def amount_on_axis(nano: int) -> str:
    """The shortest way to write it."""
    text = format_amount(nano, DECIMALS)
    return grouped(text.rstrip("0").rstrip("."))


def count(number: int) -> str:
    """``1,234``, ``12.3 million``."""
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:,}"


def percent(part: int, whole: int) -> str:
    """``36.1 %``; of nothing a dash. What is not all is never 100."""
    if not whole:
        return NOTHING
    tenths = abs(part) * 1000 // abs(whole)
    return f"{'-' if part * whole < 0 and tenths else ''}{tenths // 10}.{tenths % 10} %"


def seconds(value: float) -> str:
    """``4 ms``, ``1.25 s``, ``130 s``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < _MINUTE_S else f"{value:.0f} s"


def instant(at: float, zone: ZoneInfo) -> str:
    """``2026-11-22 13:05``."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")


def named(text: str) -> str:
    """A name that a client or an operator gave, without what steers a display; of a long one the beginning."""
    begin = text if len(text) <= LONGEST else text[: LONGEST - 1] + CUT
    return "".join(char if char.isprintable() else UNPRINTABLE for char in begin) or NOBODY


def step(name: str) -> str:
    """What a bar of the waterfall is called."""
    return STEPS.get(name, name or NOBODY)


def grouped(number: str) -> str:
    """Thousands apart."""
    whole, point, part = number.partition(".")
    return f"{int(whole):,}{point}{part}" if whole not in ("-0", "0") else number
