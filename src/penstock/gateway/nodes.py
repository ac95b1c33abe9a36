"""What makes a gateway one of many: parts of budgets and rates are lent to it, and it hears what the others changed.

Who dies is buried by the one that leads; what was purged is told to all. See ``docs/adr/0014-many-nodes.md``.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from penstock.background.lending import BEAT_S, Lending, Terms
from penstock.background.purging import Purging
from penstock.background.ticker import Ticker
from penstock.background.undertaker import LOOK_S, Undertaker
from penstock.config.settings import SharedSettings
from penstock.errors import StoreError
from penstock.pipeline.lent_rates import LOOK_S as RATES_S
from penstock.pipeline.lent_rates import LentRates
from penstock.pipeline.rates import OwnRates
from penstock.ports.clock import Clock
from penstock.ports.shared import Shared
from penstock.ports.stores import Stores


@dataclass(frozen=True, slots=True)
class Nodes:
    """This one among the others."""

    clock: Clock
    shared: Shared
    stores: Stores
    rates: LentRates
    lending: Lending | None
    """None = the store is of this process alone: its budgets are too."""
    purging: Purging | None

    def adopt(self, shared: SharedSettings | None) -> None:
        """Lend on these terms from now on; None = as before."""
        if shared is None:
            return
        terms = _terms(shared)
        self.rates.opens = terms.opens
        if self.lending is not None:
            self.lending.terms = terms

    async def look_behind(self) -> None:
        """Know what only the store has. Raises SharedUnavailable, StoreError."""
        if self.stores.last_end is not None:
            await self.shared.answers.look_behind(self.stores.last_end)

    async def close(self) -> None:
        """Give back what was lent, and disconnect."""
        if self.lending is not None:
            with suppress(StoreError):  # then it ends by itself
                await self.lending.close()
        await self.shared.close()

    def tickers(self) -> Iterator[Ticker]:
        """What is to be done again and again."""
        clock, stores = self.clock, self.stores
        yield Ticker(clock, RATES_S, self.rates.look, "give rates back")
        if stores.last_end is not None:
            yield Ticker(clock, BEAT_S, self.look_behind, "know what only the store has")
        if self.lending is not None:
            yield Ticker(clock, BEAT_S, self.lending.beat, "renew the lease")
            if stores.leases is not None and stores.leader is not None:
                undertaker = Undertaker(stores.leases, stores.leader, stores.ledger, clock)
                yield Ticker(clock, LOOK_S, undertaker.look, "settle what the dead left")


def among_nodes(
    shared: Shared,
    stores: Stores,
    rates: OwnRates,
    *,
    clock: Clock,
    owner: str,
    on_overspent: Callable[[str], None],
) -> Nodes:
    """``rates``: of this process; ``owner``: its name; ``on_overspent``: told of budgets of which more was given."""
    return Nodes(
        clock=clock,
        shared=shared,
        stores=stores,
        rates=LentRates(rates, shared.rates, clock, owner),
        lending=_lending(shared, stores, clock, owner, on_overspent),
        purging=_purging(shared, stores),
    )


def _lending(
    shared: Shared, stores: Stores, clock: Clock, owner: str, on_overspent: Callable[[str], None]
) -> Lending | None:
    if stores.leases is None or stores.fence is None:
        return None
    return Lending(
        rooms=shared.rooms,
        leases=stores.leases,
        clock=clock,
        node=owner,
        fence=stores.fence,
        on_overspent=on_overspent,
    )


def _purging(shared: Shared, stores: Stores) -> Purging | None:
    if stores.refresh is None or stores.leader is None:
        return None
    return Purging(stores.refresh, stores.leader, shared.answers)


def _terms(shared: SharedSettings) -> Terms:
    return Terms(
        shared.slice,
        frozenset(name for name, mode in shared.keys.items() if mode == "answer"),
        open_default=shared.on_failure == "answer",
    )
