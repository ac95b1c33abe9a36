"""Who comes when a question is answered asks another: what was lent was lent to others."""

import asyncio
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from penstock.clock import LoopClock
from penstock.core.bank import Claim
from penstock.core.budget import Budget, Payer
from penstock.pipeline.treasury import Cost
from penstock.ports.lending import Lent, Want
from tests.support.lending_nodes import FarRooms, Town

pytestmark = pytest.mark.looptime

BUDGET = Budget("all", "global", "tokens", 1000, "total", ZoneInfo("UTC"))
PAYER = Payer()


class ToldRooms(FarRooms):
    """Wakes somebody in the turn of the loop in which it answers."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock.monotonic)
        self.asked = 0
        self.told = asyncio.Event()

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """As it is when the answer comes."""
        self.asked += 1
        told = await super().ask(epoch, lease, wants)
        self.told.set()
        return told


async def test_a_question_that_is_answered_is_joined_by_nobody() -> None:
    """Else who comes in that turn of the loop is told that something was lent, looks, and asks: without end."""
    clock = LoopClock(1_795_000_000.0)
    town = Town(clock, [BUDGET])
    town.rooms = rooms = ToldRooms(clock)
    node = await town.node()
    await node.treasury.hold("att_0", PAYER, Cost(0, 10), 0.0)  # the account is made
    claims = [Claim(place, 100, BUDGET.limit, part=0) for place in node.lending.places()]

    async def late() -> bool:
        await rooms.told.wait()
        return await node.lending.provide(claims, PAYER)

    rooms.asked = 0
    rooms.told.clear()
    waiting = asyncio.ensure_future(late())
    await asyncio.sleep(0)
    assert await node.lending.provide(claims, PAYER)
    await waiting
    assert rooms.asked == 2
    await town.close()
