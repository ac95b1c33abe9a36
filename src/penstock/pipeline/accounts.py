"""What things cost: the one place where the pipeline turns usage into money.

Prices come from the provider's own override in the config, else from the price book at the tariff instant. ``None``
means that no price covers it: such an attempt is served, counted as unpriced and never shown as free.
"""

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from penstock.config.settings import DeploymentSettings, PriceOverride, ProviderSettings
from penstock.core.pricebook import PriceBook
from penstock.core.pricing import Charge, Rates, charge, dearest, flat_rates
from penstock.core.usage import Usage
from penstock.errors import PriceError

log = logging.getLogger(__name__)


class Quote(NamedTuple):
    """The rates that a call is held at."""

    rates: Rates
    fx: Decimal

    def nano(self, prompt_tokens: int, output_tokens: int) -> int:
        """The most it may cost with that many tokens, in the book currency."""
        return charge(Usage(input_miss=prompt_tokens, output=output_tokens), self.rates, self.fx).book_nano


class Accounts:
    """Charges in the provider's currency and in the book's."""

    def __init__(self, book: PriceBook, currency: str, fx: Mapping[str, Decimal]) -> None:
        """``fx``: book currency per unit of each other currency."""
        self.currency = currency
        self._book = book
        self._fx = {currency: Decimal(1), **fx}
        self._flat: dict[str, Rates] = {}
        self._unpriced: set[str] = set()

    def quote(self, deployment: DeploymentSettings, prompt_tokens: int, since: float, until: float) -> Quote | None:
        """The most that a call may cost which is billed at any instant from ``since`` to ``until``; None = no price."""
        try:
            rates = self._bound(deployment, prompt_tokens, since, until)
        except PriceError as error:
            self._warn_once(deployment.id, error)
            return None
        fx = self._fx.get(rates.currency)
        return None if fx is None else Quote(rates, fx)

    def charge(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str] | None:
        """What ``usage`` costs at ``deployment`` under the tariff of ``at`` (epoch seconds), and the price's source."""
        try:
            return self.priced(deployment, usage, at)
        except PriceError as error:
            self._warn_once(deployment.id, error)
            return None

    def priced(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str]:
        """As ``charge``; raises PriceError where that gives None."""
        rates = self._rates(deployment, usage, at)
        fx = self._fx.get(rates.currency)
        if fx is None:
            raise PriceError(f"no fx entry for {rates.currency}: add fx: {{{rates.currency}: ...}}")
        return charge(usage, rates, fx), rates.source

    def _rates(self, deployment: DeploymentSettings, usage: Usage, at: float) -> Rates:
        provider = deployment.provider
        if provider.prices is None:
            return self._book.rates(provider.price_book, deployment.model, provider.currency, at, usage.prompt)
        return self._configured(provider, provider.prices)

    def _bound(self, deployment: DeploymentSettings, prompt_tokens: int, since: float, until: float) -> Rates:
        provider = deployment.provider
        if provider.prices is not None:
            return dearest([self._configured(provider, provider.prices)])
        names = provider.price_book, deployment.model, provider.currency
        return self._book.bound(*names, since=since, until=until, prompt_tokens=prompt_tokens)

    def _configured(self, provider: ProviderSettings, prices: PriceOverride) -> Rates:
        rates = self._flat.get(provider.name)
        if rates is None:
            rates = self._flat[provider.name] = flat_rates(
                prices.input,
                prices.cached_input,
                prices.output,
                prices.cache_write,
                currency=prices.currency,
                source=f"config: providers.{provider.name}.prices",
            )
        return rates

    def _warn_once(self, deployment: str, error: PriceError) -> None:
        if deployment not in self._unpriced:
            self._unpriced.add(deployment)
            log.warning("no price", extra={"deployment": deployment, "why": error.public})
