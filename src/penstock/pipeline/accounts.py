"""What things cost: the one place where the pipeline turns usage into money.

Prices come from the provider's own override in the config, else from the price book at the tariff instant, for a
centre under the name that the centre says. ``None`` means that no price covers it: such an attempt is served, counted
as unpriced and never shown as free. What a centre answers costs nothing here: its own ledger is charged.
"""

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from penstock.config.settings import DeploymentSettings, PriceOverride, ProviderSettings
from penstock.core.offer import Offered
from penstock.core.pricebook import PriceBook
from penstock.core.pricing import Charge, Rates, charge, dearest, flat_rates
from penstock.core.usage import Usage
from penstock.errors import PriceError

log = logging.getLogger(__name__)

AT_THE_CENTRE: Final = "charged at the centre"
"""The price source of what another Penstock's ledger is charged: nothing, here."""


class Quote(NamedTuple):
    """The rates that a call is held at."""

    rates: Rates
    fx: Decimal

    def nano(self, prompt_tokens: int, output_tokens: int) -> int:
        """The most it may cost with that many tokens, in the book currency."""
        return charge(Usage(input_miss=prompt_tokens, output=output_tokens), self.rates, self.fx).book_nano


class Accounts:
    """Charges in the provider's currency and in the book's."""

    def __init__(
        self, book: PriceBook, currency: str, fx: Mapping[str, Decimal], offered: Mapping[str, Offered] | None = None
    ) -> None:
        """``fx``: book currency per unit of each other currency. ``offered``: by deployment, what a centre says."""
        self.currency = currency
        self._book = book
        self._fx = {currency: Decimal(1), **fx}
        self._flat: dict[str, Rates] = {}
        self._dearest: dict[str, Rates] = {}
        self._unpriced: set[str] = set()
        self._offered = offered or {}
        self._elsewhere = Charge(0, currency, 0, "1"), AT_THE_CENTRE
        self._free = Quote(Rates(0, 0, 0, 0, currency, AT_THE_CENTRE), Decimal(1))

    def quote(self, deployment: DeploymentSettings, prompt_tokens: int, since: float, until: float) -> Quote | None:
        """The most that a call may cost which is billed at any instant from ``since`` to ``until``; None = no price."""
        if deployment.provider.charged_elsewhere:
            return self._free
        try:
            rates = self._bound(deployment, prompt_tokens, since, until)
        except PriceError as error:
            self._warn_once(deployment.id, error)
            return None
        fx = self._fx.get(rates.currency)
        return None if fx is None else Quote(rates, fx)

    def charge(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str] | None:
        """What ``usage`` costs at ``deployment`` under the tariff of ``at`` (epoch seconds), and the price's source."""
        return self._elsewhere if deployment.provider.charged_elsewhere else self.worth(deployment, usage, at)

    def worth(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str] | None:
        """The same as a measure, whoever is charged: what an answer would have cost that cost nothing."""
        try:
            return self.priced(deployment, usage, at)
        except PriceError as error:
            self._warn_once(deployment.id, error)
            return None

    def priced(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str]:
        """As ``worth``; raises PriceError where that gives None."""
        rates = self._rates(deployment, usage, at)
        fx = self._fx.get(rates.currency)
        if fx is None:
            raise PriceError(f"no fx entry for {rates.currency}: add fx: {{{rates.currency}: ...}}")
        return charge(usage, rates, fx), rates.source

    def _rates(self, deployment: DeploymentSettings, usage: Usage, at: float) -> Rates:
        provider = deployment.provider
        if provider.prices is not None:
            return self._configured(provider, provider.prices)
        offered = None if provider.price_book else self._offered.get(deployment.id)
        if offered is not None:
            return self._told(offered, at, usage.prompt)
        return self._book.rates(provider.price_book, deployment.model, provider.currency, at, usage.prompt)

    def _bound(self, deployment: DeploymentSettings, prompt_tokens: int, since: float, until: float) -> Rates:
        provider = deployment.provider
        if provider.prices is not None:
            rates = self._dearest.get(provider.name)
            if rates is None:
                rates = self._dearest[provider.name] = dearest([self._configured(provider, provider.prices)])
            return rates
        names = provider.price_book, deployment.model, provider.currency
        return self._book.bound(*names, since=since, until=until, prompt_tokens=prompt_tokens)

    def _told(self, offered: Offered, at: float, prompt_tokens: int) -> Rates:
        """What the centre measures its own savings by."""
        flat = offered.flat
        if flat is None:
            return self._book.rates(offered.book, offered.priced_as, offered.currency, at, prompt_tokens)
        return flat_rates(*flat, currency=offered.currency, source=f"the centre's price of {offered.name}")

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
