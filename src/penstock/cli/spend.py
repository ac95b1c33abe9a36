"""``penstock spend``: what was spent, on what, and what was saved. Reads the store, whether a server runs or not."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.cli.exchange_view import kind_of, view
from penstock.cli.options import config_option
from penstock.cli.output import NONE, emit, format_option
from penstock.cli.reconcile import reconcile
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.money import DECIMALS
from penstock.core.records import LedgerRow
from penstock.errors import StoreError
from penstock.ports.ledger import SpendQuery, SpendRow
from penstock.providers.registry import KINDS
from penstock.stores.open import open_reader
from penstock.stores.span import find_zone, parse_instant
from penstock.stores.spend import GROUPINGS
from penstock.stores.spend_report import spend_report

_SHOWN_DIGITS = 6
_MINOR = ("cost_per_request", "currency", "wasted", "errors", "unpriced", "avoided", "tokens", "baseline")


@click.group(invoke_without_command=True, commands=[reconcile])
@click.option("--by", type=click.Choice(GROUPINGS), default="model", show_default=True, help="What to group by.")
@click.option("--since", default="30d", show_default=True, help="7d, 12h, 2026-11-01, 2026-11-01T08:00+08:00 or all.")
@click.option("--until", default="now", show_default=True, help="The same; not included.")
@click.option("--timezone", default="UTC", show_default=True, help="Of hours, days and dates; an IANA name.")
@config_option
@format_option
@click.pass_context
def spend(
    context: click.Context, *, by: str, since: str, until: str, timezone: str, config: Path | None, format_: str
) -> None:
    """What was spent, on what, and what was saved. Amounts are in the currency of the ledger's book."""
    if context.invoked_subcommand is not None:
        return
    settings = load_here(config, registry=KINDS)
    query = _query(by, since, until, timezone)
    rows, total = asyncio.run(_spend(settings, query))
    digits = _SHOWN_DIGITS if format_ == "table" else DECIMALS
    report, sums = spend_report(by, rows, total, settings.currency, digits)
    if format_ == "table":
        report = [{**row, by: row[by] or NONE} for row in report]
    emit(report, sums, format_, minor=_MINOR)


@spend.command()
@click.argument("exchange_id")
@config_option
@format_option
def show(exchange_id: str, config: Path | None, format_: str) -> None:
    """Every row of one exchange: itself, its attempts, its shares. The id is the answer's x-request-id."""
    settings = load_here(config, registry=KINDS)
    rows = asyncio.run(_exchange(settings, exchange_id))
    if not rows:
        raise click.ClickException(f"the ledger has no exchange {exchange_id!r}")
    records = [{"row": kind_of(row), **msgspec.to_builtins(row)} for row in rows]
    shown = {"json": records, "csv": _fields(records), "table": view(rows)}
    emit(shown[format_], None, format_)


def _query(by: str, since: str, until: str, timezone: str) -> SpendQuery:
    now = SystemClock().now()
    try:
        find_zone(timezone)
        query = SpendQuery(by, parse_instant(since, now, timezone), parse_instant(until, now, timezone), timezone)
    except StoreError as error:
        raise click.UsageError(error.public) from None
    if query.since > query.until:
        raise click.UsageError(f"--since {since} is later than --until {until}")
    return query


async def _spend(settings: Settings, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
    async with open_reader(settings.store, settings.directory) as reader:
        return await reader.spend(query)


async def _exchange(settings: Settings, exchange_id: str) -> Sequence[LedgerRow]:
    async with open_reader(settings.store, settings.directory) as reader:
        return await reader.exchange(exchange_id)


def _fields(records: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """A line per field: rows of different kinds have different ones."""
    return [
        {"row": record["row"], "field": name, "value": str(value)}
        for record in records
        for name, value in record.items()
        if name != "row"
    ]
