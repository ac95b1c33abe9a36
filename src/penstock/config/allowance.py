"""How the file spells the limit of a budget: ``3000 CNY``, ``100000 tokens``."""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from penstock.core.money import DECIMALS, is_currency

TOKENS: Final = "tokens"
MOST_MONEY: Final = 9_000_000_000
"""Units of the book currency: what still fits into 64 bits in nano-units."""
MOST_TOKENS: Final = 10**15

_EXAMPLES: Final = "such as 3000 CNY or 100000 tokens"
_NUMBER: Final = r"-?\d{1,30}(?:\.\d{1,30})?"
_WRITTEN: Final = re.compile(rf"({_NUMBER})\s?([A-Za-z]{{1,16}})", re.ASCII)
_BARE: Final = re.compile(_NUMBER, re.ASCII)


class Allowance(NamedTuple):
    """So much money, or so many tokens, as written. 0 = nothing may be spent."""

    amount: Decimal
    unit: str
    """``tokens``, or a currency."""

    @property
    def counts(self) -> str:
        """``tokens`` or ``money``."""
        return TOKENS if self.unit == TOKENS else "money"


def parse_allowance(text: str) -> Allowance:
    """An amount and its unit. Raises ValueError with what follows the text's name."""
    written = _WRITTEN.fullmatch(text)
    if not written:
        wrong = "lacks its unit; write one" if _BARE.fullmatch(text) else "is no limit; write an amount and its unit"
        raise ValueError(f"{wrong}, {_EXAMPLES}")
    amount, unit = Decimal(written[1]), written[2]
    if amount.is_signed():
        raise ValueError("is negative; write 0 or more, where 0 lets nothing be spent")
    if unit != TOKENS and not is_currency(unit):
        raise ValueError(f"has an unknown unit; write a currency of three capitals or tokens, {_EXAMPLES}")
    _require_whole(amount, unit)
    most = MOST_TOKENS if unit == TOKENS else 10**15
    if amount > most:
        raise ValueError(f"is too large; {most} is the most")
    return Allowance(amount, unit)


def _require_whole(amount: Decimal, unit: str) -> None:
    decimals = -int(amount.normalize().as_tuple().exponent) if amount else 0
    if unit == TOKENS and decimals > 0:
        raise ValueError("is no whole number of tokens; leave the fraction out")
    if decimals > DECIMALS:
        raise ValueError(f"is too fine; {DECIMALS} decimals are the most")


def format_allowance(allowance: Allowance) -> str:
    """As the file spells it, exactly."""
    return f"{allowance.amount:f} {allowance.unit}"
