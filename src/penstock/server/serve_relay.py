"""The life of the relay: listen, tell, reload by SIGHUP, and end with a signal when what is under way is told."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from penstock.config.settings import Address
from penstock.ports.clock import Clock
from penstock.server.edge import Bounds
from penstock.server.listener import Listener, bind

log = logging.getLogger(__name__)

BOUNDS: Final = Bounds(connections=256, lame_duck_s=0.0)
DRAIN_S: Final = 10.0
"""As long as a bot is tried."""


class Beside:
    """One loop that runs beside the listener; another may take its place."""

    def __init__(self) -> None:
        self._task: asyncio.Future[None] | None = None
        self.over = asyncio.Event()
        """It ended by itself."""

    async def put(self, loop: Coroutine[Any, Any, None] | None) -> None:
        """Run it in the place of what ran; None = nothing runs. Raises what that ended with."""
        await self.end()
        if loop is not None:
            self._task = task = asyncio.ensure_future(loop)
            task.add_done_callback(lambda _: self.over.set() if task is self._task else None)

    async def end(self) -> None:
        """Raises what it ended with by itself."""
        task, self._task = self._task, None
        if task is None:
            return
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        else:
            await task


async def serve_relay(
    app: Any,
    address: Address,
    clock: Clock,
    beside: Beside,
    reload: Callable[[], Awaitable[None]],
) -> None:
    """Serve until SIGTERM or SIGINT, or until what runs ``beside`` it ends. Raises ListenError.

    ``reload``: what SIGHUP begins, one after the other.
    """
    stop, due = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as last:
        sock = bind(address)
        last.callback(sock.close)
        listener = await Listener(app, sock, clock=clock, bounds=BOUNDS).start()
        last.push_async_callback(beside.end)
        last.push_async_callback(listener.drain, DRAIN_S)
        heed({signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: due.set}, last)
        sys.stderr.write(f"Penstock relays alerts at http://{listener.address}/alerts/BOT\n")
        waiting = [asyncio.ensure_future(each) for each in (stop.wait(), beside.over.wait(), again(due, reload))]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


def heed(handlers: Mapping[signal.Signals, Callable[[], object]], last: AsyncExitStack) -> None:
    """Our own handlers of signals, to the end of ``last``."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
        last.callback(loop.remove_signal_handler, number)


async def again(due: asyncio.Event, reload: Callable[[], Awaitable[None]]) -> None:
    """Reload each time that it is due; one that fails is logged, and alerts are told on."""
    while await due.wait():
        due.clear()
        try:
            await reload()
        except Exception:
            log.exception("the config could not be reloaded")
