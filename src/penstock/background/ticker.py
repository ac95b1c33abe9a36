"""A job that is done again and again, and never takes the process down.

What fails for a reason that is foreseen, such as a store that is away, is said once, and once when it goes again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from penstock.errors import PenstockError
from penstock.ports.clock import Clock

log = logging.getLogger(__name__)


class Ticker:
    """Runs ``job`` every ``interval_s`` seconds, one at a time; the next run comes whatever became of the last."""

    def __init__(self, clock: Clock, interval_s: float, job: Callable[[], Awaitable[object]], name: str) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._job = job
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._failed = 0
        """Runs in a row, for reasons that are foreseen."""

    def start(self) -> None:
        """Begin; the first run comes after one interval."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    def hurry(self) -> None:
        """Run now, or again if a run is under way."""
        self._due.set()

    async def stop(self) -> None:
        """End; a run that is under way is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._wait()
            try:
                await self._job()
            except PenstockError as error:
                self._note_failure(error)
            except Exception:
                log.exception("a background job failed", extra={"job": self._name})
            else:
                self._note_success()

    async def _wait(self) -> None:
        timer = self._clock.later(self._interval_s, self._due.set)
        try:
            await self._due.wait()
        finally:
            timer.cancel()
        self._due.clear()

    def _note_failure(self, error: PenstockError) -> None:
        self._failed += 1
        if self._failed == 1:
            said = {"job": self._name, "why": error.public, "detail": error.detail}
            log.error("a background job fails; it is tried again", extra=said)

    def _note_success(self) -> None:
        if self._failed:
            log.info("a background job goes again", extra={"job": self._name, "failed": self._failed})
            self._failed = 0
