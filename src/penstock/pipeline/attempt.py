"""attempt: walks the plan. The only stage that calls a provider.

Until the first data event an error may be cured by another call, as ``core/retry.py`` schedules it and its budget
allows; after that, never. A streaming reply is handed out only when its first data event is there.
"""

from collections.abc import Callable, Mapping

from penstock.config.kinds import Kind
from penstock.config.settings import ProviderSettings, RetrySettings
from penstock.core.retry import RetryBudget, Schedule
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.call import World
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.fleet import Fleet
from penstock.pipeline.hedge import Hedge
from penstock.pipeline.passing import Passing
from penstock.pipeline.teller import Teller
from penstock.pipeline.walk import Guide, Walk
from penstock.ports.clock import Clock, Rng
from penstock.ports.providers import Adapter, Transport


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
        passing: Passing,
    ) -> None:
        """``transport``: who sends for a provider; ``adapters``: by provider kind."""
        self._clock = clock
        self._budget = budget
        self._guide = Guide(
            clock=clock,
            rng=rng,
            world=World(clock, transport, adapters, kinds, accounts, teller, passing),
            schedule=Schedule(retry.attempts, retry.backoff_s),
            budget=budget,
            fleet=fleet,
            hedge=Hedge(clock, budget),
        )

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises the last UpstreamError when nothing answered; ClientGone when nobody waits any more."""
        self._budget.request(self._clock.monotonic())
        deadline = self._clock.deadline()
        try:
            reply = await Walk(exchange, deadline, self._guide).run()
        except BaseException:
            deadline.close()
            raise
        if reply.batches is None:
            deadline.close()
        return reply
