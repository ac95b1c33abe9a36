"""The ledger against what the provider says that the account holds, since it was last asked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

import click

from penstock.cli.bad_input import BadInput, chosen_provider
from penstock.cli.output import emit
from penstock.clock import SystemClock
from penstock.compose import ask_balance
from penstock.config.settings import ProviderSettings, Settings
from penstock.core.money import DECIMALS, format_amount, parse_decimal, to_nano
from penstock.core.reconcile import Balance, BalanceChange, percent, sum_in
from penstock.errors import UpstreamError
from penstock.ports.ledger import AuditStore
from penstock.providers.registry import KINDS
from penstock.stores.open import open_audit

_MINOR: Final = ("provider", "currency", "unpriced", "change", "drift_percent", "estimated", "spent", "since")


async def balance_drift(settings: Settings, format_: str, *, provider: str | None, topped_up: str | None) -> None:
    """Print a row per currency of the account. Raises BadInput, StoreError; ClickException where the provider fails."""
    asked = chosen_provider(settings, provider, _tells, "a balance to ask for")
    if not _tells(asked):
        kinds = ", ".join(kind.name for kind in KINDS.values() if kind.balance_path)
        raise BadInput(f"providers of kind {asked.kind} tell no balance: those of kind {kinds} do; compare with --bill")
    paid_in = _paid_in(topped_up, asked.currency)
    async with open_audit(settings.store, settings.directory, write=True) as store:
        before = {each.currency: each for each in await store.last_balances(asked.name)}
        balances = await _ask(asked)
        unknown = paid_in.keys() - (before.keys() & {each.currency for each in balances})
        if unknown:
            raise BadInput(f"--topped-up: there is no earlier balance in {unknown.pop()} to compare with")
        ledger = _Ledger(store, asked, await store.currency() or settings.currency, settings.fx)
        changes = [await _change(ledger, before.get(now.currency), now, paid_in) for now in balances]
        await store.keep_balances(balances)
    emit([_row(*change) for change in changes], None, format_, minor=_MINOR)
    _notes(asked.name, [change for change, _ in changes])


def _tells(provider: ProviderSettings) -> bool:
    return bool(KINDS[provider.kind].balance_path) and "chat" in provider.base_urls


def _paid_in(text: str | None, default: str) -> Mapping[str, int]:
    """Currency -> nano-units."""
    if text is None:
        return {}
    number, _, currency = text.strip().partition(" ")
    try:
        return {currency.strip() or default: to_nano(parse_decimal(number))}
    except ValueError as error:
        raise click.UsageError(f"--topped-up: {error}") from None


async def _ask(provider: ProviderSettings) -> Sequence[Balance]:
    """Raises ClickException, which never tells the key, whatever the provider answered."""
    try:
        return await ask_balance(provider, SystemClock())
    except UpstreamError as error:
        said = f"{error.public}: {error.detail}" if error.detail else error.public
        for secret in (provider.api_key, *provider.headers.values()):
            said = said.replace(secret.reveal(), "***") if secret is not None and secret.reveal() else said
        raise click.ClickException(f"{provider.name}: {said}; nothing was kept") from None


Change = tuple[BalanceChange | Balance, int]
"""A change, or a first balance; and how many calls have no price."""


class _Ledger(NamedTuple):
    """What is asked of it."""

    store: AuditStore
    provider: ProviderSettings
    currency: str
    fx: Mapping[str, Decimal]


async def _change(ledger: _Ledger, before: Balance | None, now: Balance, paid_in: Mapping[str, int]) -> Change:
    if before is None:
        return now, 0
    provider = ledger.provider
    charges = await ledger.store.charges(provider.name, before.at, now.at, provider.billed_at)
    if now.currency != provider.currency:  # the account's other purse pays what is priced in it
        charges = [each for each in charges if each.currency == now.currency]
    try:
        charged = sum_in(charges, now.currency, ledger.currency, ledger.fx)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return BalanceChange(before, now, charged, paid_in.get(now.currency)), sum(each.unpriced for each in charges)


def _row(change: BalanceChange | Balance, unpriced: int) -> dict[str, object]:
    if isinstance(change, Balance):
        empty = dict.fromkeys(("change", "topped_up", "spent", "ledger", "drift", "drift_percent", "estimated"))
        return {**_head(change, None), **empty, "unpriced": None}
    drift = change.drift_nano
    spent = None if drift is None else change.charged.nano + drift
    share = None if drift is None or spent is None else percent(drift, spent)
    return {
        **_head(change.now, change.before),
        "change": _amount(change.change_nano),
        "topped_up": _amount(change.topped_up_nano),
        "spent": _amount(spent),
        "ledger": _amount(change.charged.nano),
        "drift": _amount(drift),
        "drift_percent": None if share is None else f"{share:f}",
        "estimated": _amount(change.charged.estimated_nano),
        "unpriced": unpriced,
    }


def _head(now: Balance, before: Balance | None) -> dict[str, object]:
    return {
        "provider": now.provider,
        "currency": now.currency,
        "since": None if before is None else _instant(before.at),
        "until": _instant(now.at),
        "before": None if before is None else _amount(before.total_nano),
        "balance": _amount(now.total_nano),
    }


def _amount(nano: int | None) -> str | None:
    return None if nano is None else format_amount(nano, DECIMALS)


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _notes(provider: str, changes: Sequence[BalanceChange | Balance]) -> None:
    for change in changes:
        if isinstance(change, Balance):
            note = f"the first balance of {provider} in {change.currency} is kept: ask again after some traffic"
        elif change.drift_nano is None:
            note = (
                f"the balance in {change.now.currency} rose: something was paid in, by the ledger "
                f"{_amount(change.topped_up_nano)}. The drift of this span is unknown without --topped-up AMOUNT"
            )
        else:
            continue
        click.echo(f"note: {note}", err=True)
