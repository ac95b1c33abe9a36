"""Hedging and money: whatever ends a race, each of its calls is settled once, and nothing is held on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import StoreError
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.scripted import Scripted
from penstock.stores.memory_ledger import MemoryLedger
from tests.support.house import END_S, House, KeptLedger, chat, open_house, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

ONE, TWO = {"provider": "one", "model": "m-1"}, {"provider": "two", "model": "m-2"}
CONFIG: dict[str, Any] = {
    "cache": {"exact": {"ttl": "0s"}, "join": False},
    "models": {
        "learn": {"deployments": [ONE]},
        "learn-two": {"deployments": [TWO]},
        "hedged": {"deployments": [ONE, TWO | {"weight": 0}], "hedge": True},
        "hedged-stopping": {"deployments": [TWO, ONE | {"weight": 0}], "hedge": True},
    },
}
CACHED = {"cache": {"exact": {"ttl": "1h"}, "join": True}}


class GatedLedger(KeptLedger):
    """A ledger whose flushes wait, or fail, once it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryLedger())
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False

    async def flush(self) -> None:
        """Wait until it is open again."""
        await self.open.wait()
        if self.fails:
            raise StoreError("the disk is full")
        await super().flush()


class GatedTransport:
    """The scripted provider, whose calls wait at a gate, and take their time to end."""

    def __init__(self) -> None:
        self.behind: Scripted | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.silent = ""
        """A provider that never says anything."""
        self.on_left: Callable[[], object] = asyncio.Event().set

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Wait until it is open."""
        await self.open.wait()
        assert self.behind is not None
        if call.provider.name == self.silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.on_left()
        return await self.behind.send(call)

    async def close(self) -> None:
        """Nothing is kept."""


async def learn(house: House) -> None:
    """What is usual at both: streams that begin after 0.1 s."""
    house.upstream.stream(["a", "b"], after_s=0.1).forever()
    for number in range(80):
        model = ("learn", "learn-two")[number % 2]
        await house.answer(chat(f"learn {number}", model=model, stream=True))
    house.gateway.standing.fleet.watch()


async def test_a_client_that_leaves_while_the_second_is_held_for_ends_a_first_that_has_begun() -> None:
    """Its stream was never read: it is settled and closed all the same, which ``open_house`` checks."""
    ledger = GatedLedger()
    async with open_house(kept=ledger, **CONFIG) as house:
        await learn(house)
        house.upstream.at("two").stream(["first"], after_s=0.5, gap_s=1)
        asking = house.ask(chat("q", model="hedged-stopping", stream=True))
        await house.gateway.clock.sleep(0.05)
        ledger.open.clear()
        await house.gateway.clock.sleep(0.7)
        asking.leave()
        await house.gateway.clock.sleep(0.1)
        ledger.open.set()
        await house.rest()
        assert len([row for row in house.attempts if row.exchange_id == house.exchanges[-1].id]) == 2


async def test_a_second_that_loses_before_its_task_has_run_is_released() -> None:
    """The first has its data at the very moment at which the second may go."""
    ledger, transport = GatedLedger(), GatedTransport()
    async with open_house(kept=ledger, transports={"scripted": transport}, **CONFIG) as house:
        transport.behind = house.upstream
        await learn(house)
        house.upstream.stream(["a"]).forever()
        transport.open.clear()
        asking = house.ask(chat("q", model="hedged", stream=True))
        await house.gateway.clock.sleep(0.05)
        ledger.open.clear()
        await house.gateway.clock.sleep(1)
        ledger.open.set()
        transport.open.set()
        await asking.done()
        assert asking.headers["x-penstock-deployment"] == "one/m-1"
        assert sorted((row.outcome, row.deployment) for row in house.attempts[-2:]) == [
            ("hedge_lost", "two/m-2"),
            ("ok", "one/m-1"),
        ]


@pytest.mark.parametrize("turns", range(8))
async def test_a_client_may_leave_at_any_turn_of_the_loop_around_the_end_of_a_race(turns: int) -> None:
    """What the winner began to say is handed on or ended, and the loser is charged as one that was made."""
    transport = GatedTransport()
    async with open_house(transports={"scripted": transport}, **CONFIG) as house:
        transport.behind = house.upstream
        await learn(house)
        transport.silent = "one"
        house.upstream.at("two").stream(["so", "on"], after_s=0.2, gap_s=1)
        asking = house.ask(chat("q", model="hedged", stream=True))

        def leave(after: int) -> None:
            if after:
                asyncio.get_running_loop().call_soon(leave, after - 1)
            else:
                asking.leave()

        transport.on_left = lambda: leave(turns)
        await house.rest()
        ends = {row.deployment: row.outcome for row in house.attempts[-2:]}
        assert ends == {"one/m-1": "hedge_lost", "two/m-2": "client_gone"}


async def test_a_repeat_is_served_by_the_attempt_that_answered() -> None:
    """Not by the loser, which is settled after it."""
    async with open_house(**{**CONFIG, **CACHED}) as house:
        await learn(house)
        house.upstream.at("one").reply("late", after_s=10)
        house.upstream.at("two").reply("soon", after_s=0.2)
        first, joined = (house.ask(chat("now", model="hedged")) for _ in range(2))
        await first.done()
        await joined.done()
        hit = await house.answer(chat("now", model="hedged"))
        assert b"soon" in hit.body
        won = next(row for row in house.attempts[-2:] if row.outcome == "ok")
        assert {(share.lever, share.attempt_id) for share in house.shares[-2:]} == {
            ("joined", won.id),
            ("exact", won.id),
        }


async def test_an_answer_does_not_wait_for_a_budget_to_hold_its_second_call() -> None:
    """A hedge that does not fit now is not made; it stands in no line."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        posted = sum(row.usage.total for row in house.attempts)
        budget = {"name": "all", "scope": "global", "limit": f"{posted + 2000} tokens", "window": "total"}
        await house.gateway.adopt(settings_of(**CONFIG, budgets=[budget]))
        house.upstream.at("one").stream(["first"], after_s=0.5)
        house.upstream.at("two").stream(["second"], after_s=0.5)
        since = house.now
        asking = await house.answer(chat("q", model="hedged", stream=True, max_tokens=1200))
        assert asking.status == 200
        assert house.now - since < 1


async def test_a_second_that_cannot_be_written_down_leaves_the_first_running() -> None:
    """The ledger fails after the first was held for."""
    ledger = GatedLedger()
    async with open_house(kept=ledger, **CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["first"], after_s=0.5)
        asking = house.ask(chat("q", model="hedged", stream=True))
        await house.gateway.clock.sleep(0.05)
        ledger.fails = True
        await asking.done()
        assert (asking.status, asking.headers["x-penstock-deployment"]) == (200, "one/m-1")


async def test_a_second_that_answers_is_read_to_its_end_where_it_is_billed_to_its_end() -> None:
    """A client that leaves a winner at a provider that completes loses us no usage."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("two").stream(["late"], after_s=10)
        house.upstream.at("one").stream(["so", "on"], after_s=0.2, gap_s=1)
        asking = house.ask(chat("q", model="hedged-stopping", stream=True))
        await asking.begun(2)
        asking.leave()
        await house.rest()
        (won,) = (row for row in house.attempts[-2:] if row.deployment == "one/m-1")
        assert (won.outcome, won.estimated) == ("ok", False)


async def test_nothing_is_hedged_for_whom_nobody_waits() -> None:
    """The first goes on, for it is billed to its end; a second would be for nothing."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["late"], after_s=3)
        before = len(house.upstream.calls)
        asking = house.ask(chat("q", model="hedged", stream=True))
        await house.gateway.clock.sleep(0.05)
        asking.leave()
        await house.rest()
        assert len(house.upstream.calls) == before + 1
