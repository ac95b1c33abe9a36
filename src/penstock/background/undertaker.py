"""What nodes that died left open, settled by the one that leads.

A lease that has ended may be of a node that lives and began another; so a node counts as dead when it has had no lease
for ``DEAD_S``. What a node says later of an attempt that was settled for it changes nothing.
"""

from collections.abc import Mapping
from typing import Final

from penstock.background.recovery import settle_all
from penstock.ports.clock import Clock
from penstock.ports.leases import Leader, Leases
from penstock.ports.ledger import Ledger

LOOK_S: Final = 2.0
DEAD_S: Final = 20.0
"""A node that lost its lease takes the next within seconds."""


class Undertaker:
    """Looks every ``LOOK_S``."""

    def __init__(self, leases: Leases, leader: Leader, ledger: Ledger, clock: Clock) -> None:
        self._leases = leases
        self._leader = leader
        self._ledger = ledger
        self._clock = clock
        self._gone: Mapping[str, float] = {}
        """Since when a node that has something open has no lease, monotonic."""

    async def look(self) -> None:
        """Settle what the dead left. Raises StoreError."""
        if not await self._leader.lead():
            self._gone = {}
            return
        now = self._clock.monotonic()
        unsettled = await self._leases.unsettled()
        living = {lease.node for lease in await self._leases.alive()} if unsettled else set()
        left = [pair for lease in unsettled for pair in await self._leases.open_of(lease)]
        self._gone = {
            exchange.owner: self._gone.get(exchange.owner, now) for exchange, _ in left if exchange.owner not in living
        }
        dead = {node for node, since in self._gone.items() if now - since >= DEAD_S}
        await settle_all(self._ledger, self._clock, [pair for pair in left if pair[0].owner in dead])
