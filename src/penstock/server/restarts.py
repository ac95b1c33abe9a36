"""Rolling restarts: another process takes the addresses over, and this one ends when it has answered what it began.

One at a time: a process whose own predecessor still answers waits for the end of that first.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import closing

from penstock.errors import PenstockError
from penstock.server.planes import Planes
from penstock.server.predecessor import Predecessor
from penstock.server.succession import Gateway
from penstock.server.successor import ADMIN_DRAIN_S, Successor

log = logging.getLogger(__name__)


class Restarts:
    """What SIGUSR2 begins."""

    def __init__(
        self,
        gateway: Gateway,
        planes: Planes,
        command: Sequence[str],
        predecessor: Predecessor | None,
        on_success: Callable[[], object],
    ) -> None:
        """``command``: what starts a successor; ``on_success``: told once, when one serves."""
        self._gateway = gateway
        self._planes = planes
        self._command = command
        self._predecessor = predecessor
        self._on_success = on_success
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._successor: Successor | None = None

    @property
    def successor(self) -> Successor | None:
        """The process that serves."""
        return self._successor

    def __call__(self) -> None:
        """Begin one, unless one is under way."""
        if not self._ended and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._restart(), name="restart")

    async def stop(self) -> None:
        """Begin none any more, and give up what is under way: this process is to end."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """This process has nothing to say any more."""
        if self._successor is not None:
            await self._successor.close()

    async def _restart(self) -> None:
        if self._predecessor is None:
            await self._try()
            return
        await self._predecessor.ended.wait()
        await self._predecessor.burial.acquire()  # it would take our successor's calls for those that were left open
        try:
            await self._try()
        finally:
            if self._successor is None:  # else that buries both
                self._predecessor.burial.release()

    async def _try(self) -> None:
        log.info("a successor is started")
        successor = Successor(self._gateway, self._planes.data, self._planes.admin, self._command)
        try:
            await self._hand_over(successor)
        except PenstockError as error:
            log.error("there is no successor: this process serves on", extra={"why": error.public})  # noqa: TRY400 - no traceback: the successor tells its own
        except Exception:
            log.exception("there is no successor: this process serves on")

    async def _hand_over(self, successor: Successor) -> None:
        admin, closed = self._planes.admin.dup(), False
        with closing(admin):
            try:
                await successor.start()
                closed = True
                await self._planes.close_admin(ADMIN_DRAIN_S)
                await successor.take_over()
            except BaseException:
                try:
                    await successor.give_up()
                finally:
                    if closed:
                        await self._planes.open_admin(admin.dup())
                raise
        log.info("a successor serves; this process ends when it has answered what it began")
        self._successor = successor
        self._on_success()
