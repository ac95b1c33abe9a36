"""``penstock check``: whether the config is right, and what it comes to."""

from pathlib import Path

import click

from penstock.cli.options import config_option
from penstock.cli.output import emit
from penstock.config.load import load_here
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, ModelSettings, Settings
from penstock.core.pricebook import PriceBook
from penstock.providers.registry import KINDS


@click.command()
@config_option
def check(config: Path | None) -> None:
    """Check the config: OK and what it comes to, or every mistake at once."""
    settings = load_here(config, registry=KINDS)
    click.echo(f"OK: {summary(settings)}")
    emit(deployment_rows(settings, load_book()), None, "table")
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)


def summary(settings: Settings) -> str:
    """One line: where it came from and how much there is of what."""
    models = sum(not model.alias_of for model in settings.models.values())
    counted = {"provider": len(settings.providers), "model": models, "alias": len(settings.models) - models}
    counts = ", ".join(f"{count} {_plural(noun, count)}" for noun, count in counted.items())
    simulated = "; no provider is configured, so answers are simulated" if settings.simulated else ""
    return f"{settings.source}: {counts}{simulated}"


def deployment_rows(settings: Settings, book: PriceBook) -> list[dict[str, object]]:
    """A row per deployment of each model."""
    return [
        {
            "model": model.name,
            "aliases": ", ".join(_aliases(settings, model)),
            "deployment": deployment.id,
            "weight": deployment.weight,
            "price": _price(deployment, book),
        }
        for model in settings.models.values()
        if not model.alias_of
        for deployment in model.deployments
    ]


def _aliases(settings: Settings, model: ModelSettings) -> list[str]:
    return [alias.name for alias in settings.models.values() if alias.alias_of == model.name]


def _price(deployment: DeploymentSettings, book: PriceBook) -> str:
    provider = deployment.provider
    if provider.prices is not None:
        return f"from the config, in {provider.prices.currency}"
    if book.known(provider.price_book, deployment.model, provider.currency):
        return f"price book {provider.price_book}, in {provider.currency}"
    return "not priced"


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
