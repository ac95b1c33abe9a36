"""The only reader of time, chance and names: the live adapters of the ports Clock, Rng and Ids.

``LoopClock`` runs on the event loop's own clock, so a loop with virtual time makes everything above it virtual.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from penstock.ports.clock import Deadline, Timer

_CHANCE_BYTES: Final = 10
_NAMES_PER_DRAW: Final = 256


class SystemClock:
    """Real time, read thirty times per request: by the ``time`` module's own functions, which bind to no instance."""

    now: Callable[[], float] = time.time
    """Seconds since the epoch, UTC."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds on a clock that never steps."""

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        await asyncio.sleep(seconds)

    def later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after that long, once."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def deadline(self) -> Deadline:
        """A new timer for the running task."""
        return TaskDeadline(self.monotonic)


class LoopClock(SystemClock):
    """The running loop's time, counted from ``epoch``: virtual on a loop with virtual time."""

    def __init__(self, epoch: float) -> None:
        """``epoch``: what ``now`` says when the loop's own clock says 0."""
        self._epoch = epoch

    def now(self) -> float:
        """Seconds since the epoch, as far as the loop has run."""
        return self._epoch + self.monotonic()

    @staticmethod
    def monotonic() -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()


class TaskDeadline:
    """Cancels its task at a point in time, and turns that cancellation into TimeoutError.

    The timer is armed once and looked at again when it fires: a scope that ends in time leaves it alone, so a stream
    of a thousand reads costs one timer and not a thousand. Follows ``asyncio.timeout`` in telling its own
    cancellation from somebody else's.
    """

    __slots__ = ("_armed", "_cancelling", "_expired", "_handle", "_loop", "_monotonic", "_task", "_waiting", "_when")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic``: the clock that ``until`` speaks of."""
        self._loop = asyncio.get_running_loop()
        self._monotonic = monotonic
        self._task = asyncio.current_task()
        self._waiting = False
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0.0
        self._when = float("inf")
        self._expired = False
        self._cancelling = 0

    def until(self, when: float) -> Self:
        """A scope that raises TimeoutError when the clock reaches ``when``."""
        self._when = when
        return self

    def rebind(self) -> None:
        """From now on it is the running task's."""
        self._task = asyncio.current_task()

    def close(self) -> None:
        """Drop the timer."""
        self._task = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __enter__(self) -> Self:
        task = self._task
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._cancelling = task.cancelling()
        self._expired = False
        self._waiting = True
        if self._handle is None or self._armed > self._when:
            self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting = False
        if not self._expired or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = self._when
        delay = max(0.0, self._when - self._monotonic())
        self._handle = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._task is None or not self._waiting:
            return
        if self._monotonic() < self._when:
            self._arm()
            return
        self._expired = True
        self._task.cancel()


class SystemRng:
    """Chance from the operating system's seed; give a seed to replay a run."""

    def __init__(self, seed: int | None = None) -> None:
        """``seed``: None = unpredictable."""
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()


class TimeIds:
    """Names that sort by time: 12 hex digits of milliseconds and 20 of chance, from the operating system in bulk."""

    __slots__ = ("_chance", "_moment_ms", "_now", "_stamp", "_used")

    def __init__(self, now: Callable[[], float]) -> None:
        """``now``: the clock that stamps them."""
        self._now = now
        self._moment_ms = -1
        self._stamp = ""
        """That moment in hex: of the many names of one moment it is the same."""
        self._chance = ""
        self._used = 0

    def new(self, prefix: str) -> str:
        """``<prefix>_<32 hex digits>``."""
        start = self._used
        if start >= len(self._chance):
            self._chance = os.urandom(_CHANCE_BYTES * _NAMES_PER_DRAW).hex()
            start = 0
        self._used = end = start + 2 * _CHANCE_BYTES
        moment_ms = int(self._now() * 1000)
        if moment_ms != self._moment_ms:
            self._moment_ms, self._stamp = moment_ms, f"{moment_ms:012x}"
        return f"{prefix}_{self._stamp}{self._chance[start:end]}"
