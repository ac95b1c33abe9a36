"""The ledger's rows of one exchange as a person reads them: money with its currency, times, words for tokens."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from penstock.core.money import DECIMALS, format_amount
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage

_BOOK: Final = ("baseline_nano", "cost_nano", "avoided_nano", "charged_book_nano", "held_nano", "amount_nano")
"""Amounts in the book currency; ``charged_nano`` is in the provider's."""

_TIMES: Final = ("at", "started_at", "ended_at")
_SPANS: Final = ("duration_s", "first_byte_s", "overhead_s")


def kind_of(row: LedgerRow) -> str:
    """exchange, attempt or share."""
    return "exchange" if isinstance(row, ExchangeRow) else "attempt" if isinstance(row, AttemptRow) else "share"


def view(rows: Sequence[LedgerRow]) -> list[dict[str, object]]:
    """A line per field that says something."""
    book = next((row.currency for row in rows if isinstance(row, ExchangeRow)), "")
    return [
        {"row": kind_of(row), "field": name, "value": value}
        for row in rows
        for name, value in _fields(row, book)
        if value
    ]


def _fields(row: LedgerRow, book: str) -> Iterator[tuple[str, str]]:
    own = getattr(row, "currency", book)
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if name in _BOOK:
            yield name.removesuffix("_nano"), _money(value, book)
        elif name == "charged_nano":
            yield "charged", _money(value, own)
        elif name in _TIMES:
            yield name, datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        elif name in _SPANS:
            yield name.removesuffix("_s"), "" if value is None else f"{value:.3f} s"
        elif name != "currency":  # it stands with the amounts
            yield name, _text(value)


def _money(nano: int | None, currency: str) -> str:
    """All of its decimals that count, six at least."""
    if nano is None:
        return "unknown: no price covers it"
    whole, _, part = format_amount(nano, DECIMALS).partition(".")
    return f"{whole}.{part[:6]}{part[6:].rstrip('0')} {currency}"


def _text(value: object) -> str:
    if isinstance(value, Usage):
        return ", ".join(f"{name} {count:,}" for name, count in value._asdict().items() if count) or "none"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return str(value)
