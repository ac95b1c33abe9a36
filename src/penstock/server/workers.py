"""Several processes that serve one address: as many as were asked for, whatever becomes of each.

One that ends unasked is replaced, ever more slowly if it ends at once again. A rolling restart replaces one after the
other, each only when its successor serves. Fails safe: where a successor does not, the old one stays.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Final

from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.server.worker import Worker

log = logging.getLogger(__name__)

START_WITHIN_S: Final = 60.0
LOOK_S: Final = 0.05
STEADY_S: Final = 60.0
"""Who served so long did not fail at its start."""
PAUSE_S: Final = 0.25
"""Before one that ended is replaced; doubled each time."""
PAUSE_MOST_S: Final = 30.0


class WorkerFailed(PenstockError):
    """A worker ended before it served."""

    def __init__(self, code: int) -> None:
        """``code``: its exit code."""
        super().__init__("a worker ended before it served; it says why itself")
        self.code = code


class Workers:
    """All of them."""

    def __init__(
        self,
        count: int,
        clock: Clock,
        command: Sequence[str],
        data: socket.socket,
        on_end: Callable[[str], object] = lambda _name: None,
    ) -> None:
        """``command``, ``data``: as in ``Worker``. ``on_end``: told the name of each that has ended."""
        self.count = count
        self._clock = clock
        self._command = command
        self._data = data
        self._on_end = on_end
        self._started = 0
        self._reloads = 0
        self._places: list[Worker] = []
        self._all: set[Worker] = set()
        self._keeping: list[asyncio.Task[None]] = []
        self._rolling: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def living(self) -> list[Worker]:
        """Those that have not ended, also while they drain."""
        return [worker for worker in self._all if not worker.exit.done()]

    async def ready(self) -> list[Worker]:
        """Those that take requests now."""
        places = tuple(self._places)
        found = await asyncio.gather(*(worker.is_ready() for worker in places))
        return [worker for worker, is_ready in zip(places, found, strict=True) if is_ready]

    async def start(self) -> None:
        """Return when all serve. Raises WorkerFailed, PenstockError; then none is left."""
        try:
            self._places = [self._start() for _ in range(self.count)]
            await asyncio.gather(*map(self._served, self._places))
        except BaseException:
            await self.stop()
            raise
        self._keeping = [asyncio.create_task(self._keep(place), name=f"keep {place}") for place in range(self.count)]

    def reload(self) -> None:
        """Have each read the config anew; one that only starts is told when it serves, for it may have read the old."""
        self._reloads += 1
        for worker in self.living:
            worker.signal(signal.SIGHUP)

    def roll(self) -> None:
        """Replace one after the other, unless that is under way."""
        if not self._stopping and (self._rolling is None or self._rolling.done()):
            self._rolling = asyncio.create_task(self._roll(), name="rolling restart")

    async def stop(self) -> None:
        """Tell all to drain; return when they have ended."""
        self._stopping = True
        self.leave()
        for task in (*self._keeping, *([] if self._rolling is None else [self._rolling])):
            task.cancel()
        await asyncio.gather(*(worker.exit for worker in self._all))

    def leave(self) -> None:
        """Tell all to drain; once more: to cut."""
        for worker in self.living:
            worker.leave()

    # --- each

    def _start(self) -> Worker:
        self._started += 1
        worker = Worker(self._started, self._clock, self._command, self._data)
        self._all.add(worker)
        worker.exit.add_done_callback(lambda _: self._forget(worker))
        return worker

    def _forget(self, worker: Worker) -> None:
        self._all.discard(worker)
        self._on_end(worker.name)

    async def _served(self, worker: Worker) -> None:
        """Return when it serves. Raises WorkerFailed."""
        reloads = self._reloads
        until = self._clock.monotonic() + START_WITHIN_S
        while not await worker.is_ready():
            if worker.exit.done():
                raise WorkerFailed(worker.exit.result())
            if self._clock.monotonic() > until:
                raise PenstockError(f"worker {worker.name} is not ready after {START_WITHIN_S:g} s")
            await self._clock.sleep(LOOK_S)
        if reloads != self._reloads:
            worker.signal(signal.SIGHUP)

    async def _keep(self, place: int) -> None:
        failures = 0
        while True:
            worker, began = self._places[place], self._clock.monotonic()
            code = await asyncio.shield(worker.exit)
            if self._places[place] is not worker:  # it was replaced
                failures = 0
                continue
            failures = 1 if self._clock.monotonic() - began >= STEADY_S else failures + 1
            pause_s = pause_after(failures)
            log.error(
                "a worker has ended; another is started",
                extra={"worker": int(worker.name), "exit_code": code, "in_s": pause_s},
            )
            await self._clock.sleep(pause_s)
            if self._places[place] is worker:
                await self._refill(place)

    async def _refill(self, place: int) -> None:
        """Return when another serves there, or has failed to: ``_keep`` sees its end."""
        try:
            worker = self._start()
        except PenstockError as error:
            log.error("%s", error.public)  # noqa: TRY400 - no traceback: the system refused, and it is tried again
            return
        self._places[place] = worker
        try:
            await self._served(worker)
        except WorkerFailed:
            return
        except PenstockError as error:
            log.error("%s", error.public)  # noqa: TRY400 - no traceback: it says itself what it waits for
            worker.leave()

    async def _roll(self) -> None:
        log.info("the workers are replaced, one after the other")
        for place in range(self.count):
            try:
                await self._replace(place)
            except PenstockError as error:
                log.error("there is no successor: the other workers serve on", extra={"why": error.public})  # noqa: TRY400 - no traceback: the worker tells its own
                return
        log.info("the workers are replaced")

    async def _replace(self, place: int) -> None:
        successor = self._start()
        try:
            await self._served(successor)
        except BaseException:
            successor.leave()
            raise
        old, self._places[place] = self._places[place], successor
        old.leave()
        await asyncio.shield(old.exit)


def pause_after(failures: int) -> float:
    """Seconds to wait after so many in a row."""
    return min(PAUSE_MOST_S, PAUSE_S * 2.0 ** (failures - 1))
