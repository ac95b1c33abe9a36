"""An exported bill as lines. Empty lines and lines of totals are left out; what else cannot be read is a mistake."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from penstock.config.bill_cells import model_of_instance, parse_currency, parse_day, parse_money, parse_tokens
from penstock.config.bill_layouts import INSTANCES, OTHER, ROLES, UTC_DAYS, Layout
from penstock.config.bill_sheet import Sheet, read_sheet
from penstock.core.reconcile import BillLine
from penstock.errors import ConfigError

T = TypeVar("T")

MAX_MISTAKES: Final = 10
"""How many are named before the rest is only counted."""
_TOTALS: Final = re.compile(r"(合\s*计|总\s*计|小\s*计|总额|(grand |sub)?total\b|sum\b).*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a file bills, by currency ("" = the file does not say which)."""

    layout: Layout
    timezone: str
    """Of its days."""
    lines: Mapping[str, Sequence[BillLine]]


class _Mistake(Exception):
    """A line that cannot be read, and why."""


def read_bill(file: str, data: bytes, columns: Mapping[str, str], timezone: str | None = None) -> Bill:
    """The lines of a bill. ``columns``: role -> heading, before what is known of any bill; ``timezone``: of its days.

    Raises ConfigError with the lines of its mistakes.
    """
    sheet = read_sheet(file, data, columns)
    in_utc = sheet.layout is not OTHER and sheet.is_headed("date", UTC_DAYS)
    zone = ZoneInfo(timezone or ("UTC" if in_utc else sheet.layout.timezone))
    lines: dict[str, list[BillLine]] = {}
    mistakes = []
    for number, cells in sheet.records:
        record = _Record(sheet, cells)
        try:
            if record.counts:
                line = record.line(zone)
                lines.setdefault(record.currency, []).append(line)
        except _Mistake as mistake:
            mistakes.append(f"{file}:{number}: {mistake}")
    if mistakes:
        rest = len(mistakes) - MAX_MISTAKES
        raise ConfigError([*mistakes[:MAX_MISTAKES], *([f"{file}: and {rest} more lines"] if rest > 0 else [])])
    if not lines:
        raise ConfigError([f"{file}: has no line below its headings; export days on which something was used"])
    return Bill(sheet.layout, zone.key, MappingProxyType(lines))


def parse_columns(text: str) -> dict[str, str]:
    """``date=Day,amount=Cost`` -> role -> heading. Raises ValueError."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        role, _, heading = (each.strip() for each in part.partition("="))
        if not heading or role not in ROLES or role in found:
            raise ValueError(f"{part!r} is no column; write ROLE=HEADING, once per role of: {', '.join(ROLES)}")
        found[role] = heading
    return found


class _Record:
    """One line under the headings of a sheet."""

    def __init__(self, sheet: Sheet, cells: Sequence[str]) -> None:
        self._sheet = sheet
        self._cells = cells

    @property
    def counts(self) -> bool:
        """Whether it bills something: it is no line of totals, which has no day, and does not count requests."""
        first = next(cell for cell in self._cells if cell)
        if _TOTALS.fullmatch(first) or _TOTALS.fullmatch(self._cell("date")):
            return _is_day(self._cell("date"))
        return self._cell("type") not in self._sheet.layout.skipped_types

    @property
    def currency(self) -> str:
        """As its column or its amount says; "" = neither does."""
        if self._cell("currency"):
            return self._read("currency", parse_currency)
        return self._read(self._priced_by, parse_money)[1]

    def line(self, zone: ZoneInfo) -> BillLine:
        """Raises _Mistake."""
        if len(self._cells) <= max(self._sheet.places.values()):
            raise _Mistake(
                f"has {len(self._cells)} cells under {len(self._sheet.headings)} headings; export the file again"
            )
        day = self._read("date", lambda text: _day(*parse_day(text), zone))
        atto, _ = self._read(self._priced_by, parse_money)
        priced_by_token = self._priced_by == "price"
        tokens = self._read("tokens", parse_tokens) if self._cell("tokens") or priced_by_token else None
        return BillLine(day, self._model(), atto * (tokens or 0) if priced_by_token else atto, tokens)

    @property
    def _priced_by(self) -> str:
        return "amount" if "amount" in self._sheet.places else "price"

    def _model(self) -> str:
        """Empty where no column names it."""
        if "model" not in self._sheet.places:
            return ""
        return self._read("model", model_of_instance if self._sheet.is_headed("model", INSTANCES) else _named)

    def _read(self, role: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self._cell(role))
        except ValueError as error:
            heading = self._sheet.headings[self._sheet.places[role]]
            raise _Mistake(f"{heading}: {self._cell(role)!r} {error}") from None

    def _cell(self, role: str) -> str:
        place = self._sheet.places.get(role)
        return "" if place is None or place >= len(self._cells) else self._cells[place]


def _named(text: str) -> str:
    if not text:
        raise ValueError("names no model; name another column with --columns model=...")
    return text


def _is_day(text: str) -> bool:
    try:
        parse_day(text)
    except ValueError:
        return False
    return True


def _day(day: date, moment: datetime | None, zone: ZoneInfo) -> date:
    """Raises ValueError for an instant whose offset is not that of the zone: its days would be others."""
    if moment is not None and moment.astimezone(zone).utcoffset() != moment.utcoffset():
        raise ValueError(f"has another offset from UTC than {zone.key}; say with --timezone whose days these are")
    return day
