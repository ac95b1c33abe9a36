"""``penstock prices``: what a model costs at an instant, and what the price book does not know."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import product
from math import inf
from pathlib import Path

import click

from penstock.cli.options import config_option, group_config_option
from penstock.cli.output import emit, format_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, PriceOverride, Settings
from penstock.core.coverage import gaps
from penstock.core.money import DECIMALS, format_amount
from penstock.core.pricebook import PriceBook, Tariff, Tier, instant_text
from penstock.core.pricing import Rates, flat_rates
from penstock.errors import PriceError
from penstock.providers.registry import KINDS

Row = dict[str, object]

_MINOR = ("source", "date", "billed_as", "from", "cache_write", "tariff_until", "provider", "model", "tariff")


def instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """A point in time, ISO 8601, as seconds since the epoch. Without a zone it would be another price elsewhere."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no point in time; write one like 2026-10-01T02:00Z") from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{value!r} lacks its time zone; append Z for UTC, or an offset like +08:00")
    return moment.timestamp()


@click.group()
@group_config_option
def prices() -> None:
    """The price book: dated prices per provider and model."""


@prices.command()
@click.argument("model")
@click.option("--provider", help="Only the list of this provider.")
@click.option("--currency", help="Only prices in this currency.")
@click.option("--at", callback=instant, help="ISO 8601 with zone, like 2026-10-01T10:00+08:00; default now.")
@config_option
@format_option
def show(  # noqa: PLR0917 - click passes them by name
    model: str, provider: str | None, currency: str | None, at: float | None, config: Path | None, format_: str
) -> None:
    """What MODEL costs per million tokens at an instant, and until when.

    The price book alone answers; with -c the prices that the config sets for its own providers come first.
    """
    book = load_book()
    at = SystemClock().now() if at is None else at
    wanted = (provider, currency)
    rows = [] if config is None else [row for row in _own_rows(config, model) if _matches(row, *wanted)]
    lists = _lists(book, model, *wanted)
    if not rows and not lists:
        raise click.ClickException(f"no price list asked for knows {model}; add it, or set `prices:` for its provider")
    for owner, code in lists:
        try:
            tariff = book.tariff(owner, model, code, at)
            until = book.holds_until(owner, model, code, tariff)
            rows += [_tier_row(model, tariff, tier, until) for tier in tariff.tiers]
        except PriceError as error:
            click.echo(f"{error.public}: {error.detail}", err=True)
    if rows:
        emit(rows, None, format_, title=f"Per million tokens at {instant_text(at)}", minor=_MINOR)
    _say(book.warnings)
    if not rows:
        raise click.exceptions.Exit(1)


@prices.command()
@click.option("--at", callback=instant, help="The day to look ahead from; default now.")
@config_option
@format_option
def check(at: float | None, config: Path | None, format_: str) -> None:
    """Read every price file, and list where and when the book knows no price.

    With -c also the deployments of the config that have no price at that time.
    """
    book = load_book()
    at = SystemClock().now() if at is None else at
    unpriced = [] if config is None else _unpriced_rows(book, config, at)
    findings = [*unpriced, *_gap_rows(book), *_calendar_rows(book, datetime.fromtimestamp(at, UTC).year)]
    emit(findings, None, format_, title="What the price book does not know")


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def _lists(book: PriceBook, model: str, provider: str | None, currency: str | None) -> list[tuple[str, str]]:
    """(book, currency) of every price list that has ever known ``model``, of those asked for."""
    owners = sorted({priced.book for priced in book.all if provider in (None, priced.book)})
    codes = sorted({code for priced in book.all for code in priced.entries if currency in (None, code)})
    return [(owner, code) for owner, code in product(owners, codes) if book.known(owner, model, code)]


def _matches(row: Row, provider: str | None, currency: str | None) -> bool:
    return provider in {None, row["provider"]} and currency in {None, row["currency"]}


def _own_rows(config: Path, model: str) -> list[Row]:
    """What the config itself says that ``model`` costs."""
    settings = load_here(config, registry=KINDS)
    return [
        _row(provider.name, model, model, _own_rates(provider.prices, provider.name), tariff="config")
        for provider in settings.providers.values()
        if provider.prices and any(model == deployment.model for deployment in _deployments(settings, provider.name))
    ]


def _own_rates(own: PriceOverride, provider: str) -> Rates:
    place = f"config: providers.{provider}.prices"
    return flat_rates(own.input, own.cached_input, own.output, own.cache_write, currency=own.currency, source=place)


def _deployments(settings: Settings, provider: str | None = None) -> list[DeploymentSettings]:
    """Each once, of one provider or of all."""
    found = {deployment.id: deployment for model in settings.models.values() for deployment in model.deployments}
    return [deployment for deployment in found.values() if provider in {None, deployment.provider.name}]


def _unpriced_rows(book: PriceBook, config: Path, at: float) -> Iterator[Row]:
    for deployment in _deployments(load_here(config, registry=KINDS)):
        provider = deployment.provider
        if provider.prices is not None:
            continue
        try:
            book.tariff(provider.price_book, deployment.model, provider.currency, at)
        except PriceError as error:
            finding = f"{error.public}: {error.detail}"
            yield _finding(provider.name, deployment.model, provider.currency, (at, inf), finding)


def _tier_row(model: str, tariff: Tariff, tier: Tier, until: float) -> Row:
    entry = tariff.entry
    row = _row(tariff.book, model, tariff.model, tier.rates, tariff=tariff.name, prompt_up_to=_bound(tier))
    times = {"from": instant_text(entry.since), "tariff_until": instant_text(until)}
    return row | times | {"source": entry.source, "date": entry.date}


def _row(provider: str, model: str, billed_as: str, rates: Rates, *, tariff: str, prompt_up_to: str = "") -> Row:
    return {
        "provider": provider,
        "model": model,
        "billed_as": billed_as,
        "currency": rates.currency,
        "tariff": tariff,
        "prompt_up_to": prompt_up_to,
        "input": _price(rates.input_miss),
        "cached_input": _price(rates.input_hit),
        "cache_write": _price(rates.cache_write),
        "output": _price(rates.output),
        "from": "",
        "tariff_until": "",
        "source": rates.source,
        "date": "",
    }


def _bound(tier: Tier) -> str:
    return "" if tier.up_to == inf else f"{tier.up_to:.0f}"


def _price(nano: int) -> str:
    """All of its decimals and no more: ``0.003625``."""
    return format_amount(nano, DECIMALS).rstrip("0").rstrip(".")


def _gap_rows(book: PriceBook) -> Iterator[Row]:
    for gap in gaps(book.all):
        instead = f"priced in {', '.join(gap.priced_in)} only" if gap.priced_in else "no price in any currency"
        finding = f"no {gap.currency} price has a source; {instead}"
        yield _finding(gap.book, gap.model, gap.currency, (gap.since, gap.until), finding)


def _calendar_rows(book: PriceBook, year: int) -> Iterator[Row]:
    """This year and the next, for every schedule in force that spares public holidays."""
    unknown = {
        (priced.book, schedule.name, missing)
        for priced in book.all
        for entries in priced.entries.values()
        if (schedule := entries[-1].schedule) and schedule.holidays is not None and entries[-1].until == inf
        for missing in {year, year + 1} - schedule.holidays.keys()
    }
    for provider, schedule_name, missing in sorted(unknown):
        begin, end = (datetime(first, 1, 1, tzinfo=UTC).timestamp() for first in (missing, missing + 1))
        finding = f"public holidays unknown: those on weekdays are priced at peak (schedule {schedule_name})"
        yield _finding(provider, "", "", (begin, end), finding)


def _finding(provider: str, model: str, currency: str, times: tuple[float, float], finding: str) -> Row:
    since, until = map(instant_text, times)
    return {
        "provider": provider,
        "model": model,
        "currency": currency,
        "from": since,
        "until": until,
        "finding": finding,
    }
