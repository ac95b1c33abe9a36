"""``penstock serve``: the gateway, until a signal ends it."""

import asyncio
import io
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import uvloop

from penstock.cli.options import config_option
from penstock.clock import SystemClock
from penstock.compose import open_gateway
from penstock.config.load import activation_here, load_here, supervisor_here
from penstock.config.refusals import refusals_of_workers
from penstock.config.settings import Address, Settings
from penstock.config.units import parse_address
from penstock.errors import ConfigError
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
from penstock.server.serve_workers import serve_workers
from penstock.server.successor import INHERIT
from penstock.server.worker import WORKER, Inherited, Post
from penstock.server.workers import WorkerFailed

MAX_WORKERS: Final = 64


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else parse_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


def _post(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Post | None:
    try:
        return None if value is None else Post.parse(value)
    except ValueError:
        raise click.BadParameter("is given by the process that starts workers") from None


@click.command()
@click.option("--listen", callback=_address, metavar="HOST:PORT", help="Instead of server.listen.")
@click.option("--admin-listen", callback=_address, metavar="HOST:PORT", help="Instead of server.admin_listen.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), default=1, help="How many processes serve (1).")
@click.option(INHERIT, type=int, metavar="FD", help="Take over from the process that started this one: not for you.")
@click.option(WORKER, callback=_post, metavar="NUMBER,FD,FD,FD", help="Serve beside others: not for you.")
@config_option
def serve(
    *,
    config: Path | None,
    listen: Address | None,
    admin_listen: Address | None,
    workers: int,
    inherit: int | None,
    worker: Post | None,
) -> None:
    """Serve the gateway until SIGTERM or Ctrl-C; SIGHUP reloads the config, SIGUSR2 restarts without a gap."""

    def load_settings() -> Settings:
        settings = load_here(config, registry=KINDS)
        server = settings.server
        server = replace(server, listen=listen or server.listen, admin_listen=admin_listen or server.admin_listen)
        return replace(settings, server=server)

    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it would end a process that does not serve yet
    if worker is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # likewise; its parent passes it on
    settings = load_settings()
    if workers > 1 and (refusals := refusals_of_workers(settings)):
        raise ConfigError(refusals)
    configure_logs(worker=None if worker is None else worker.number)
    predecessor = None if inherit is None else Predecessor.meet(inherit)
    with closing(_given(settings, worker)) as given:
        serving = (
            _serve_workers(settings, load_settings, workers, given)
            if workers > 1
            else _serve(settings, load_settings, predecessor, given)
        )
        _run(serving)


def _given(settings: Settings, worker: Post | None) -> Activation | Inherited:
    """The sockets that were opened for this process."""
    server = settings.server
    if worker is None:
        return Activation(activation_here())
    return Inherited(worker.files, server.listen, server.admin_listen)


def _run(serving: Coroutine[Any, Any, None]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving)
    except ListenError as error:
        raise click.ClickException(str(error)) from None
    except WorkerFailed as error:
        raise click.exceptions.Exit(max(error.code, 1)) from None


async def _serve(
    settings: Settings,
    load_settings: Callable[[], Settings],
    predecessor: Predecessor | None,
    given: Activation | Inherited,
) -> None:
    lock = None if predecessor is None else predecessor.lock
    gateway = await open_gateway(
        settings, lambda error: row_of(error).status, lock=lock, succeeds=predecessor is not None
    )
    phase = Phase()
    alone = isinstance(given, Activation)
    if isinstance(given, Inherited):
        given.watch()
    await serve_until_stopped(
        gateway,
        DataPlane(gateway),
        admin_app(gateway, phase, load_settings),
        phase=phase,
        load_settings=load_settings,
        banner=None if alone else io.StringIO(),  # their parent says it once
        command=_command(sys.orig_argv, INHERIT) if alone else (),
        predecessor=predecessor,
        activation=given,
        supervisor=supervisor_here() if alone else None,
    )


async def _serve_workers(
    settings: Settings, load_settings: Callable[[], Settings], count: int, given: Activation | Inherited
) -> None:
    await serve_workers(
        settings,
        count,
        _command(sys.orig_argv, "--workers"),
        clock=SystemClock(),
        load_settings=load_settings,
        activation=given,
        supervisor=supervisor_here(),
    )


def _command(argv: Sequence[str], option: str) -> list[str]:
    """What started this process, to be started without that option; an installation upgraded meanwhile is used."""
    arguments = [argument for argument in argv[1:] if not argument.startswith(f"{option}=")]
    if option in arguments:
        place = arguments.index(option)
        del arguments[place : place + 2]
    return [sys.executable, *arguments]
