"""``penstock check``: whether the config is right, and what it comes to."""

from pathlib import Path
from typing import Final

import click

from penstock.cli.options import config_option
from penstock.cli.output import emit
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, ModelSettings, Settings
from penstock.core.pricebook import PriceBook
from penstock.errors import PriceError
from penstock.providers.registry import KINDS

NOT_PRICED: Final = "not priced"


@click.command()
@config_option
def check(config: Path | None) -> None:
    """Check the config: OK and what it comes to, or every mistake at once."""
    settings = load_here(config, registry=KINDS)
    click.echo(f"OK: {summary(settings)}")
    book, now = load_book(), SystemClock().now()
    emit(deployment_rows(settings, book, now), None, "table")
    for warning in (*settings.warnings, *unpriced(settings, book, now)):
        click.echo(f"warning: {warning}", err=True)


def summary(settings: Settings) -> str:
    """One line: where it came from and how much there is of what."""
    models = sum(not model.alias_of for model in settings.models.values())
    counted = {"provider": len(settings.providers), "model": models, "alias": len(settings.models) - models}
    counts = ", ".join(f"{count} {_plural(noun, count)}" for noun, count in counted.items())
    offered = "; more as centres offer" if settings.takes_models and _has_centre(settings) else ""
    simulated = "; no provider is configured, so answers are simulated" if settings.simulated else ""
    return f"{settings.source}: {counts}{offered}{simulated}"


def _has_centre(settings: Settings) -> bool:
    return any(provider.charged_elsewhere for provider in settings.providers.values())


def deployment_rows(settings: Settings, book: PriceBook, now: float) -> list[dict[str, object]]:
    """A row per deployment of each model. ``now``: epoch seconds; a name that was sold once is not priced."""
    return [
        {
            "model": model.name,
            "aliases": ", ".join(_aliases(settings, model)),
            "deployment": deployment.id,
            "weight": deployment.weight,
            "price": _price(deployment, book, now),
        }
        for model in settings.models.values()
        if not model.alias_of
        for deployment in model.deployments
    ]


def _aliases(settings: Settings, model: ModelSettings) -> list[str]:
    return [alias.name for alias in settings.models.values() if alias.alias_of == model.name]


def unpriced(settings: Settings, book: PriceBook, now: float) -> list[str]:
    """Why the price book has no price for a deployment whose provider it lists: often the name is wrong, or dead."""
    deployments = {each.id: each for model in settings.models.values() for each in model.deployments}
    reasons = {id_: _why_unpriced(each, book, now) for id_, each in deployments.items() if each.provider.price_book}
    return [f"{id_} is not priced: {reason}" for id_, reason in reasons.items() if reason]


def _price(deployment: DeploymentSettings, book: PriceBook, now: float) -> str:
    provider = deployment.provider
    if provider.charged_elsewhere:
        return "charged at the centre"
    if provider.prices is not None:
        return f"from the config, in {provider.prices.currency}"
    if _why_unpriced(deployment, book, now):
        return NOT_PRICED
    return f"price book {provider.price_book}, in {provider.currency}"


def _why_unpriced(deployment: DeploymentSettings, book: PriceBook, now: float) -> str:
    """Why a deployment has no price; "" when it has one, or needs none."""
    provider = deployment.provider
    if provider.prices is not None or (provider.charged_elsewhere and not provider.price_book):
        return ""
    try:
        book.tariff(provider.price_book, deployment.model, provider.currency, now)
    except PriceError as error:
        return error.detail
    return ""


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
