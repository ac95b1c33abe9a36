"""reserve: a durable hold for the first call, on every budget it falls under; the plan is priced, nothing is sent yet.

Who does not fit beside what others hold waits in order; who does not fit beside what is spent is refused. Further calls
take holds of their own in ``attempt``. The ladder's last step refuses here and no earlier: an answer that costs nothing
is served whatever is left.
"""

from penstock.errors import ClientGone, PenstockError
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.teller import Teller
from penstock.pipeline.treasury import Treasury


class Reserve:
    """Holds before it is spent."""

    def __init__(self, teller: Teller, treasury: Treasury) -> None:
        self._teller = teller
        self._treasury = treasury

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises BudgetExceeded, CostUnbounded, LedgerUnavailable."""
        plan = exchange.plan
        if plan is None:
            raise PenstockError("internal error", detail="nothing was planned")
        if "refuse" in exchange.steps:
            exchange.degraded += ("refuse",)
            raise self._treasury.last_step(exchange.payer)
        exchange.hold = await self._teller.open(exchange, plan.candidates[0])
        return None

    def leave(self, exchange: Exchange) -> None:
        """Release what was held for a call that was never made; a call has settled itself."""
        if exchange.hold is not None:
            self._teller.release(exchange, exchange.hold, ClientGone.kind)
            exchange.hold = None
