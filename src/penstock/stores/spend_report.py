"""The answer to ``spend`` as the command line and the admin API give it: amounts as decimal strings."""

from collections.abc import Sequence

from penstock.core.money import DECIMALS, format_amount, round_half_even
from penstock.ports.ledger import SpendRow

Report = dict[str, object]


def spend_report(
    by: str, rows: Sequence[SpendRow], total: SpendRow, currency: str, digits: int = DECIMALS
) -> tuple[list[Report], Report]:
    """The rows, each under the grouping's own name, and the total, in the currency of the ledger's rows.

    ``currency``: the book's, for a total of nothing. ``digits``: the decimals of an amount, 9 = exact.
    """
    return [{by: row.group, **_sums(row, currency, digits)} for row in rows], _sums(total, currency, digits)


def _sums(row: SpendRow, currency: str, digits: int) -> Report:
    amounts = {
        "cost": row.cost_nano,
        "cost_per_request": round_half_even(row.cost_nano, row.requests) if row.requests else 0,
        "baseline": row.baseline_nano,
        "saved": row.saved_nano,
        "avoided": row.avoided_nano,
        "wasted": row.wasted_nano,
    }
    return {
        "requests": row.requests,
        "tokens": row.tokens,
        **{name: format_amount(nano, digits) for name, nano in amounts.items()},
        "currency": row.currency or currency,
        "unpriced": row.unpriced,
        "errors": row.errors,
    }
