"""attempt: walks the plan. The only stage that calls a provider.

Until the first data event an error may be cured by another call, as ``core/retry.py`` schedules it and its budget
allows; after that, never. A streaming reply is handed out only when its first data event is there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from penstock.config.kinds import Kind
from penstock.config.settings import DeploymentSettings, ProviderSettings, RetrySettings
from penstock.core.retry import Made, RetryBudget, Schedule, Step, Target, next_step
from penstock.core.tokens import estimate_request
from penstock.errors import BudgetExceeded, ClientGone, CostUnbounded, PenstockError, UpstreamError
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.call import Call, World
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.fleet import Fleet, Seat
from penstock.pipeline.hold import Hold
from penstock.pipeline.teller import Teller
from penstock.ports import Adapter, Clock, Deadline, Rng, Transport

_NO_SUCH_ENDPOINT: Final = frozenset({404, 405, 501})
_encode = msgspec.json.encode


class Attempt:
    """Calls deployments until one answers or the plan, the schedule, the budget or the time is used up."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Rng,
        transport: Callable[[ProviderSettings], Transport],
        adapters: Mapping[str, Adapter],
        kinds: Mapping[str, Kind],
        accounts: Accounts,
        teller: Teller,
        retry: RetrySettings,
        budget: RetryBudget,
        fleet: Fleet,
    ) -> None:
        """``transport``: who sends for a provider; ``adapters``: by provider kind."""
        self._clock = clock
        self._rng = rng
        self._world = World(clock, transport, adapters, kinds, accounts, teller)
        self._schedule = Schedule(retry.attempts, retry.backoff_s)
        self._budget = budget
        self._fleet = fleet

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises the last UpstreamError when nothing answered; ClientGone when nobody waits any more."""
        self._budget.request(self._clock.monotonic())
        deadline = self._clock.deadline()
        try:
            reply = await self._walk(exchange, deadline)
        except BaseException:
            deadline.close()
            raise
        if reply.batches is None:
            deadline.close()
        return reply

    async def _walk(self, exchange: Exchange, deadline: Deadline) -> Reply:
        plan = exchange.plan
        candidates = plan.candidates if plan is not None else ()
        total_at = exchange.started + exchange.total_s
        made: list[Made] = []
        hold, seat = exchange.hold, exchange.seat
        if hold is None or seat is None:
            raise PenstockError("internal error", detail="no hold or no seat was taken before the first call")
        place, exchange.hold, exchange.seat = 0, None, None
        while True:
            call = Call(exchange, hold, seat, deadline, total_at=total_at, world=self._world)
            try:
                return await call.open()
            except UpstreamError as error:
                if exchange.unwanted:
                    raise ClientGone("the client left before its answer") from error
                made.append(Made(place, error.retry, error.retry_after_s))
                failure = error
                step = self._next(candidates, made, total_at)
                if step is None:
                    return _counted_here(exchange, error)
            finally:
                exchange.stoppable = exchange.stoppable or not call.streaming
            await self._back_off(exchange, step.delay_s)
            place = step.place
            seat, hold = await self._ready(exchange, candidates, place, failure)

    async def _ready(
        self, exchange: Exchange, candidates: Sequence[DeploymentSettings], place: int, failure: UpstreamError
    ) -> tuple[Seat, Hold]:
        """A seat and a hold for a further call. Where there are none the call is not made: raises ``failure``."""
        deployment = candidates[place]
        seat = self._fleet.take(deployment, candidates)
        if seat is None:
            raise failure
        try:
            return seat, await self._world.teller.open(exchange, deployment)
        except (BudgetExceeded, CostUnbounded):
            seat.release()
            raise failure from None
        except BaseException:
            seat.release()
            raise

    async def _back_off(self, exchange: Exchange, delay_s: float) -> None:
        """Waiting for a provider to recover is waiting for it."""
        if delay_s:
            since = self._clock.monotonic()
            await self._clock.sleep(delay_s)
            exchange.waited_s += self._clock.monotonic() - since

    def _next(self, candidates: Sequence[DeploymentSettings], made: list[Made], total_at: float) -> Step | None:
        """The next call, unless it would come too late or the retry budget is used up."""
        targets = [Target(deployment.id, deployment.provider.name) for deployment in candidates]
        out = {place for place, deployment in enumerate(candidates) if self._fleet.objection(deployment)}
        step = next_step(targets, made, self._schedule, self._rng.random(), out)
        now = self._clock.monotonic()
        if step is None or now + step.delay_s >= total_at or not self._budget.retry(now):
            return None
        return step


def _counted_here(exchange: Exchange, error: UpstreamError) -> Reply:
    """Our own count of tokens, where a provider of the messages dialect does not count. Raises any other error."""
    if exchange.asked.dialect != "count_tokens" or error.status not in _NO_SUCH_ENDPOINT:
        raise error
    return Reply(200, body=_encode({"input_tokens": estimate_request("count_tokens", exchange.fields)}))
