"""``penstock doctor``: whether everything the config depends on is well, and what to do where it is not.

Reads, and pays for nothing; a line per finding, which never holds a secret.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from penstock.cli.doctor_here import examine_here
from penstock.cli.options import config_option
from penstock.cli.output import emit, format_option
from penstock.clock import SystemClock, SystemRng
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.findings import Finding, State, fail, ok, warn
from penstock.errors import ConfigError, PenstockError
from penstock.providers.checkup import examine_providers
from penstock.providers.registry import KINDS
from penstock.stores.checkup import examine_shared, examine_store
from penstock.stores.location import MEMORY, is_postgres, sqlite_path
from penstock.stores.open import open_keys


@click.command()
@click.option("--offline", is_flag=True, help="Leave the providers alone.")
@config_option
@format_option
def doctor(*, config: Path | None, offline: bool, format_: str) -> None:
    """Check everything the config depends on: store, Redis, providers, prices, keys, ports, files.

    Makes no call that is paid for, and changes nothing. Exit code 1 when anything fails; a warning is no failure.
    """
    try:
        settings = load_here(config, registry=KINDS)
    except ConfigError as error:
        findings = [fail("config", mistake) for mistake in error.mistakes]
    else:
        findings = asyncio.run(_examine(settings, offline=offline))
    _show(findings, format_)
    if any(each.state is State.FAIL for each in findings):
        raise click.exceptions.Exit(1)


async def _examine(settings: Settings, *, offline: bool) -> list[Finding]:
    clock = SystemClock()
    config = [ok("config", settings.source), *(warn("config", each, "") for each in settings.warnings)]
    store, shared, providers = await asyncio.gather(
        examine_store(settings, clock),
        examine_shared(settings, clock, SystemRng()),
        _providers(settings, clock, offline=offline),
    )
    keys = (
        None if any(each.check in {"store", "schema"} and each.do for each in store) else await _keys(settings, clock)
    )
    return [*config, *store, *shared, *providers, *examine_here(settings, keys, clock.now())]


async def _providers(settings: Settings, clock: SystemClock, *, offline: bool) -> list[Finding]:
    if settings.simulated:
        return [ok("providers", "none: answers are simulated")]
    if offline:
        return [ok("providers", "left alone (--offline)")]
    return await examine_providers(settings.providers, clock, settings.timeouts.connect_s)


async def _keys(settings: Settings, clock: SystemClock) -> int | None:
    """How many live keys the store has; None = it cannot say."""
    if not is_postgres(settings.store) and not _exists(settings):
        return 0
    try:
        async with open_keys(settings.store, settings.directory, write=False) as store:
            return sum(record.is_live(clock.now()) for record in await store.list())
    except PenstockError:
        return None


def _exists(settings: Settings) -> bool:
    return settings.store != MEMORY and sqlite_path(settings.store, settings.directory).exists()


def _show(findings: Sequence[Finding], format_: str) -> None:
    states = {state.value: sum(each.state is state for each in findings) for state in State}
    if format_ != "table":
        emit([{**each._asdict(), "state": each.state.value} for each in findings], states, format_)
        return
    width = max(len(each.check) for each in findings)
    for each in findings:
        click.echo(_line(each, width))
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()))


def _line(finding: Finding, width: int) -> str:
    todo = f"; {finding.do}" if finding.do else ""
    text = f"{finding.state.value:<4}  {finding.check:<{width}}  {finding.found}{todo}"
    return "".join(char if char.isprintable() else " " for char in text)
