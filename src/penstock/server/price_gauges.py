"""The metrics of prices: what a hit in a provider's cache is worth now, and how old the prices are that are used."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from penstock.config.offered import offered_prices
from penstock.config.settings import DeploymentSettings, ModelSettings, Settings
from penstock.core.pricebook import PriceBook
from penstock.core.usage import Usage
from penstock.errors import PriceError
from penstock.observe.readings import Reading
from penstock.pipeline.accounts import Accounts
from penstock.server.fleet_api import configured
from penstock.server.gateway import Gateway

_TOKENS: Final = 1_000
"""A prompt of a usual length: prices may depend on that."""
_PER_MTOK: Final = 10**6 / _TOKENS / 1e9
"""From nano-units for so many tokens to units for a million."""


def prices(gateway: Gateway) -> Iterator[Reading | None]:
    """Of every model and provider, step by step."""
    settings, now = gateway.settings, gateway.clock.now()
    accounts = Accounts(gateway.book, settings.currency, settings.fx, offered_prices(gateway.offers))
    for model in settings.models.values():
        yield _hit_value(accounts, model, now)
    yield from _ages(gateway.book, settings, now)


def _hit_value(accounts: Accounts, model: ModelSettings, now: float) -> Reading | None:
    """None where there is no price, or where another's ledger is charged."""
    first = model.deployments[0]
    if model.alias_of or first.provider.charged_elsewhere:
        return None
    try:
        miss, hit = (accounts.priced(first, usage, now)[0] for usage in (Usage(_TOKENS, 0), Usage(0, _TOKENS)))
    except PriceError:
        return None
    value = (miss.book_nano - hit.book_nano) * _PER_MTOK
    return Reading("penstock_prefix_hit_value_per_mtok", (model.name, accounts.currency), value)


def _ages(book: PriceBook, settings: Settings, now: float) -> Iterator[Reading | None]:
    oldest: dict[str, float] = {}
    for each in configured(settings).values():
        age_s, provider = _age_s(book, each.deployment, now), each.deployment.provider.name
        if age_s is not None:
            oldest[provider] = max(age_s, oldest.get(provider, 0.0))
        yield None
    for provider, age_s in oldest.items():
        yield Reading("penstock_price_age_seconds", (provider,), age_s)


def _age_s(book: PriceBook, deployment: DeploymentSettings, now: float) -> float | None:
    """Since the entry that holds now was confirmed; None = its price is not the book's."""
    provider = deployment.provider
    if provider.prices is not None or not provider.price_book:
        return None
    try:
        entry = book.tariff(provider.price_book, deployment.model, provider.currency, now).entry
    except PriceError:
        return None
    return max(0.0, now - datetime.fromisoformat(entry.date).replace(tzinfo=UTC).timestamp())
