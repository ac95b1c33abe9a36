"""Money: integers of nano-units (1e-9) of a named currency. Floats never touch an amount."""

from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

NANO: Final = 10**9
"""Nano-units in one unit of a currency."""

DECIMALS: Final = 9
"""The decimals an amount may have."""

_MAX_DIGITS: Final = 18
"""Digits before the point: more than any price or budget, and a bound on what ``1e999999`` may cost us."""


class Amount(NamedTuple):
    """So much of a currency, in nano-units."""

    nano: int
    currency: str


def to_nano(value: Decimal) -> int:
    """``value`` units in nano-units, exactly. Raises ValueError when that is no whole number of them, or too large."""
    if not value.is_finite():
        raise ValueError(f"{value} is not an amount")
    if not value:
        return 0
    if value.adjusted() < -DECIMALS:
        raise ValueError(f"{value} has more than {DECIMALS} decimals")
    if value.adjusted() >= _MAX_DIGITS:
        raise ValueError(f"{value} is too large")
    numerator, denominator = value.as_integer_ratio()
    nano, rest = divmod(numerator * NANO, denominator)
    if rest:
        raise ValueError(f"{value} has more than {DECIMALS} decimals")
    return nano


def parse_decimal(text: str) -> Decimal:
    """The number that ``text`` writes. Raises ValueError."""
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None


def parse_amount(text: str) -> Amount:
    """``3000 CNY`` -> its nano-units and currency. Raises ValueError saying what is wrong."""
    number, _, currency = text.strip().partition(" ")
    currency = currency.strip()
    if not is_currency(currency):
        raise ValueError(f"{text!r} is not an amount: write a number and a currency, like 3000 CNY")
    return Amount(to_nano(parse_decimal(number)), currency)


def is_currency(code: str) -> bool:
    """Whether ``code`` has the form of a currency: three capital letters (ISO 4217)."""
    return len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()  # noqa: PLR2004 - three letters


def format_amount(nano: int, digits: int = 6) -> str:
    """``nano`` as a decimal string with ``digits`` (0 to 9) decimals, half to even."""
    if not nano and digits:
        return f"0.{'0' * digits}"
    rounded = round_half_even(abs(nano), 10 ** (DECIMALS - digits))
    sign = "-" if nano < 0 and rounded else ""
    whole, part = divmod(rounded, 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


def round_half_even(numerator: int, denominator: int) -> int:
    """The integer nearest to ``numerator / denominator``, a tie to the even one. ``denominator`` > 0."""
    quotient, rest = divmod(numerator, denominator)
    twice = rest + rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient
