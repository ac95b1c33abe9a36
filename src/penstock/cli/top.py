"""``penstock top``: what the gateway does now, again and again. Asks the admin API of the running server."""

import asyncio
import signal
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.live import Live

from penstock.cli.admin import AdminClient, NoServer
from penstock.cli.options import config_option
from penstock.cli.output import emit, format_option
from penstock.cli.top_display import frame
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.config.units import parse_duration
from penstock.core.fleet_report import FleetReport
from penstock.ports.clock import Clock
from penstock.providers.registry import KINDS

_LEAST_S: Final = 0.2
"""Between two frames: whoever looks should cost the server nothing."""
_PATIENCE_S: Final = 3.0
_PIPE_COLUMNS: Final = 160


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None
    if seconds < _LEAST_S:
        raise click.BadParameter(f"{value!r} is too short; 200ms is the least")
    return seconds


@click.command()
@click.option("--once", is_flag=True, help="One frame, and done; so it is where the output is no terminal.")
@click.option(
    "--interval", default="1s", callback=_seconds, show_default=True, metavar="1s", help="Between two frames."
)
@config_option
@format_option
def top(*, once: bool, interval: float, config: Path | None, format_: str) -> None:
    """Requests, tokens, cost, savings, and every deployment with its state, live. Ctrl-C ends it."""
    server = FleetServer(load_here(config, registry=KINDS))
    report = server.ask()
    console = Console()
    if format_ != "table":
        _emit(report, format_)
    elif once or not console.is_terminal:
        _print(report, server.address, console)
    else:
        _watch(server, report, console, interval)


class FleetServer:
    """The running server of these settings."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"http://{settings.server.admin_listen}"
        self._client = AdminClient(settings, _PATIENCE_S)

    def ask(self) -> FleetReport:
        """What it says of its fleet. Raises ClickException when there is none, or it says something else."""
        try:
            return msgspec.convert(self._client.ask("GET", "/admin/fleet"), FleetReport)
        except NoServer:
            raise click.ClickException(
                f"no server answers at {self.address} (server.admin_listen): is `penstock serve` running?"
            ) from None
        except msgspec.ValidationError as error:
            raise click.ClickException(
                f"the server at {self.address} is no Penstock of this version: {error}"
            ) from None


def _emit(report: FleetReport, format_: str) -> None:
    """The rows as the server told them; a list in CSV is one cell."""
    rows = [msgspec.to_builtins(row) for row in report.rows]
    if format_ == "csv":
        rows = [{**row, "models": " ".join(row["models"])} for row in rows]
    emit(rows, msgspec.to_builtins(report.total), format_)


def _print(report: FleetReport, address: str, console: Console) -> None:
    """To a pipe without padding."""
    if console.is_terminal:
        console.print(frame(report, address, console.width))
        return
    wide = Console(width=_PIPE_COLUMNS, file=StringIO())
    with wide.capture() as captured:
        wide.print(frame(report, address, wide.width))
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _watch(server: FleetServer, report: FleetReport, console: Console, interval_s: float) -> None:
    with suppress(KeyboardInterrupt, asyncio.CancelledError):  # that is how it ends
        asyncio.run(_frames(server, report, console, interval_s, SystemClock()))


async def _frames(server: FleetServer, report: FleetReport, console: Console, interval_s: float, clock: Clock) -> None:
    """Show what it says until a signal comes, and give the terminal back; while it is silent, what it said last."""
    trouble, watching = "", asyncio.current_task()
    if watching is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            picture = frame(report, server.address, console.width, height=console.height, trouble=trouble)
            live.update(picture, refresh=True)
            await clock.sleep(interval_s)
            try:
                report, trouble = server.ask(), ""
            except click.ClickException as error:
                trouble = error.message
