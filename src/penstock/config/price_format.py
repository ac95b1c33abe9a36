"""The format of a price file: the shape of each part, as text becomes exact values (docs/reference/prices.md)."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails

from penstock.core.money import is_currency, parse_decimal
from penstock.core.pricing import rate_nano
from penstock.core.schedule import Window

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LAST_MINUTE: Final = 24 * 60


def _rate(value: object) -> int:
    """Nano-units per million tokens, from the digits as written."""
    return rate_nano(parse_decimal(_text(value)))


def _instant(value: object) -> float:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        raise ValueError("is no point in time; write one like 2026-09-10T04:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("lacks its time zone; write UTC, like 2026-09-10T04:00Z")
    return moment.timestamp()


def _date(value: object) -> str:
    try:
        return date.fromisoformat(_text(value)).isoformat()
    except ValueError:
        raise ValueError("is no date; write one like 2026-09-10") from None


def _currency(value: object) -> str:
    if not is_currency(code := _text(value)):
        raise ValueError("is no currency; write three capital letters, like CNY")
    return code


def _zone(value: object) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone; write an IANA name, like Asia/Shanghai") from None


def _window(value: object) -> Window:
    start, _, end = _text(value).partition("-")
    window = Window(_minute(start), _minute(end))
    if window.start == window.end:
        raise ValueError("is an empty window; write its end after its start")
    return window


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if not (len(hours) == len(minutes) == 2 and (hours + minutes).isdecimal() and int(minutes) < 60):  # noqa: PLR2004 - hh:mm
        raise ValueError("is no window; write one like 09:00-12:00")
    minute = int(hours) * 60 + int(minutes)
    if minute > _LAST_MINUTE:
        raise ValueError("leaves the day; the last time is 24:00")
    return minute


def _up_to(value: object) -> int:
    text = _text(value)
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10):  # noqa: PLR2004 - below a milliard tokens
        raise ValueError("is no number of tokens; write digits only, like 32000")
    return int(text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be one plain value")  # noqa: TRY004 - only a ValueError becomes a mistake
    return value


def _as_tiers(value: object) -> object:
    """One set of rates is a list of one tier."""
    return [value] if isinstance(value, Mapping) else value


def _ascending(tiers: "list[RatesPart]") -> "list[RatesPart]":
    bounds = [tier.up_to for tier in tiers]
    closed = [bound for bound in bounds if bound is not None]
    if None in bounds[:-1] or closed != sorted(set(closed)):
        raise ValueError("has tiers out of order; sort them by up_to, the one without up_to last")
    return tiers


Rate = Annotated[int, BeforeValidator(_rate)]
Instant = Annotated[float, BeforeValidator(_instant)]
Date = Annotated[str, BeforeValidator(_date)]
Name = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class RatesPart(_Part):
    """Prices per million tokens, up to a prompt length where they depend on it."""

    input: Rate
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    output: Rate
    up_to: Annotated[int, BeforeValidator(_up_to)] | None = None


Tiers = Annotated[list[RatesPart], BeforeValidator(_as_tiers), Field(min_length=1), AfterValidator(_ascending)]


class EntryPart(_Part):
    """One dated entry: flat ``rates``, or ``peak`` and ``off_peak`` under a schedule."""

    currency: Annotated[str, BeforeValidator(_currency)]
    since: Instant = Field(alias="from")
    until: Instant | None = None
    rates: Tiers | None = None
    peak: Tiers | None = None
    off_peak: Tiers | None = None
    schedule: Name | None = None
    source: Name
    date: Date
    note: str = ""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        timed = (self.peak, self.off_peak, self.schedule)
        flat = self.rates is not None and timed == (None, None, None)
        if not flat and (self.rates is not None or None in timed):
            raise ValueError("needs either `rates`, or all of `peak`, `off_peak` and `schedule`")
        if self.until is not None and self.until <= self.since:
            raise ValueError("ends before it begins; write an `until` after its `from`")
        return self


class AliasPart(_Part):
    """Another name that is served and billed as the model, within dates."""

    name: Name
    since: Instant | None = Field(default=None, alias="from")
    until: Instant | None = None
    source: Name
    date: Date
    note: str = ""


class SchedulePart(_Part):
    """A week's windows, either those at peak or those off-peak."""

    timezone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    peak: list[Annotated[Window, BeforeValidator(_window)]] | None = None
    off_peak: list[Annotated[Window, BeforeValidator(_window)]] | None = None
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = list(WEEKDAYS)
    holidays: Name | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.peak) == bool(self.off_peak):
            raise ValueError("needs windows: either `peak` or `off_peak`")
        return self


class ModelPart(_Part):
    """A model: its dated entries and other names, each read by itself."""

    prices: list[Any] = Field(min_length=1)
    aliases: list[Any] = []


class FilePart(_Part):
    """A whole file; its parts are read by themselves, so that a mistake in one hides none in another."""

    provider: Name
    schedules: dict[str, Any] = {}
    models: dict[str, Any] = Field(min_length=1)


def sentence(error: ErrorDetails) -> str:
    """What is wrong, and what to do, in the house's words."""
    if error["type"] == "missing":
        return "is missing; write it"
    if error["type"] == "extra_forbidden":
        return "is unknown here; docs/reference/prices.md lists the keys"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"cannot be read: {error['msg']}"
