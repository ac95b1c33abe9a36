"""Pricing what had no price when it was settled. Pure: rows in, changed rows out.

Only what is unknown changes: an attempt that was charged something keeps its charge, a baseline that is known stays.
The charge, its share and the exchange's cost and baseline follow the rules by which they are settled
(``pipeline/call``, ``pipeline/record``): cost = the sum of the shares, a failed exchange's baseline = its cost.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from penstock.core.pricing import Charge
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, ShareRow
from penstock.core.usage import Usage


class Prices(Protocol):
    """What things cost, by the price book of today at the instants of then. None = still no price."""

    def attempt(self, row: AttemptRow, usage: Usage) -> tuple[Charge, str] | None:
        """The charge for ``usage`` under the attempt's tariff, and the price's source."""
        ...

    def baseline(self, row: ExchangeRow) -> int | None:
        """What the exchange would have cost sent straight to the requested model, in the book currency."""
        ...

    def lever(self, exchange: ExchangeRow, attempt: AttemptRow) -> str:
        """Why the exchange paid the attempt's price."""
        ...


class Entry(NamedTuple):
    """An exchange with its attempts and its shares."""

    exchange: ExchangeRow
    attempts: Sequence[AttemptRow]
    shares: Sequence[ShareRow]


def rerated(entry: Entry, prices: Prices) -> Entry | None:
    """What changes: the exchange, the attempts that have a charge now, the shares that are new. None = nothing.

    What is open is left alone.
    """
    exchange, attempts, shares = entry
    if exchange.outcome == OPEN:
        return None
    charged = [found for row in attempts if is_unpriced(row) and (found := _charged(row, prices)) is not None]
    new_shares = [_share(exchange, row, prices) for row in charged if row.usage.total]
    still_unpriced = sum(map(is_unpriced, attempts)) > len(charged)
    cost = None if still_unpriced else sum(share.amount_nano for share in [*shares, *new_shares])
    if not charged and exchange.cost_nano is not None:
        cost = exchange.cost_nano
    priced = replace(exchange, cost_nano=cost)
    if exchange.baseline_nano is None:
        priced.baseline_nano = cost if exchange.outcome != "ok" else prices.baseline(exchange)
    if not charged and priced == exchange:
        return None
    return Entry(priced, charged, new_shares)


def is_unpriced(row: AttemptRow) -> bool:
    """Whether it ended and no price covered it."""
    return row.outcome != OPEN and row.charged_book_nano is None


def _charged(row: AttemptRow, prices: Prices) -> AttemptRow | None:
    """The row with its charge, the dearest where nobody knows which kind of tokens they were."""
    found = [priced for usage in _usages(row) if (priced := prices.attempt(row, usage)) is not None]
    if not found:
        return None
    charge, source = max(found, key=lambda each: each[0].book_nano)
    return replace(
        row,
        charged_nano=charge.native_nano,
        currency=charge.currency,
        charged_book_nano=charge.book_nano,
        fx_rate=charge.fx_rate,
        price_source=source,
    )


def _usages(row: AttemptRow) -> Sequence[Usage]:
    """What it used; of a cut attempt that is charged its whole hold (``background/recovery``) only the sum is known."""
    if row.estimated and row.usage == Usage(input_miss=row.held_tokens):
        tokens = row.held_tokens
        return Usage(input_miss=tokens), Usage(cache_write=tokens), Usage(output=tokens)
    return (row.usage,)


def _share(exchange: ExchangeRow, row: AttemptRow, prices: Prices) -> ShareRow:
    return ShareRow(
        attempt_id=row.id,
        exchange_id=row.exchange_id,
        amount_nano=row.charged_book_nano or 0,
        lever=prices.lever(exchange, row),
    )
