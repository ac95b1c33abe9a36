"""A line of requests that wait for a place, in the order that ``core/queueing.py`` says. Fails closed: 503, at once.

Whoever gives a place back lets the next go on; between that and the moment it does, the place is its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from penstock.config.settings import LimitSettings
from penstock.core.queueing import MARGIN, FairQueue, Patience, Waiter
from penstock.errors import Saturated
from penstock.ports.clock import Clock

PATIENCE: Final = 0.5
"""Of the time that what is waited for usually takes: a tenant that crowds, and would wait longer than that, had better
ask elsewhere, at once. Who was let in waits on, though it takes longer than expected: to refuse it late helps nobody.
"""
LEAST_PATIENCE_S: Final = 0.15
"""A burst of short calls is waited out."""
STANDING: Final = 1 / 3
"""Of that patience: so long may one expect to wait where the line never empties. More would make all late
and help nobody."""

FULL: Final = "queue_full"
SLOW: Final = "queue_slow"
"""It would have waited too long: refused at once."""
EVICTED: Final = "queue_evicted"
"""It had to leave for another."""
LATE: Final = "queue_late"
"""It has waited too long."""

Turn = asyncio.Future[None]


class Line:
    """Who waits, and what for (``what``, for those who are sent away)."""

    def __init__(self, clock: Clock, limits: LimitSettings, what: str, on_lost: Callable[[], None]) -> None:
        """``on_lost``: told when one whose turn had come is gone: its place is free."""
        self._clock = clock
        self._what = what
        self._on_lost = on_lost
        self._limits = limits
        self._usual_s: float | None = None
        self._queue: FairQueue[Turn] = FairQueue(limits.max_queue, self._patience())
        self.coming = 0
        """How many have been called and are not there yet."""
        self.shed: Counter[str] = Counter()
        """How many were sent away, by why."""

    def adopt(self, limits: LimitSettings) -> None:
        """Go by these from now on."""
        self._limits = limits
        self._queue.bound = limits.max_queue
        self._queue.patience = self._patience()

    def expect(self, usual_s: float | None) -> None:
        """So long does what is waited for usually take, None = nobody knows."""
        self._usual_s = usual_s
        self._queue.patience = self._patience()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether anybody waits, or is on the way."""
        return bool(self.coming or len(self._queue))

    async def wait(self, tenant: str, *, batch: bool, most_s: float = inf) -> None:
        """Return when its turn has come. Raises Saturated: after ``most_s`` at the latest."""
        now = self._clock.monotonic()
        turn: Turn = asyncio.get_running_loop().create_future()
        is_full = len(self._queue) >= self._queue.bound
        pushed = self._queue.push(turn, tenant, now, batch=batch)
        if pushed.evicted is not None:
            self._send_away(pushed.evicted.item, EVICTED)
        waiter = pushed.waiter
        if waiter is None:
            self.shed[FULL if is_full else SLOW] += 1
            raise self._refusal(pushed.expected_s)
        timer = self._clock.later(min(most_s, self._queue.patience.most_s), lambda: self._late(waiter))
        try:
            await turn
            self.coming -= 1
        except asyncio.CancelledError:
            self._gone(waiter, turn)
            raise
        finally:
            timer.cancel()

    def call(self) -> bool:
        """Let the next go on; False when nobody waits."""
        while True:
            popped = self._queue.pop(self._clock.monotonic())
            for late in popped.late:
                self._send_away(late.item, LATE)
            if popped.waiter is None:
                return False
            if not popped.waiter.item.done():
                self.coming += 1
                popped.waiter.item.set_result(None)
                return True

    def _patience(self) -> Patience:
        limits, usual_s = self._limits, self._usual_s
        most_s = limits.queue_wait_s
        if not limits.adaptive:
            return Patience(most_s, most_s)
        crowd_s = MARGIN * most_s
        if usual_s is not None:
            crowd_s = min(crowd_s, max(LEAST_PATIENCE_S, PATIENCE * usual_s))
        return Patience(most_s, STANDING * crowd_s, crowd_s)

    def _late(self, waiter: Waiter[Turn]) -> None:
        if self._queue.cancel(waiter):
            self._send_away(waiter.item, LATE)

    def _gone(self, waiter: Waiter[Turn], turn: Turn) -> None:
        """It left: out of the line, or, when it had been called, its place is free."""
        if not self._queue.cancel(waiter) and turn.done() and not turn.cancelled() and turn.exception() is None:
            self.coming -= 1
            self._on_lost()

    def _send_away(self, turn: Turn, why: str) -> None:
        if not turn.done():
            self.shed[why] += 1
            turn.set_exception(self._refusal(self._queue.patience.most_s))

    def _refusal(self, wait_s: float) -> Saturated:
        return Saturated(f"{self._what}: try again shortly", retry_after_s=max(1.0, float(ceil(wait_s))))
