"""The settings of a gateway whose models are what its centres offer, and the price book with the centres' lists."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from penstock.config.price_file import Calendars, read_price_file
from penstock.config.prices import chinese_holidays
from penstock.config.settings import DeploymentSettings, ModelSettings, ProviderSettings, Settings
from penstock.core.offer import Offer, Offered
from penstock.core.pricebook import PriceBook, PricedModel

Offers = Mapping[str, Offer]
"""By the name of the provider that is the centre."""


def with_offers(settings: Settings, offers: Offers) -> Settings:
    """The settings with what the centres serve beside what they name; as they are where the file names its models."""
    if not settings.takes_models:
        return settings
    models = dict(settings.models)
    for name, offer in offers.items():
        provider = settings.providers.get(name)
        if provider is not None and provider.charged_elsewhere:
            for offered in offer.models:
                if offered.name not in settings.models:
                    models[offered.name] = _model(offered, provider, models.get(offered.name), settings)
    return replace(settings, models=MappingProxyType(models))


def offered_prices(offers: Offers) -> dict[str, Offered]:
    """What each deployment at a centre is measured by, by its id."""
    return {f"{name}/{each.name}": each for name, offer in offers.items() for each in offer.models}


def read_offered_prices(offer: Offer, calendars: Calendars | None = None) -> list[PricedModel]:
    """The models of its price lists. Raises ConfigError with every mistake: one that is wrong counts as none."""
    known = calendars or {"CN": chinese_holidays()}
    lists = offer.prices.items()
    return [model for book, text in lists for model in read_price_file(book, f"{book}.yaml", text.encode(), known)]


def with_prices(book: PriceBook, priced: list[PricedModel]) -> PriceBook:
    """The book with the lists that a centre has instead of its own of the same name."""
    if not priced:
        return book
    replaced = {model.book for model in priced}
    return PriceBook([*(model for model in book.all if model.book not in replaced), *priced])


def _model(
    offered: Offered, provider: ProviderSettings, before: ModelSettings | None, settings: Settings
) -> ModelSettings:
    """One that another centre offers too is served by both."""
    deployment = DeploymentSettings(provider=provider, model=offered.name, weight=1, region="")
    if before is not None:
        return replace(before, deployments=(*before.deployments, deployment))
    return ModelSettings(
        name=offered.name,
        deployments=(deployment,),
        balance="weighted",
        baseline=deployment,
        default_output=offered.default_output,
        stream_upstream=True,
        exact=None,
        timeouts=settings.timeouts,
    )
