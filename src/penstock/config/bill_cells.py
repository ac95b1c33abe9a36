"""What the cells of an exported bill say: amounts, days, tokens, models.

As in ``units.py``: text in, value out, or ValueError with what follows the text's name.
"""

import re
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from penstock.core.money import is_currency

ATTO_DIGITS: Final = 18
"""Decimals that an amount of a bill may have: DeepSeek's prices of one token have nine and more."""

_CURRENCIES: Final = {
    "¥": "CNY", "CN¥": "CNY", "RMB": "CNY", "元": "CNY", "人民币": "CNY", "人民币元": "CNY",
    "$": "USD", "US$": "USD", "美元": "USD", "€": "EUR",
}  # fmt: skip
_NUMBER: Final = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d{1,2})?|\.\d+"
_MONEY: Final = re.compile(rf"([-+]?)\s*([^\d\s.,+-]*)\s*([-+]?)({_NUMBER})\s*([^\d\s.,+-]*)", re.ASCII)
_DAY: Final = re.compile(r"(\d{4})(?:[-/.年](\d{1,2})[-/.月](\d{1,2})日?|(\d\d)(\d\d))(?:[ T].*)?")
_YEARS: Final = range(2000, 2200)
_MONTH: Final = re.compile(r"\d{4}[-/.年]?\d{1,2}月?")
_WORKSPACE: Final = "llm-"
_WITHOUT_TYPE: Final = 4
"""Parts of an instance ID from which the third is its model."""


def cell_text(cell: str) -> str:
    """The cell as it means: full-width forms narrowed; without the tabs and quotes that keep spreadsheets off."""
    return unicodedata.normalize("NFKC", cell).strip().strip("\t'\"").strip()


def parse_money(text: str) -> tuple[int, str]:
    """(1e-18 units, currency or ""): ``¥1,234.50``, ``0.000003 CNY``, ``-3``."""
    match = _MONEY.fullmatch(text)
    if not match or (match[1] and match[3]) or (match[2] and match[5]):
        raise ValueError("is no amount; write a plain number, such as 1234.56")
    currency = parse_currency(match[2] or match[5]) if match[2] or match[5] else ""
    value = Decimal(match[4].replace(",", ""))
    if value and value.adjusted() >= ATTO_DIGITS:
        raise ValueError("is too large for an amount")
    numerator, denominator = value.as_integer_ratio()
    atto, rest = divmod(numerator * 10**ATTO_DIGITS, denominator)
    if rest:
        raise ValueError(f"has more than {ATTO_DIGITS} decimals")
    return -atto if "-" in {match[1], match[3]} else atto, currency


def parse_currency(text: str) -> str:
    """``CNY``, from any of its spellings."""
    code = _CURRENCIES.get(text, text.upper())
    if not is_currency(code):
        raise ValueError("is no currency; write a code of three capitals, such as CNY")
    return code


def parse_day(text: str) -> tuple[date, datetime | None]:
    """The day that is written, and the instant where the text has an offset from UTC."""
    match = _DAY.fullmatch(text)
    if not match:
        if _MONTH.fullmatch(text):
            raise ValueError("is a month; export the bill by day")
        raise ValueError("is no day; write it as 2026-11-01 or 20261101")
    try:
        day = date(int(match[1]), int(match[2] or match[4]), int(match[3] or match[5]))
    except ValueError:
        raise ValueError("is no day of the calendar") from None
    if day.year not in _YEARS:
        raise ValueError("is no day that anything here was billed on")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return day, None
    return day, moment if moment.tzinfo else None


def parse_tokens(text: str) -> int:
    """A whole number of tokens."""
    atto, _ = parse_money(text)
    tokens, rest = divmod(atto, 10**ATTO_DIGITS)
    if rest or tokens < 0:
        raise ValueError("is no whole number of tokens; leave `tokens` out of --columns if it has another unit")
    return tokens


def model_of_instance(text: str) -> str:
    """The model in an instance ID of Alibaba Cloud Model Studio; another text as it is.

    ``ApiKeyID;WorkspaceID;ModelName;Input/Output Type;Invocation Channel``, or a billing type in the place of the key,
    or neither (https://www.alibabacloud.com/help/en/model-studio/bill-query-and-cost-management).
    """
    parts = [part.strip() for part in text.split(";")]
    for place, part in enumerate(parts[:-1]):
        if part.startswith(_WORKSPACE):
            return parts[place + 1]
    return parts[2] if len(parts) >= _WITHOUT_TYPE else text
