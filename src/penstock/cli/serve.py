"""``penstock serve``: the gateway, until a signal ends it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from penstock.cli.options import config_option
from penstock.compose import open_gateway
from penstock.config.load import load_here
from penstock.config.settings import Address, Settings
from penstock.config.units import parse_address
from penstock.observe.logs import configure_logs
from penstock.providers.registry import KINDS
from penstock.server.admin_api import admin_app
from penstock.server.app import DataPlane
from penstock.server.health import Phase
from penstock.server.listener import ListenError
from penstock.server.replies import row_of
from penstock.server.serve import serve as serve_until_stopped


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else parse_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


@click.command()
@click.option("--listen", callback=_address, metavar="HOST:PORT", help="Instead of server.listen.")
@click.option("--admin-listen", callback=_address, metavar="HOST:PORT", help="Instead of server.admin_listen.")
@config_option
def serve(config: Path | None, listen: Address | None, admin_listen: Address | None) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C; SIGHUP reloads the config."""

    def load_settings() -> Settings:
        settings = load_here(config, registry=KINDS)
        server = settings.server
        server = replace(server, listen=listen or server.listen, admin_listen=admin_listen or server.admin_listen)
        return replace(settings, server=server)

    settings = load_settings()
    configure_logs()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, load_settings))
    except ListenError as error:
        raise click.ClickException(str(error)) from None


async def _serve(settings: Settings, load_settings: Callable[[], Settings]) -> None:
    gateway = await open_gateway(settings, lambda error: row_of(error).status)
    phase = Phase()
    admin = admin_app(gateway, phase, load_settings)
    await serve_until_stopped(gateway, DataPlane(gateway), admin, phase=phase, load_settings=load_settings)
