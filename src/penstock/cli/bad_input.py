"""Input of a command that is wrong, as other than its options: exit code 2, without the usage."""

from collections.abc import Callable
from typing import ClassVar

import click

from penstock.config.settings import ProviderSettings, Settings


class BadInput(click.ClickException):
    """What is wrong, and what to do."""

    exit_code: ClassVar[int] = 2


def chosen_provider(
    settings: Settings, name: str | None, fits: Callable[[ProviderSettings], bool], what: str
) -> ProviderSettings:
    """The provider of that name, else the only one that ``fits``. Raises BadInput. ``what``: is looked for."""
    if name is not None:
        if name not in settings.providers:
            raise BadInput(f"the config has no provider {name!r}: it has {', '.join(settings.providers) or 'none'}")
        return settings.providers[name]
    found = [provider for provider in settings.providers.values() if fits(provider)]
    if len(found) != 1:
        names = ", ".join(provider.name for provider in found or settings.providers.values()) or "none"
        raise BadInput(f"the config has {len(found) or 'no'} providers with {what}: say --provider, one of: {names}")
    return found[0]
