"""``penstock serve``: the gateway, until a signal ends it."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from penstock.cli.options import config_option
from penstock.compose import open_gateway
from penstock.config.load import activation_here, load_here, supervisor_here
from penstock.config.settings import Address, Settings
from penstock.config.units import parse_address
from penstock.observe.logs import configure_logs
from penstock.providers.registry import KINDS
from penstock.server.activation import Activation
from penstock.server.admin_api import admin_app
from penstock.server.app import DataPlane
from penstock.server.health import Phase
from penstock.server.listener import ListenError
from penstock.server.predecessor import Predecessor
from penstock.server.replies import row_of
from penstock.server.serve import serve as serve_until_stopped
from penstock.server.successor import INHERIT


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else parse_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


@click.command()
@click.option("--listen", callback=_address, metavar="HOST:PORT", help="Instead of server.listen.")
@click.option("--admin-listen", callback=_address, metavar="HOST:PORT", help="Instead of server.admin_listen.")
@click.option(INHERIT, type=int, metavar="FD", help="Take over from the process that started this one: not for you.")
@config_option
def serve(config: Path | None, listen: Address | None, admin_listen: Address | None, inherit: int | None) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C; SIGHUP reloads the config, SIGUSR2 restarts without a gap."""

    def load_settings() -> Settings:
        settings = load_here(config, registry=KINDS)
        server = settings.server
        server = replace(server, listen=listen or server.listen, admin_listen=admin_listen or server.admin_listen)
        return replace(settings, server=server)

    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it would end a process that does not serve yet
    settings = load_settings()
    configure_logs()
    predecessor = None if inherit is None else Predecessor.meet(inherit)
    try:
        with (
            closing(Activation(activation_here())) as activation,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(settings, load_settings, predecessor, activation))
    except ListenError as error:
        raise click.ClickException(str(error)) from None


async def _serve(
    settings: Settings,
    load_settings: Callable[[], Settings],
    predecessor: Predecessor | None,
    activation: Activation,
) -> None:
    lock = None if predecessor is None else predecessor.lock
    gateway = await open_gateway(settings, lambda error: row_of(error).status, lock=lock)
    phase = Phase()
    await serve_until_stopped(
        gateway,
        DataPlane(gateway),
        admin_app(gateway, phase, load_settings),
        phase=phase,
        load_settings=load_settings,
        command=_command(sys.orig_argv),
        predecessor=predecessor,
        activation=activation,
        supervisor=supervisor_here(),
    )


def _command(argv: Sequence[str]) -> list[str]:
    """What started this process, to be started again; an installation that has been upgraded meanwhile is used."""
    arguments = list(argv[1:])
    if INHERIT in arguments:
        place = arguments.index(INHERIT)
        del arguments[place : place + 2]
    return [sys.executable, *arguments]
