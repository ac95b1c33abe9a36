"""The metrics of the ledger's day and of accounts, as the background knows them."""

from collections.abc import Iterator

from penstock.background.balances import Account
from penstock.config.settings import Settings
from penstock.observe.readings import Reading
from penstock.server.gateway import Gateway


def money(gateway: Gateway) -> Iterator[Reading | None]:
    """The day, every account, and the limits that they are held to."""
    yield from _day(gateway)
    yield from _limits(gateway.settings)
    for account in gateway.balances.accounts():
        yield from _account(account)


def _day(gateway: Gateway) -> Iterator[Reading]:
    billed = gateway.today.billed()
    if billed is None:
        return
    for kind in ("input_miss", "input_hit", "cache_write", "output"):
        yield Reading("penstock_tokens_today", (kind,), getattr(billed.usage, kind))
    yield Reading("penstock_cost_today", (gateway.settings.currency,), billed.cost_nano)


def _limits(settings: Settings) -> Iterator[Reading]:
    limit = settings.alerts.tokens_per_day
    if limit is not None:
        yield Reading("penstock_tokens_per_day_limit", (), limit)
    for provider in settings.providers.values():
        if provider.balance_low is not None:
            labels = (provider.name, provider.currency)
            yield Reading("penstock_account_balance_low", labels, float(provider.balance_low))


def _account(account: Account) -> Iterator[Reading]:
    name, balance = account.provider.name, account.last
    if balance is not None:
        yield Reading("penstock_account_balance", (name, balance.currency), balance.total_nano)
    if account.drift is not None:
        yield Reading("penstock_ledger_drift_ratio", (name,), account.drift)
