"""Rows of the ledger with whatever a test does not care about filled in."""

from typing import Any

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage

AT = 1_795_000_000.0
"""Some instant in November 2026."""


def exchange_row(id_: str, **fields: Any) -> ExchangeRow:
    """An exchange that went well."""
    filled = {
        "at": AT, "endpoint": "chat", "model": "flash", "outcome": "ok", "status": 200, "currency": "CNY",
        "duration_s": 0.5,
    }  # fmt: skip
    return ExchangeRow(id=id_, **{**filled, **fields})


def attempt_row(id_: str, exchange_id: str, **fields: Any) -> AttemptRow:
    """An attempt that went well."""
    filled = {
        "started_at": AT, "ended_at": AT + 0.4, "provider": "deepseek", "deployment": "deepseek/flash", "outcome": "ok",
    }  # fmt: skip
    return AttemptRow(id=id_, exchange_id=exchange_id, **{**filled, **fields})


def share_row(attempt_id: str, exchange_id: str, amount_nano: int = 0, lever: str = "direct") -> ShareRow:
    """A share."""
    return ShareRow(attempt_id=attempt_id, exchange_id=exchange_id, amount_nano=amount_nano, lever=lever)


def rows_of(number: int) -> list[LedgerRow]:
    """The three rows of a plain exchange."""
    id_, attempt = f"ex_{number:06}", f"at_{number:06}"
    usage = Usage(100, 20, 0, 30, 0)
    return [
        exchange_row(id_, at=AT + number, usage=usage, attempts=1, cost_nano=7, baseline_nano=7),
        attempt_row(attempt, id_, usage=usage, charged_nano=7, charged_book_nano=7, currency="CNY"),
        share_row(attempt, id_, 7),
    ]


def opened_rows(number: int, **fields: Any) -> list[LedgerRow]:
    """The exchange and the attempt of ``rows_of`` before the call."""
    id_ = f"ex_{number:06}"
    return [
        exchange_row(id_, at=AT + number, outcome=OPEN, **fields),
        attempt_row(f"at_{number:06}", id_, outcome=OPEN, held_nano=9),
    ]
