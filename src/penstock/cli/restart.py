"""``penstock restart``: the running server hands over to a new process, without a gap."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import click

from penstock.cli.bad_input import BadInput
from penstock.cli.options import config_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.ports.clock import Clock
from penstock.providers.registry import KINDS
from penstock.server.successor import READY_WITHIN_S, SERVING_WITHIN_S
from penstock.stores.location import sqlite_path
from penstock.stores.lock import holder

LOOK_S: Final = 0.1


@click.command()
@config_option
def restart(config: Path | None) -> None:
    """Let a new process take over from the running server; nothing changes where it cannot."""
    settings = load_here(config, registry=KINDS)
    store = sqlite_path(settings.store, settings.directory)
    old = holder(store)
    if old is None:
        raise BadInput(f"no server runs on {store}: `penstock serve` starts one")
    os.kill(old, signal.SIGUSR2)
    within_s = settings.server.drain_s + READY_WITHIN_S + SERVING_WITHIN_S
    new = asyncio.run(_successor(store, old, within_s, SystemClock()))
    if new is None:
        raise click.ClickException(f"process {old} serves on: its log says why")
    click.echo(f"Process {new} serves; process {old} answers what it has begun, and ends.")


async def _successor(store: Path, old: int, within_s: float, clock: Clock) -> int | None:
    """The process that serves in the place of ``old``; None when there is none in time."""
    until = clock.monotonic() + within_s
    while clock.monotonic() < until:
        new = holder(store)
        if new not in {None, old}:
            return new
        await clock.sleep(LOOK_S)
    return None
