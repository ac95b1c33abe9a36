"""The types of settings: how a value of the file's tree becomes a value, and how the reference names its type.

A mistake shows what was written only when that is short, stands in the file itself, and is no secret.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from penstock.config import allowance, formats, units
from penstock.config.document import Map, Scalar, Seq
from penstock.config.settings import Address, Secret

Parse = Callable[[str], Any]
"""Text in, value out, or ValueError with what follows the text's name."""

_LONGEST_SHOWN: Final = 60
_ON: Final = frozenset(("true", "yes", "on"))
_OFF: Final = frozenset(("false", "no", "off"))
_FRACTION: Final = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?")
_MOST_FRACTION: Final = 10
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")


class Field:
    """The type of a setting: a whole validation of its own, in words of our own, and a name in the reference."""

    __slots__ = ()
    type: str

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        """How pydantic asks."""
        return core_schema.no_info_plain_validator_function(self.read)

    def read(self, value: object) -> Any:
        """The setting's value. Raises the error of ``wrong``."""
        raise NotImplementedError

    def print(self, value: Any) -> str:
        """A value as the file spells it."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Parsed(Field):
    """One value that ``parse`` reads. ``secret``: it is never shown. ``text``: a bare number or true needs quotes."""

    type: str
    parse: Parse
    printer: Callable[[Any], str] = str
    secret: bool = False
    text: bool = False

    def read(self, value: object) -> Any:
        """As ``parse`` says."""
        if not isinstance(value, Scalar):
            raise wrong(f"must be one value, not a {'mapping' if isinstance(value, Map) else 'list'}")
        if self.text and value.plain and not value.from_environment and type(as_json(value)) is not str:
            raise wrong("must be text; put it in quotes")
        try:
            return self.parse(value.text)
        except ValueError as error:
            raise wrong(f"{self._shown(value)} {error}") from None

    def print(self, value: Any) -> str:
        """As ``printer`` says."""
        return self.printer(value)

    def _shown(self, value: Scalar) -> str:
        hidden = self.secret or value.from_environment or len(value.text) > _LONGEST_SHOWN
        return "this value" if hidden or not value.text.isprintable() else f"'{value.text}'"


@dataclass(frozen=True, slots=True)
class Named(Field):
    """The name of an entry: the key of a mapping, which arrives as bare text, or an item of a list."""

    parse: Parse
    type: str = "name"

    def read(self, value: object) -> Any:
        """As ``parse`` says."""
        try:
            return self.parse(value.text if isinstance(value, Scalar) else str(value))
        except ValueError as error:
            raise wrong(f"this name {error}") from None


class Switch(Field):
    """True or false."""

    __slots__ = ()
    type = "true or false"

    def read(self, value: object) -> bool:
        """YAML's words for it, without quotes."""
        if not is_on(value) and not is_off(value):
            raise wrong("must be true or false, without quotes")
        return is_on(value)

    def print(self, value: Any) -> str:
        """As YAML spells it."""
        return "true" if value else "false"


class RequestBody(Field):
    """Fields of a request, whatever they are."""

    __slots__ = ()
    type = "request fields"

    def read(self, value: object) -> dict[str, Any]:
        """As JSON."""
        if value is not None and not isinstance(value, Map):
            raise wrong("must be a mapping of request fields, such as {thinking: {type: disabled}}, or {}")
        fields: dict[str, Any] = as_json(value) or {}
        return fields


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``names``."""

    names: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """The name itself."""
        if text not in self.names:
            *others, last = self.names
            raise ValueError(f"is unknown; use {', '.join(others)} or {last}{nearest(text, self.names)}")
        return text


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A quantity with a lower bound."""

    least: int
    parse: Parse

    def __call__(self, text: str) -> Any:
        """What ``parse`` makes of it."""
        if (value := self.parse(text)) < self.least:
            raise ValueError(f"is too small; {self.least} is the least")
        return value


@dataclass(frozen=True, slots=True)
class Positive:
    """A quantity above zero."""

    parse: Parse

    def __call__(self, text: str) -> Any:
        """What ``parse`` makes of it."""
        if (value := self.parse(text)) <= 0:
            raise ValueError("is too small; it must be above 0")
        return value


def wrong(what: str) -> PydanticCustomError:
    """A mistake in words of our own."""
    return PydanticCustomError("penstock", what)


def nearest(name: str, names: tuple[str, ...]) -> str:
    """A question after the nearest of ``names``, when one is near."""
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def is_off(value: object) -> bool:
    """Whether it is written ``off``."""
    return isinstance(value, Scalar) and value.plain and value.text.lower() in _OFF


def is_on(value: object) -> bool:
    """Whether it is written ``on``."""
    return isinstance(value, Scalar) and value.plain and value.text.lower() in _ON


def as_json(value: object) -> Any:
    """The value in JSON: plain ``true``, ``false``, ``null`` and numbers are such, everything else is text."""
    if isinstance(value, Map):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, Seq):
        return [as_json(item) for item in value]
    return _json_scalar(value) if isinstance(value, Scalar) else None


def _json_scalar(value: Scalar) -> str | float | bool:
    if value.plain and value.text.lower() in {"true", "false"}:
        return value.text.lower() == "true"
    if value.plain and (number := _NUMBER.fullmatch(value.text)):
        return float(value.text) if number[1] or number[2] else int(value.text)
    return value.text


def parse_share(text: str) -> float:
    """A number from 0 to 1. Raises ValueError otherwise."""
    amount = units.parse_amount(text)
    if not 0 <= amount <= 1:
        raise ValueError("is no share; write a number from 0 to 1, such as 0.2")
    return float(amount)


def parse_fraction(text: str) -> float:
    """A part of a limit, above 0 and up to 10. Raises ValueError otherwise."""
    if not _FRACTION.fullmatch(text) or not 0 < float(text) <= _MOST_FRACTION:
        raise ValueError("is no fraction of the limit; write a number above 0 and up to 10, such as 0.8")
    return float(text)


Text = Annotated[str, Parsed("text", formats.parse_text, text=True)]
Label = Annotated[str, Parsed("text", formats.parse_label, text=True)]
ModelName = Annotated[str, Named(formats.parse_model_name)]
ProviderName = Annotated[str, Named(formats.parse_provider_name)]
HeaderName = Annotated[str, Named(formats.parse_header_name)]
KeyName = Annotated[str, Named(formats.parse_text)]
Tag = Annotated[str, Named(formats.parse_tag)]
EntryName = Annotated[str, Named(formats.parse_label)]
BotName = Annotated[str, Named(formats.parse_bot_name)]
CurrencyName = Annotated[str, Named(formats.parse_currency)]
NetworkName = Annotated[str, Named(formats.parse_network, "address or network")]

Boolean = Annotated[bool, Switch()]
Count = Annotated[int, Parsed("number, 1 or more", AtLeast(1, units.parse_whole))]
Whole = Annotated[int, Parsed("number, 0 or more", AtLeast(0, units.parse_whole))]
Share = Annotated[float, Parsed("number from 0 to 1", parse_share)]
Fraction = Annotated[float, Parsed("number above 0, up to 10", parse_fraction)]
Allowance = Annotated[allowance.Allowance, Parsed("`AMOUNT CURRENCY` or `NUMBER tokens`", allowance.parse_allowance)]
Price = Annotated[Decimal, Parsed("amount", AtLeast(0, units.parse_amount))]
Rate = Annotated[Decimal, Parsed("amount above 0", Positive(units.parse_amount))]
Currency = Annotated[str, Parsed("currency code", formats.parse_currency)]
Duration = Annotated[float, Parsed("duration", units.parse_duration, units.format_duration)]
Patience = Annotated[float, Parsed("duration above 0", Positive(units.parse_duration), units.format_duration)]
Size = Annotated[int, Parsed("size", Positive(units.parse_size), units.format_size)]
BudgetName = Annotated[str, Parsed("name", formats.parse_budget_name, text=True)]
Zone = Annotated[ZoneInfo, Parsed("IANA time zone", formats.parse_zone)]
ListenAddress = Annotated[Address, Parsed("`host:port`", units.parse_address)]
Network = Annotated[str, Parsed("address or network", formats.parse_network)]
Origin = Annotated[str, Parsed("origin or `*`", formats.parse_origin)]
Store = Annotated[str, Parsed("`sqlite:PATH`, `postgresql://...` or `memory`", formats.parse_store, secret=True)]
BaseUrl = Annotated[str, Parsed("URL", formats.parse_base_url, secret=True)]
Credential = Annotated[Secret, Parsed("secret", formats.parse_credential, secret=True)]
BotUrl = Annotated[Secret, Parsed("secret URL", formats.parse_bot_url, secret=True)]
MinuteOfDay = Annotated[int, Parsed("time of day, such as `09:00`", units.parse_minute, units.format_minute)]
ProxyUrl = Annotated[Secret, Parsed("secret URL", formats.parse_proxy, secret=True)]
HeaderValue = Annotated[Secret, Parsed("secret text", formats.parse_header_value, secret=True)]
Digest = Annotated[str, Parsed("64 hexadecimal digits", formats.parse_sha256, secret=True)]
RequestFields = Annotated[dict[str, Any], RequestBody()]
SharedUrl = Annotated[str, Parsed("`redis://...`", formats.parse_shared, secret=True)]
