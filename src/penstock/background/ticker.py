"""A job that is done again and again, and never takes the process down."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from penstock.ports import Clock

log = logging.getLogger(__name__)


class Ticker:
    """Runs ``job`` every ``interval_s`` seconds, one at a time; a failure is logged and the next run comes anyway."""

    def __init__(self, clock: Clock, interval_s: float, job: Callable[[], Awaitable[object]], name: str) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._job = job
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first run comes after one interval."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End; a run that is under way is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self._job()
            except Exception:
                log.exception("a background job failed", extra={"job": self._name})
