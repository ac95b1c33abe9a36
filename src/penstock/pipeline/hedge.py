"""Two calls for one exchange: a second one, elsewhere, when the first takes longer than usual to begin.

Who has the first data answers; the other is cancelled at that moment, and both are metered. Off unless the model says
``hedge``; ``core/hedging.py`` says when, and the retry budget how often.
"""

import asyncio
from collections.abc import Awaitable, Callable

from penstock.core.hedging import delay
from penstock.core.retry import RetryBudget
from penstock.pipeline.call import Call
from penstock.pipeline.exchange import Reply
from penstock.ports.clock import Clock

Another = Callable[[], Awaitable[Call | None]]
"""A call to another deployment, held for and ready to open; None = there can be none."""


class Race:
    """The calls of one exchange that run at once."""

    def __init__(self) -> None:
        self._winner: Call | None = None
        self._taken: Call | None = None
        self._runs: dict[Call, asyncio.Task[Reply]] = {}

    def start(self, call: Call) -> None:
        """Open it, in a task of its own."""
        call.enter_race(self.is_won_by)
        self._runs[call] = asyncio.ensure_future(call.open())

    def run_of(self, call: Call) -> "asyncio.Task[Reply]":
        """The task that opens it."""
        return self._runs[call]

    def is_won_by(self, call: Call) -> bool:
        """Asked by a call that has its first data: the first to ask has won, and the others end."""
        if self._winner is None:
            self._winner = call
            for other, run in self._runs.items():
                if other is not call:
                    other.lose()
                    run.cancel()
        return self._winner is call

    async def finish(self) -> Reply:
        """The winner's answer; what the first call failed by, where there is none."""
        pending = set(self._runs.values())
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for call, run in self._runs.items():
                if call is self._winner and run.done():
                    reply = run.result()
                    self._taken = call
                    call.go_on_here()
                    return reply
        return await next(iter(self._runs.values()))

    async def end(self) -> None:
        """Nothing is left of it but the answer that was taken, whatever ended it.

        A call may have been cancelled before its task ran at all, or have begun to answer when nobody took that.
        """
        clearing = asyncio.ensure_future(self._clear())
        try:
            await asyncio.shield(clearing)
        except asyncio.CancelledError:
            await clearing
            if self._taken is not None:
                await self._taken.abandon()
            raise

    async def _clear(self) -> None:
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        for call in self._runs:
            if call is not self._taken:
                await call.abandon()


class Hedge:
    """Opens a call, and another when it is late."""

    def __init__(self, clock: Clock, budget: RetryBudget) -> None:
        self._clock = clock
        self._budget = budget

    async def open(self, call: Call, usual_s: float | None, another: Another) -> Reply:
        """The answer of whichever begins first. ``usual_s``: by when most answers of its deployment have begun."""
        left = self._budget.hedges_left(self._clock.monotonic())
        wait_s = delay(usual_s, left)
        if wait_s is None:
            return await call.open()
        race = Race()
        try:
            race.start(call)
            first = race.run_of(call)
            if not await self._ends_within(first, wait_s):
                await self._run_beside(race, first, another)
            return await race.finish()
        finally:
            await race.end()

    async def _run_beside(self, race: Race, first: "asyncio.Task[Reply]", another: Another) -> None:
        """A second call, if the budget holds one and there can be one; none that is not made is taken from it."""
        permit = self._budget.hedge(self._clock.monotonic())
        if permit is None:
            return
        second = None
        try:
            second = await another()
        finally:
            if second is None or first.done():
                permit.give_back()
        if second is None:
            return
        if first.done():
            await second.abandon()
        else:
            race.start(second)

    async def _ends_within(self, run: asyncio.Task[Reply], wait_s: float) -> bool:
        late = asyncio.Event()
        timer = self._clock.later(wait_s, late.set)
        run.add_done_callback(lambda _run: late.set())
        try:
            await late.wait()
        finally:
            timer.cancel()
        return run.done()
