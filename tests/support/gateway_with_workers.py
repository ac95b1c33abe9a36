"""``python gateway_with_workers.py N serve -c FILE``: as ``penstock serve --workers N``, whatever the store.

The command refuses stores that several processes must not write; each worker then has a ledger of its own, and all else
can be tried without servers.
"""

import asyncio
import sys
from pathlib import Path

import click
import uvloop

from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.observe.logs import configure_logs
from penstock.providers.registry import KINDS
from penstock.server.serve_workers import serve_workers
from penstock.server.workers import WorkerFailed
from tests.support.gateway_process import PENSTOCK


def main(count: int, arguments: list[str]) -> int:
    """The exit code."""

    def load_settings() -> Settings:
        return load_here(Path(arguments[arguments.index("-c") + 1]), registry=KINDS)

    configure_logs()
    command = [PENSTOCK, *arguments]
    serving = serve_workers(load_settings(), count, command, clock=SystemClock(), load_settings=load_settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving)
    except WorkerFailed as error:
        click.echo(error.public, err=True)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
