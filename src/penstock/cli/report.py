"""``penstock report``: one page for who pays, or its figures. Reads the store, whether a server runs or not."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click

from penstock.cli.budget_standings import read_budgets, read_standings
from penstock.cli.options import config_option
from penstock.cli.output import emit, format_option
from penstock.cli.report_rows import report_rows
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.budget import Budget
from penstock.errors import StoreError
from penstock.ports.ledger import OverviewQuery
from penstock.providers.registry import KINDS
from penstock.report.figures import Figures, figures, groupings
from penstock.report.page import render
from penstock.stores.open import open_reader
from penstock.stores.span import find_zone, parse_instant

_MINOR: Final = (
    "limit", "usage_percentage", "first_byte_p95_s", "first_byte_p50_s", "p95_s", "p50_s", "cost_per_request",
    "currency", "wasted", "avoided", "errors", "unpriced", "tokens", "baseline",
)  # fmt: skip


class Span(NamedTuple):
    """What was asked for, as it was written."""

    since: str
    until: str
    timezone: str | None


@click.command()
@click.option("--since", default="30d", show_default=True, help="7d, 12h, 2026-11-01, 2026-11-01T08:00+08:00 or all.")
@click.option("--until", default="now", show_default=True, help="The same; not included.")
@click.option("--timezone", help="Of days and dates: an IANA name; default that of the budgets, else UTC.")
@click.option(
    "--html", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE", help="Write the page; - prints it."
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many of each the page lists."
)
@config_option
@format_option
@click.pass_context
def report(
    context: click.Context,
    *,
    since: str,
    until: str,
    timezone: str | None,
    html: str | None,
    top: int,
    config: Path | None,
    format_: str,
) -> None:
    """One page for who pays: spend, savings by lever, the dearest models, keys, teams and tags, speed, errors, budgets.

    With --html a page that needs nothing else, to open, send or print; else the same figures as rows.
    """
    settings = load_here(config, registry=KINDS)
    found = asyncio.run(_read(settings, Span(since, until, timezone)))
    if html is not None:
        _write(html, render(found, top))
    asked = context.get_parameter_source("format_") is not click.core.ParameterSource.DEFAULT
    if html is None or asked:
        emit(*report_rows(found, exact=format_ != "table"), format_, minor=_MINOR)


def _write(place: str, page: str) -> None:
    """To a file as a whole, or not at all."""
    try:
        with click.open_file(place, "w", encoding="utf-8", atomic=True) as file:
            file.write(page)
    except OSError as error:
        raise click.FileError(place, error.strerror or "") from None
    if place != "-":
        click.echo(f"Wrote {place}.", err=True)


async def _read(settings: Settings, span: Span) -> Figures:
    now = SystemClock().now()
    budgets = await read_budgets(settings)
    query = _query(span, now, _zone_of(budgets))
    async with open_reader(settings.store, settings.directory) as reader:
        found = await reader.overview(query)
        standings = await read_standings(reader, budgets, now)
    return figures(query, found, standings, currency=settings.currency, made_at=now)


def _query(span: Span, now: float, zone: str) -> OverviewQuery:
    timezone = span.timezone or zone
    try:
        find_zone(timezone)
        since, until = (parse_instant(each, now, timezone) for each in (span.since, span.until))
    except StoreError as error:
        raise click.UsageError(error.public) from None
    if since > until:
        raise click.UsageError(f"--since {span.since} is later than --until {span.until}")
    return OverviewQuery(groupings(since, until), since, until, timezone)


def _zone_of(budgets: Sequence[Budget]) -> str:
    """Theirs, if they have one in common."""
    zones = {budget.zone.key for budget in budgets}
    return zones.pop() if len(zones) == 1 else "UTC"
