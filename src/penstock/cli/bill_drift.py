"""The ledger against an exported bill, per day and model."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from penstock.cli.bad_input import BadInput, chosen_provider
from penstock.cli.output import emit
from penstock.clock import SystemClock
from penstock.config.bills import Bill, read_bill
from penstock.config.prices import load_book
from penstock.config.settings import ProviderSettings, Settings
from penstock.core.money import DECIMALS, format_amount, is_currency
from penstock.core.pricebook import PriceBook
from penstock.core.reconcile import BillLine, Charges, Drift, converted, drifts, total_of
from penstock.core.windows import Span, span_at
from penstock.errors import PriceError, StoreError
from penstock.ports.ledger import AuditStore
from penstock.stores.open import open_audit
from penstock.stores.span import find_zone, parse_instant

_MINOR: Final = ("billed_tokens", "tokens", "currency", "unpriced", "calls", "drift_percent", "estimated")


async def bill_drift(
    settings: Settings,
    file: Path,
    format_: str,
    *,
    provider: str | None,
    columns: Mapping[str, str],
    rename: Mapping[str, str],
    currency: str | None,
    timezone: str | None,
    since: str | None,
    until: str | None,
) -> None:
    """Print a row per day and model. Raises BadInput, ConfigError, StoreError."""
    _check(timezone, currency)
    bill = read_bill(str(file), _read(file), columns, timezone)
    billed_by = chosen_provider(settings, provider, lambda each: _writes(each, bill), f"bills like {bill.layout.name}")
    code, lines = _lines(bill, currency, _currency_of(billed_by), str(file))
    zone = ZoneInfo(bill.timezone)
    span = _span(lines, zone, since, until)
    within = [line for line in lines if span.start <= _day(line.day, zone).start < span.end]
    async with open_audit(settings.store, settings.directory, write=False) as store:
        charges = await store.charges(billed_by.name, span.start, span.end, billed_by.billed_at)
        if not within or not charges:
            raise BadInput(await _no_overlap(store, billed_by, lines, zone))
        book_currency = await store.currency() or settings.currency
    names = _Names(load_book(), billed_by, code, rename, charges)
    try:
        rows = drifts(
            within,
            charges,
            zone=zone,
            name_of=names.model if any(line.model for line in within) else lambda _name, _day: "",
            amount_of=lambda each: converted(each, code, book_currency, settings.fx),
        )
    except ValueError as error:
        raise BadInput(str(error)) from None
    total = total_of(rows)
    title = f"{billed_by.name} against {file.name}, {bill.layout.name}; days of {bill.timezone}, {code}"
    emit([_row(row, code) for row in rows], _row(total, code, names=False), format_, title=title, minor=_MINOR)
    _notes(total, charges, code)


class _Names:
    """What a model is called on either side: by --rename, by the price book's aliases, without regard to case."""

    def __init__(
        self,
        book: PriceBook,
        provider: ProviderSettings,
        currency: str,
        rename: Mapping[str, str],
        charges: Sequence[Charges],
    ) -> None:
        self._book = book
        self._provider = provider
        self._currency = currency
        self._rename = {name.casefold(): model for name, model in rename.items()}
        self._spelled = {name.casefold(): name for each in charges for name in [each.deployment.partition("/")[2]]}

    def model(self, name: str, day: date) -> str:
        """The model that ``name`` was sold as that day."""
        name = self._rename.get(name.casefold(), name)
        name = self._spelled.get(name.casefold(), name)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
        try:
            return self._book.tariff(self._provider.price_book, name, self._currency, noon).model
        except PriceError:
            return name


def _check(timezone: str | None, currency: str | None) -> None:
    try:
        find_zone(timezone or "UTC")
    except StoreError as error:
        raise click.UsageError(error.public) from None
    if currency is not None and not is_currency(currency):
        raise click.UsageError(f"--currency {currency!r} is no currency: write a code of three capitals, such as CNY")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from None


def _writes(provider: ProviderSettings, bill: Bill) -> bool:
    return not bill.layout.kinds or provider.kind in bill.layout.kinds


def _currency_of(provider: ProviderSettings) -> str:
    return provider.prices.currency if provider.prices is not None else provider.currency


def _lines(bill: Bill, wanted: str | None, default: str, file: str) -> tuple[str, Sequence[BillLine]]:
    """The currency that is compared, and the bill's lines in it; lines that name none are in it, too."""
    codes = sorted(code for code in bill.lines if code)
    if wanted is None and len(codes) > 1:
        raise BadInput(f"{file} has lines in {' and '.join(codes)}, which have no sum: say --currency {codes[0]}")
    code = wanted or (codes[0] if codes else default)
    lines = [*bill.lines.get(code, ()), *bill.lines.get("", ())]
    if not lines:
        raise BadInput(f"{file} has no line in {code}: it has {', '.join(codes)}")
    return code, lines


def _day(day: date, zone: ZoneInfo) -> Span:
    return span_at("day", zone, datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp())


def _span(lines: Sequence[BillLine], zone: ZoneInfo, since: str | None, until: str | None) -> Span:
    """Whole days: those that begin in [since, until)."""
    days = [line.day for line in lines]
    now = SystemClock().now()
    try:
        start = _day(min(days), zone).start if since is None else parse_instant(since, now, zone.key)
        end = _day(max(days), zone).end if until is None else parse_instant(until, now, zone.key)
    except StoreError as error:
        raise click.UsageError(error.public) from None
    if start >= end:
        raise click.UsageError(f"no day begins at {since or min(days)} or later, and before {until or max(days)}")
    return Span(_begin(start, zone), _begin(end, zone))


def _begin(at: float, zone: ZoneInfo) -> float:
    """``at`` where a day begins, else the next instant where one does."""
    day = span_at("day", zone, at)
    return at if day.start == at else day.end


async def _no_overlap(store: AuditStore, provider: ProviderSettings, lines: Sequence[BillLine], zone: ZoneInfo) -> str:
    """Why there is nothing to compare."""
    days = [line.day for line in lines]
    billed = f"the bill is of {min(days)} to {max(days)}"
    extent = await store.extent(provider.name, provider.billed_at)
    if extent is None:
        return f"{billed}, and the ledger has no call to {provider.name}: is it another provider's? say --provider"
    first, last = (datetime.fromtimestamp(at, zone).date() for at in (extent.since, extent.until))
    return (
        f"{billed}, the ledger's calls to {provider.name} are of {first} to {last}: nothing is left to compare; "
        "export the bill of those days, or widen --since and --until"
    )


def _row(row: Drift, currency: str, *, names: bool = True) -> dict[str, object]:
    named: dict[str, object] = {"date": str(row.day), "model": row.model} if names else {}
    return {
        **named,
        "calls": row.calls,
        "ledger": format_amount(row.ledger_nano, DECIMALS),
        "billed": format_amount(row.billed_nano, DECIMALS),
        "drift": format_amount(row.drift_nano, DECIMALS),
        "drift_percent": None if row.drift_percent is None else f"{row.drift_percent:f}",
        "estimated": format_amount(row.estimated_nano, DECIMALS),
        "unpriced": row.unpriced,
        "tokens": row.tokens,
        "billed_tokens": row.billed_tokens,
        "currency": currency,
    }


def _notes(total: Drift, charges: Sequence[Charges], currency: str) -> None:
    say: Callable[[str], None] = lambda text: click.echo(f"note: {text}", err=True)  # noqa: E731 - two uses
    if total.unpriced:
        say(f"{total.unpriced} calls have no price and are not in the ledger's amounts: see --rerate")
    other = sorted({each.currency for each in charges if each.currency not in {"", currency}})
    if other:
        say(f"calls charged in {', '.join(other)} were converted to {currency}")
