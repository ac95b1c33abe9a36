"""The life of the relay: listen, tell, and end with a signal when what is under way is told."""

import asyncio
import signal
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TextIO

from penstock.config.settings import Address
from penstock.ports import Clock
from penstock.server.edge import Bounds
from penstock.server.listener import Listener, bind

BOUNDS: Final = Bounds(connections=256, lame_duck_s=0.0)
DRAIN_S: Final = 10.0
"""As long as a bot is tried."""


async def serve_relay(
    app: Any, address: Address, clock: Clock, background: Awaitable[None] | None, banner: TextIO | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``background``, which runs beside it, fails. Raises ListenError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as last:
        sock = bind(address)
        last.callback(sock.close)
        listener = await Listener(app, sock, clock=clock, bounds=BOUNDS).start()
        last.push_async_callback(listener.drain, DRAIN_S)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
            last.callback(loop.remove_signal_handler, number)
        task = None if background is None else asyncio.ensure_future(background)
        (banner or sys.stderr).write(f"Penstock relays alerts at http://{listener.address}/alerts/BOT\n")
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting} if task is None else {waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task is not None:
            await _end(task)


async def _end(task: asyncio.Future[None]) -> None:
    """A loop that ended by itself ended with an error, which is raised here."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    else:
        await task
