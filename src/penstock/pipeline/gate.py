"""The gateway's own slots: so many requests at once, and those who wait for one in their line.

How many is ``limits.max_concurrency``, and less while our own loop is late: then more at once would only be slower, and
what providers send is handed on in smaller pieces, so that who is sent away learns it soon.
"""

from collections.abc import Mapping
from math import inf
from typing import Final

from penstock.config.settings import LimitSettings
from penstock.core.latency import Smoothed
from penstock.core.loop_limit import LoopLimit
from penstock.pipeline.line import Line
from penstock.ports.clock import Clock, Timer
from penstock.ports.providers import Incoming

LOOK_S: Final = 0.01
"""How often the loop is asked how late it is, while there is much to do."""
LEAST: Final = 8
"""Requests at once that are always allowed."""


class NothingComes:
    """An Incoming that is always in time."""

    late_s: Final = 0.0

    def shorten(self, *, short: bool) -> None:
        """Nothing is to be handed on."""


class Gate:
    """Takes in, makes wait, sends away."""

    def __init__(self, clock: Clock, limits: LimitSettings, incoming: Incoming | None = None) -> None:
        """``incoming``: what providers sent; None = nothing."""
        self.active = 0
        self._incoming = NothingComes() if incoming is None else incoming
        self._clock = clock
        self._line = Line(clock, limits, "the gateway has all the requests it can serve", self.leave)
        self._timer: Timer | None = None
        self._due = 0.0
        self._usual = Smoothed()
        self._limits = limits
        self._adaptive = _adaptive(limits)

    def adopt(self, limits: LimitSettings) -> None:
        """Go by these from now on."""
        if limits.max_concurrency != self._limits.max_concurrency:
            self._adaptive = _adaptive(limits)
        self._limits = limits
        self._line.adopt(limits)
        self._pace()
        self._fill()

    @property
    def limit(self) -> int:
        """Requests at once, now."""
        return self._adaptive.limit if self._limits.adaptive else self._limits.max_concurrency

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def capacity_per_s(self, now: float) -> float | None:
        """Requests per second that it can take: its slots by how long requests have them lately; None = not known."""
        usual_s = self._usual.value(now)
        return self.limit / usual_s if usual_s else None

    @property
    def shed(self) -> Mapping[str, int]:
        """How many were sent away, by why."""
        return self._line.shed

    async def enter(self, tenant: str, *, batch: bool, most_s: float = inf) -> None:
        """Take a slot, or wait for one. Raises Saturated: after ``most_s`` at the latest."""
        if not self.take():
            await self._line.wait(tenant, batch=batch, most_s=most_s)

    def take(self) -> bool:
        """Take a slot; False when none is free, or others wait for it."""
        if self._limits.adaptive and self.active >= LEAST:
            self._watch()
        if self.active < self.limit and not self._line:
            self.active += 1
            return True
        return False

    def leave(self, took_s: float | None = None) -> None:
        """Give the slot back: the next has it. ``took_s``: since its request came."""
        if took_s is not None:
            self._usual.observe(took_s, self._clock.monotonic())
        self.active -= 1
        if self._line:
            self._fill()

    def _fill(self) -> None:
        """A slot is taken from the moment that its next is called."""
        while self.active < self.limit and self._line.call():
            self.active += 1

    def _pace(self) -> None:
        """Hand on little at a time while fewer are let in than may be."""
        self._incoming.shorten(short=self.limit < self._limits.max_concurrency)

    def _watch(self) -> None:
        """Look at the loop again and again, while there is much to do."""
        if self._timer is None:
            self._due = self._clock.monotonic() + LOOK_S
            self._timer = self._clock.later(LOOK_S, self._look)

    def _look(self) -> None:
        """How late this comes is how late everything does."""
        now, self._timer = self._clock.monotonic(), None
        self._adaptive.observe(max(0.0, now - self._due, self._incoming.late_s), self.active, now)
        self._pace()
        self._line.expect(self._usual.value(now))
        if self._limits.adaptive and (self.active >= LEAST or self.waiting):
            self._watch()
        self._fill()


def _adaptive(limits: LimitSettings) -> LoopLimit:
    return LoopLimit(min(LEAST, limits.max_concurrency), limits.max_concurrency)
