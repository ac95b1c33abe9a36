"""The report as rows, all of the same columns: what a part of it does not know is null."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from penstock.cli.output import NONE
from penstock.core.budget_report import budget_rows
from penstock.core.money import DECIMALS
from penstock.ports.ledger import Speed
from penstock.report.figures import Figures, Pace
from penstock.stores.spend_report import Report, spend_report

COLUMNS: Final = (
    "section", "name", "requests", "tokens", "cost", "cost_per_request", "baseline", "saved", "avoided", "wasted",
    "currency", "unpriced", "errors", "p50_s", "p95_s", "first_byte_p50_s", "first_byte_p95_s", "limit",
    "usage_percentage",
)  # fmt: skip
_SHOWN_DIGITS: Final = 6


def report_rows(figures: Figures, *, exact: bool) -> tuple[list[Report], Report]:
    """Every section's rows, and the total with its span. ``exact``: for programs, amounts to the nano-unit."""
    rows = [*_spend(figures, exact=exact), *_speeds(figures), *_outcomes(figures), *_budgets(figures)]
    _, total = spend_report("", [], figures.total, figures.currency, _digits(exact=exact))
    return [{name: row.get(name) for name in COLUMNS} for row in rows], {**_span(figures), **total}


def _digits(*, exact: bool) -> int:
    return DECIMALS if exact else _SHOWN_DIGITS


def _span(figures: Figures) -> Report:
    query = figures.query
    zone = ZoneInfo(query.timezone)
    instants = {"since": query.since, "until": query.until}
    return {
        **{name: datetime.fromtimestamp(at, zone).isoformat(timespec="seconds") for name, at in instants.items()},
        "timezone": query.timezone,
    }


def _spend(figures: Figures, *, exact: bool) -> Iterator[Report]:
    digits = _digits(exact=exact)
    for by, groups in figures.spend.items():
        for row in spend_report(by, groups, figures.total, figures.currency, digits)[0]:
            name = row.pop(by)
            yield {"section": by, "name": name if exact else name or NONE, **row}


def _speeds(figures: Figures) -> Iterator[Report]:
    for pace in figures.paces:
        if pace.end is not None:
            yield {"section": "latency", **_pace(pace, pace.end), **_first_byte(pace)}
        if pace.stored is not None:
            yield {"section": "latency_cached", **_pace(pace, pace.stored)}


def _pace(pace: Pace, speed: Speed) -> Report:
    return {"name": pace.model, "requests": speed.answers, "p50_s": _ms(speed.p50_s), "p95_s": _ms(speed.p95_s)}


def _first_byte(pace: Pace) -> Report:
    if pace.first_byte is None:
        return {}
    return {"first_byte_p50_s": _ms(pace.first_byte.p50_s), "first_byte_p95_s": _ms(pace.first_byte.p95_s)}


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _outcomes(figures: Figures) -> Iterator[Report]:
    for outcome, requests in figures.outcomes.items():
        yield {"section": "outcome", "name": outcome, "requests": requests}


def _budgets(figures: Figures) -> Iterator[Report]:
    """What was used is a cost or tokens, whichever the limit is of."""
    rows: list[dict[str, Any]] = budget_rows(figures.budgets, figures.currency)
    for row in rows:
        money = row["currency"] is not None
        yield {
            "section": "budget",
            "name": row["budget"] if row["scope"] == "global" else f"{row['budget']}: {row['value']}",
            "cost" if money else "tokens": row["used"] if money else int(row["used"]),
            "currency": row["currency"],
            "limit": row["limit"],
            "usage_percentage": row["usage_percentage"],
        }
