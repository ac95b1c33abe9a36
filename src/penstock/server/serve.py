"""The life of a serving process: listen, serve, reload, drain, close.

SIGTERM or SIGINT begins the drain: ``/readyz`` says 503, the data plane accepts no more connections, requests under way
have ``server.drain`` to finish and are then refused, or cut with a last event that says why; at last the ledger is
flushed and the admin plane goes. A second signal cuts at once, and still flushes. SIGHUP reloads the config; an invalid
one is logged and the old one serves on. SIGUSR2 starts a successor; when that one serves, this process drains, and
serves on when it does not (docs/adr/0011-a-successor-before-the-end.md).
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, TextIO

from penstock import __version__
from penstock.config.refusals import refusals_at_start
from penstock.config.settings import Address, Settings
from penstock.errors import ConfigError, PenstockError
from penstock.server.activation import Given
from penstock.server.gauges import watch
from penstock.server.health import Phase
from penstock.server.listener import Listener, bind
from penstock.server.planes import Planes
from penstock.server.predecessor import Predecessor
from penstock.server.restarts import Restarts
from penstock.server.succession import Gateway
from penstock.server.successor import Successor
from penstock.server.supervisor import Supervisor

log = logging.getLogger(__name__)

ADMIN_DRAIN_S: Final = 1.0
MAX_NAMED_MODELS: Final = 12
GC_THRESHOLDS: Final = (20_000, 20, 100)
"""Fewer collections than by default: a request leaves few cycles, and what was there at the start is frozen."""

SIMULATED: Final = "  SIMULATED: no provider is configured, answers are made up; set DEEPSEEK_API_KEY to get real ones"
"""What the start says then."""


class Stops:
    """The signals that end the process: the first drains, the second cuts."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.cut = asyncio.Event()

    def __call__(self) -> None:
        """One more signal."""
        (self.cut if self.drain.is_set() else self.drain).set()


async def serve(
    gateway: Gateway,
    data_app: Any,
    admin_app: Any,
    *,
    phase: Phase,
    load_settings: Callable[[], Settings],
    banner: TextIO | None = None,
    command: Sequence[str] = (),
    predecessor: Predecessor | None = None,
    activation: Given | None = None,
    supervisor: str | None = None,
) -> None:
    """Start the gateway and serve until a signal ends it; drain; close the gateway, whatever happened.

    ``phase``: the one that ``admin_app`` reports. ``load_settings``: for SIGHUP. ``banner``: where the start is told
    (default stderr). ``command``: what starts a successor; empty = SIGUSR2 is not heard. ``predecessor``: the process
    to take over from. ``activation``: the sockets that the supervisor has passed. ``supervisor``: where it is told that
    this process serves.
    Raises ListenError, and ConfigError where open mode would leave this machine.
    """
    server = gateway.settings.server
    async with AsyncExitStack() as last, AsyncExitStack() as before:
        before.push_async_callback(gateway.close)
        given = [each for each in (predecessor, activation) if each is not None]
        data, admin = (_socket(address, given, last) for address in (server.listen, server.admin_listen))
        await _refuse_open_doors(gateway)
        if predecessor is None:
            await gateway.start()
        else:
            last.push_async_callback(predecessor.close)
            await gateway.start(await predecessor.wait())
            await predecessor.follow(gateway)
        planes = Planes(gateway, data_app, admin_app)
        await planes.open_admin(admin)
        last.push_async_callback(planes.close_admin, ADMIN_DRAIN_S)
        await planes.open_data(data)
        if predecessor is not None:
            predecessor.take_connections(planes.data)
        phase.listening = True
        watch(gateway)
        _tune_gc()
        stops = Stops()
        restarts = Restarts(gateway, planes, command, predecessor, stops)
        last.push_async_callback(restarts.close)
        reload = partial(_reload, gateway, load_settings)
        gateway.follow_reloads(reload)
        with heed(stops, reload, restarts if command else None):
            if gateway.stores.lock is not None:
                gateway.stores.lock.sign()
            Supervisor(supervisor).serving()
            (banner or sys.stderr).write(describe_start(gateway, planes.data, planes.admin))
            await stops.drain.wait()
            phase.draining = True
            await restarts.stop()
            if restarts.successor is None:
                Supervisor(supervisor).stopping()
            await _drain(planes.data, gateway.settings.server.drain_s, stops.cut, restarts.successor)


def _socket(address: Address, given: Sequence[Given], last: AsyncExitStack) -> socket.socket:
    """Bound: the first that was given for this address, else one of our own."""
    sock = next((sock for each in given if (sock := each.socket_for(address))), None) or bind(address)
    last.callback(sock.close)
    return sock


async def _refuse_open_doors(gateway: Gateway) -> None:
    now = gateway.clock.now()
    live = [record for record in await gateway.stores.keys.list() if record.is_live(now)]
    refusals = refusals_at_start(gateway.settings, len(live))
    if refusals:
        raise ConfigError(refusals)


async def _drain(data: Listener, within_s: float, cut: asyncio.Event, successor: Successor | None) -> None:
    """``successor``: takes the connections that are idle."""
    give = None if successor is None else successor.give
    drained = asyncio.ensure_future(data.drain(within_s, give=give))
    forced = asyncio.ensure_future(cut.wait())
    await asyncio.wait({drained, forced}, return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    drained.cancel()
    with suppress(asyncio.CancelledError):
        await drained


async def _reload(gateway: Gateway, load_settings: Callable[[], Settings]) -> None:
    try:
        settings, restart = await gateway.reload(load_settings)
    except ConfigError as error:
        log.error("the new config is refused; the old one serves on", extra={"mistakes": error.mistakes})  # noqa: TRY400 - no traceback: the mistakes say all
    except PenstockError:
        log.exception("the config was not reloaded")
    else:
        log.info("the config is reloaded", extra={"source": settings.source, "needs_restart": list(restart)})


@contextmanager
def heed(stops: Stops, reload: Callable[[], Awaitable[None]], restart: Callable[[], object] | None) -> Iterator[None]:
    """Our own handlers of signals, for as long as the block runs."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Future[None]] = set()

    def begin_reload() -> None:
        task = asyncio.ensure_future(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    handlers: dict[int, Callable[[], object]] = {
        signal.SIGTERM: stops,
        signal.SIGINT: stops,
        signal.SIGHUP: begin_reload,
    }
    if restart is not None:
        handlers[signal.SIGUSR2] = restart
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _tune_gc() -> None:
    """What the start left behind is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def describe_start(gateway: Gateway, data: Listener, admin: Listener) -> str:
    """What a person wants to know when it starts."""
    settings = gateway.settings
    lines = [
        f"Penstock {__version__}",
        f"  base_url  http://{data.address}/v1",
        f"  admin     http://{admin.address}  (/metrics /healthz /readyz /admin)",
        f"  config    {settings.source}",
        f"  models    {_name_models(settings)}",
    ]
    if settings.simulated:
        lines.append(SIMULATED)
    if gateway.keyring.open:
        lines.append(
            "  OPEN: no key exists, so any key is accepted, from this machine only; `penstock keys create NAME`"
        )
    return "\n".join([*lines, *[f"  warning: {warning}" for warning in settings.warnings], ""])


def _name_models(settings: Settings) -> str:
    names = [model.name for model in settings.models.values() if not model.alias_of]
    shown = ", ".join(names[:MAX_NAMED_MODELS]) + (", ..." if len(names) > MAX_NAMED_MODELS else "")
    aliases = len(settings.models) - len(names)
    more = f" and {aliases} {'alias' if aliases == 1 else 'aliases'}" if aliases else ""
    return (shown or "none") + more
