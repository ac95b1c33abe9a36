"""A task of the loop that takes a turn when there is something to do.

``interval_s`` after something came (who writes in groups lets them gather), at once when somebody waits, and after a
turn that failed again and again, more and more slowly.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.05
"""How long rows may gather: at 5,000 exchanges per second a group of 250."""

_BACKOFF_S: Final = (0.1, 1.0)
"""The first and the longest wait after a failure; each wait is twice the one before."""


class Turns:
    """Begins with its making, on the running loop; ``close`` ends it after one more turn."""

    def __init__(self, turn: Callable[[], Awaitable[bool]], name: str, interval_s: float = INTERVAL_S) -> None:
        """``turn``: True = all is done; False = try again."""
        self._turn = turn
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._hurrying = False
        self._stopping = False
        self._backoff_s = 0.0
        self._task = self._loop.create_task(self._live(), name=name)

    def wake(self) -> None:
        """There is something to do, within ``interval_s``."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_s, self._rung.set)

    def hurry(self) -> None:
        """Somebody waits: when the loop has done what it has to do now, so that who comes meanwhile comes along."""
        if not self._hurrying:
            self._hurrying = True
            self._loop.call_soon(self._rung.set)

    @property
    def stopping(self) -> bool:
        """Whether this is the end."""
        return self._stopping

    async def close(self) -> None:
        """One last turn."""
        self._stopping = True
        self._rung.set()
        await self._task

    async def _live(self) -> None:
        while not self._stopping:
            await self._rung.wait()
            await self._once()
        if self._timer is not None:
            self._timer.cancel()

    async def _once(self) -> None:
        self._rung.clear()
        self._hurrying = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            done = await self._turn()
        except Exception:
            log.exception("a turn failed in a way that nobody foresaw; it is taken again")
            done = False
        first, longest = _BACKOFF_S
        self._backoff_s = 0.0 if done else min(longest, max(first, 2 * self._backoff_s))
        if not done and self._timer is None:
            self._timer = self._loop.call_later(self._backoff_s, self._rung.set)


async def pause(seconds: float) -> None:
    """Let others run for that long, by the loop's own clock: between tries that no request waits for."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    timer = loop.call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        timer.cancel()
