"""The life of the process that has workers: it listens for them, answers operators, and passes signals on.

SIGTERM or SIGINT drains every worker, a second one cuts. SIGHUP reloads each. SIGUSR2 replaces them one after the
other; this process stays what it is. If it dies, its workers drain and end.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, TextIO

from penstock import __version__
from penstock.config.refusals import refusals_at_start
from penstock.config.settings import Address, Settings
from penstock.errors import ConfigError
from penstock.observe.aggregate import Aggregate
from penstock.ports.clock import Clock
from penstock.server.activation import Given
from penstock.server.health import Phase
from penstock.server.listener import Listener, bind
from penstock.server.planes import ADMIN_BOUNDS
from penstock.server.serve import ADMIN_DRAIN_S, SIMULATED, Stops, heed
from penstock.server.supervisor import Supervisor
from penstock.server.workers import Workers
from penstock.server.workers_api import WorkersApi, workers_app

_A_KEY: Final = 1
"""Whether there is one each worker finds out for itself."""


async def serve_workers(
    settings: Settings,
    count: int,
    command: Sequence[str],
    *,
    clock: Clock,
    load_settings: Callable[[], Settings],
    activation: Given | None = None,
    supervisor: str | None = None,
    banner: TextIO | None = None,
) -> None:
    """Serve by ``count`` workers until a signal ends it. ``command``: what starts one; the rest as ``serve.serve``.

    Raises ListenError, ConfigError, and WorkerFailed when the first ones do not come to serve.
    """
    refusals = refusals_at_start(settings, _A_KEY)
    if refusals:
        raise ConfigError(refusals)
    phase, aggregate, stops = Phase(), Aggregate(), Stops()
    async with AsyncExitStack() as last:
        data, admin = (_socket(each, activation) for each in (settings.server.listen, settings.server.admin_listen))
        last.callback(admin.close)
        last.callback(data.close)
        workers = Workers(count, clock, command, data, aggregate.end)
        api = WorkersApi(workers, aggregate, phase, settings, load_settings)
        listener = await Listener(workers_app(api), admin, clock=clock, bounds=ADMIN_BOUNDS).start()
        last.push_async_callback(listener.drain, ADMIN_DRAIN_S)

        async def reload() -> None:
            workers.reload()
            await api.adopt()

        with heed(stops, reload, workers.roll):
            last.push_async_callback(_stop, workers, stops.cut)
            if not await _have_started(workers, stops.drain):
                return
            phase.listening = True
            Supervisor(supervisor).serving()
            (banner or sys.stderr).write(_describe(settings, data, listener, count))
            await stops.drain.wait()
            phase.draining = True
            Supervisor(supervisor).stopping()
            data.close()  # else who connects would wait for workers that are gone
            await _stop(workers, stops.cut)


def _socket(address: Address, activation: Given | None) -> socket.socket:
    return (None if activation is None else activation.socket_for(address)) or bind(address)


async def _have_started(workers: Workers, told_to_end: asyncio.Event) -> bool:
    """Whether they came to serve before they were to end. Raises what ``Workers.start`` does."""
    start, told = asyncio.ensure_future(workers.start()), asyncio.ensure_future(told_to_end.wait())
    await asyncio.wait({start, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not start.done():
        start.cancel()
    with suppress(asyncio.CancelledError):
        await start
    return not told_to_end.is_set()


async def _stop(workers: Workers, cut: asyncio.Event) -> None:
    """Return when they have drained, or were cut."""
    stopping, cutting = asyncio.ensure_future(workers.stop()), asyncio.ensure_future(cut.wait())
    await asyncio.wait({stopping, cutting}, return_when=asyncio.FIRST_COMPLETED)
    cutting.cancel()
    if not stopping.done():
        workers.leave()
    await stopping


def _describe(settings: Settings, data: socket.socket, admin: Listener, count: int) -> str:
    lines = [
        f"Penstock {__version__}",
        f"  base_url  http://{Address(*data.getsockname()[:2])}/v1",
        f"  admin     http://{admin.address}  (/metrics /healthz /readyz /admin)",
        f"  config    {settings.source}",
        f"  workers   {count}",
    ]
    if settings.simulated:
        lines.append(SIMULATED)
    return "\n".join([*lines, *[f"  warning: {warning}" for warning in settings.warnings], ""])
