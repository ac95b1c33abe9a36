"""One exchange's way through its plan: call after call, until one answers or nothing is left to try.

Which is next says ``core/retry.py``; each call takes a seat and a hold of its own, and is not made without them.
"""

from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from penstock.core.retry import FREE, Made, Permit, RetryBudget, Schedule, Step, Target, next_step
from penstock.core.tokens import estimate_request
from penstock.errors import (
    BudgetExceeded,
    ClientGone,
    CostUnbounded,
    LedgerUnavailable,
    NoDeployment,
    PenstockError,
    Reach,
    Retry,
    UpstreamError,
)
from penstock.pipeline.call import Call, World
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.fleet import Fleet
from penstock.pipeline.hedge import Hedge
from penstock.ports.clock import Clock, Deadline, Rng

_NO_SUCH_ENDPOINT: Final = frozenset({404, 405, 501})
_encode = msgspec.json.encode


class Guide(NamedTuple):
    """What every walk goes by."""

    clock: Clock
    rng: Rng
    world: World
    schedule: Schedule
    budget: RetryBudget
    fleet: Fleet
    hedge: Hedge


class Walk:
    """The calls of one exchange."""

    __slots__ = (
        "_candidates", "_deadline", "_exchange", "_guide", "_hedged", "_made", "_moved", "_running", "_total_at",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, deadline: Deadline, guide: Guide) -> None:
        self._exchange = exchange
        self._deadline = deadline
        self._guide = guide
        self._candidates = exchange.plan.candidates if exchange.plan is not None else ()
        self._total_at = exchange.started + exchange.total_s
        self._made: list[Made] = []
        self._running: list[tuple[int, Call]] = []
        """The calls that run at once, and where."""
        self._hedged = self._moved = False

    async def run(self) -> Reply:
        """The answer. Raises the last UpstreamError when there is none, or NoDeployment, which says until when.

        Raises ClientGone when nobody waits any more.
        """
        exchange, place = self._exchange, 0
        call = self._first()
        while True:
            try:
                return await self._open(call, place)
            except UpstreamError as error:
                if exchange.unwanted:
                    raise ClientGone("the client left before its answer") from error
                self._count()
                failure = error
                step = self._next()
                permit = None if step is None else self._permit(step, error)
                if step is None or permit is None:
                    return _counted_here(exchange, self._last(error))
            finally:
                exchange.stoppable = exchange.stoppable or not self._streams
            await self._back_off(step.delay_s)
            place = step.place
            call = await self._further_or(failure, place, permit)

    def _first(self) -> Call:
        """The call that was planned and held for."""
        exchange = self._exchange
        hold, seat = exchange.hold, exchange.seat
        if hold is None or seat is None:
            raise PenstockError("internal error", detail="no hold or no seat was taken before the first call")
        exchange.hold = exchange.seat = None
        return Call(exchange, hold, seat, self._deadline, total_at=self._total_at, world=self._guide.world)

    async def _further_or(self, failure: UpstreamError, place: int, permit: Permit) -> Call:
        """A further call; what is not made is not taken from the budget of retries. Raises ``failure``."""
        further = None
        try:
            further = await self._further(place)
        finally:
            if further is None:
                permit.give_back()
        if further is None:
            raise self._last(failure)
        return further

    async def _further(self, place: int, *, waits: bool = True) -> Call | None:
        """A further call, to the candidate in that place; None where there is no seat or no budget for it.

        ``waits``: for a budget in which others hold what it needs.
        """
        deployment = self._candidates[place]
        seat = self._guide.fleet.take(deployment, self._candidates)
        if seat is None:
            return None
        try:
            hold = await self._guide.world.teller.open(self._exchange, deployment, waits=waits)
        except (BudgetExceeded, CostUnbounded):
            seat.release()
            return None
        except BaseException:
            seat.release()
            raise
        return Call(self._exchange, hold, seat, self._deadline, total_at=self._total_at, world=self._guide.world)

    # --- one call, or two

    @property
    def _hedges(self) -> bool:
        """Whether a call may have another beside it: once, and only one that is still allowed."""
        if not self._exchange.model.hedge or self._hedged:
            return False
        return len(self._candidates) > 1 and len(self._made) + 2 <= self._guide.schedule.attempts

    @property
    def _streams(self) -> bool:
        """Whether one of the calls that run hands out a stream."""
        return True in [call.streaming for _, call in self._running]

    def _open(self, call: Call, place: int) -> Awaitable[Reply]:
        self._running = [(place, call)]
        if not self._hedges:
            return call.open()
        usual_s = self._guide.fleet.member(self._candidates[place]).usual_s

        async def another() -> Call | None:
            return await self._beside(place)

        return self._guide.hedge.open(call, usual_s, another)

    async def _beside(self, place: int) -> Call | None:
        """A call to the best candidate that was not asked yet."""
        if self._exchange.unwanted:
            return None
        asked = {place, *(made.place for made in self._made)}
        for other, deployment in enumerate(self._candidates):
            if other not in asked and not self._guide.fleet.objection(deployment):
                call = await self._at_once(other)
                if call is not None:
                    self._running.append((other, call))
                    self._hedged = True
                return call
        return None

    async def _at_once(self, place: int) -> Call | None:
        """A further call, unless it would have to wait for its hold, or that cannot be written: the first goes on."""
        with suppress(LedgerUnavailable):
            return await self._further(place, waits=False)
        return None

    def _count(self) -> None:
        """Note what the calls that ran came to. One that lost may still run where it was made, and be billed."""
        for place, call in self._running:
            if call.failure is not None:
                self._made.append(Made(place, call.failure.retry, call.failure.retry_after_s))
            elif call.lost:
                self._made.append(Made(place, Retry.ELSEWHERE, None))

    # --- between calls

    async def _back_off(self, delay_s: float) -> None:
        """Waiting for a provider to recover is waiting for it."""
        if delay_s:
            clock = self._guide.clock
            since = clock.monotonic()
            await clock.sleep(delay_s)
            self._exchange.waited_s += clock.monotonic() - since

    def _next(self) -> Step | None:
        """The next call, unless it would come too late."""
        guide = self._guide
        targets = [Target(deployment.id, deployment.provider.name) for deployment in self._candidates]
        out = {place for place, deployment in enumerate(self._candidates) if guide.fleet.objection(deployment)}
        step = next_step(targets, self._made, guide.schedule, guide.rng.random(), out)
        if step is None or guide.clock.monotonic() + step.delay_s >= self._total_at:
            return None
        return step

    def _permit(self, step: Step, failure: UpstreamError) -> Permit | None:
        """Leave to make that call, by how far the one that failed had come; None = the budget is used up."""
        budget, now = self._guide.budget, self._guide.clock.monotonic()
        if failure.reach is Reach.NOWHERE:
            return FREE
        if failure.reach is Reach.BROKEN and not self._moved and all(each.place != step.place for each in self._made):
            self._moved = True
            return budget.move(now)
        return budget.retry(now)

    def _last(self, failure: UpstreamError) -> PenstockError:
        """What the client is told: where nobody could be reached and all are out by now, until when."""
        fleet, all_of = self._guide.fleet, self._candidates
        if failure.reach is not Reach.NOWHERE or any(fleet.is_up(each) for each in all_of):
            return failure
        reasons = "; ".join(f"{each.id} {fleet.objection(each)}" for each in all_of)
        return NoDeployment(
            f"no deployment of model {self._exchange.model.name!r} can be reached: {reasons}",
            detail=failure.detail,
            retry_after_s=fleet.back_in_s(all_of),
        )


def _counted_here(exchange: Exchange, error: PenstockError) -> Reply:
    """Our own count of tokens, where a provider of the messages dialect does not count. Raises any other error."""
    missing = isinstance(error, UpstreamError) and error.status in _NO_SUCH_ENDPOINT
    if exchange.asked.dialect != "count_tokens" or not missing:
        raise error
    return Reply(200, body=_encode({"input_tokens": estimate_request("count_tokens", exchange.fields)}))
