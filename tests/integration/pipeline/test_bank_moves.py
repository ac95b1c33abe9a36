"""One bank for two processes: what one hands over binds the other, and nothing is spent twice."""

import asyncio
from zoneinfo import ZoneInfo

import msgspec
import pytest

from penstock.clock import LoopClock
from penstock.compose import World, open_gateway
from penstock.core.budget import Budget, Payer, Place
from penstock.core.records import OPEN
from penstock.core.usage import Usage
from penstock.errors import BudgetExceeded
from penstock.pipeline.treasury import Cost, Moved, MovedError, Treasury
from penstock.providers.scripted import Scripted
from penstock.server.replies import row_of
from penstock.stores.memory_ledger import MemoryLedger
from tests.support.house import EPOCH, settings_of
from tests.support.ledger_rows import attempt_row, exchange_row

pytestmark = pytest.mark.looptime(end=1000)

ALICE = Payer(user="alice")


def treasury() -> Treasury:
    """Of one process."""
    return Treasury(LoopClock(EPOCH), MemoryLedger(), "CNY", lambda _name: None)


def budget(limit: int = 100, name: str = "all") -> Budget:
    """Tokens, for ever."""
    return Budget(name, "global", "tokens", limit, "total", ZoneInfo("UTC"))


class Elsewhere:
    """The heir as the process that hands over sees it: the other treasury, without a wire between them."""

    def __init__(self, bank: Treasury) -> None:
        self.bank = bank

    async def hold(self, attempt_id: str, payer: Payer, cost: Cost, wait_s: float) -> float:
        """There."""
        return await self.bank.hold(attempt_id, payer, cost, wait_s)

    def top_up(self, attempt_id: str, payer: Payer, more: Cost) -> bool:
        """There."""
        return self.bank.top_up(attempt_id, payer, more)

    def settle(self, attempt_id: str, payer: Payer, at: float, cost: Cost) -> None:
        """There."""
        self.bank.settle(attempt_id, payer, at, cost)


async def moved(old: Treasury, *budgets: Budget) -> Treasury:
    """The treasury of a successor, which has taken over; the bank has gone over a wire."""
    new = treasury()
    wire = msgspec.msgpack.encode(old.hand_over(Elsewhere(new)))
    new.take_over(msgspec.msgpack.decode(wire, type=Moved))
    await new.adopt(budgets)
    return new


def used(bank: Treasury, name: str = "all") -> tuple[int, int]:
    """What is posted and what is pending."""
    return next((each.used, each.pending) for each in bank.standings() if each.budget.name == name)


def tokens(amount: int) -> Cost:
    """So many, for nothing."""
    return Cost(0, amount)


async def test_what_was_posted_and_held_binds_the_successor() -> None:
    """And what a hold comes to is posted there, once, whoever settles it."""
    old = treasury()
    await old.adopt([budget()])
    for name, amount in (("a", 30), ("b", 40)):
        await old.hold(name, ALICE, tokens(amount), 0)
    old.settle("a", ALICE, EPOCH, tokens(20))
    new = await moved(old, budget())
    assert used(new) == (20, 40)
    with pytest.raises(BudgetExceeded):
        await new.hold("c", ALICE, tokens(41), 0)
    old.settle("b", ALICE, EPOCH, tokens(10))
    old.settle("b", ALICE, EPOCH, tokens(10))
    assert used(new) == (30, 0)


async def test_who_has_handed_over_holds_at_the_successor() -> None:
    """Both spend of one limit: what one holds the other cannot."""
    old = treasury()
    await old.adopt([budget()])
    new = await moved(old, budget())
    await new.hold("new", ALICE, tokens(60), 0)
    with pytest.raises(BudgetExceeded):
        await old.hold("old", ALICE, tokens(50), 0)
    await old.hold("old", ALICE, tokens(30), 0)
    assert not old.top_up("old", ALICE, tokens(20))
    assert old.top_up("old", ALICE, tokens(10))
    assert used(new) == (0, 100)


async def test_who_waits_waits_at_the_successor() -> None:
    """In the order in which they came; what ends at either serves them."""
    old = treasury()
    await old.adopt([budget()])
    await old.hold("first", ALICE, tokens(100), 0)
    waiting = [asyncio.ensure_future(old.hold(name, ALICE, tokens(60), 5)) for name in ("b", "c")]
    await asyncio.sleep(1)
    new = await moved(old, budget())
    await asyncio.sleep(1)
    old.settle("first", ALICE, EPOCH, tokens(10))
    await asyncio.sleep(1)
    assert [task.done() for task in waiting] == [True, False]
    old.settle("b", ALICE, EPOCH, tokens(10))
    await asyncio.gather(*waiting)
    assert used(new) == (20, 60)


async def test_who_leaves_while_the_bank_moves_holds_nothing() -> None:
    """Granted in the old bank, and gone before it heard so."""
    old = treasury()
    await old.adopt([budget()])
    await old.hold("first", ALICE, tokens(100), 0)
    waiting = asyncio.ensure_future(old.hold("second", ALICE, tokens(60), 5))
    await asyncio.sleep(1)
    old.settle("first", ALICE, EPOCH, tokens(0))
    new = await moved(old, budget())
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (used(old), used(new)) == ((0, 0), (0, 0))


async def test_a_budget_that_only_the_successor_has() -> None:
    """Its history is the ledger's; what the predecessor settles from then on is posted to it too."""
    old = treasury()
    await old.adopt([budget()])
    await old.hold("a", ALICE, tokens(30), 0)
    new = await moved(old, budget(), budget(name="more"))
    old.settle("a", ALICE, EPOCH, tokens(20))
    assert (used(new), used(new, "more")) == ((20, 0), (20, 0))


class Lost:
    """A successor that ends as soon as it is asked."""

    def __init__(self, old: Treasury) -> None:
        self.old = old

    async def hold(self, attempt_id: str, payer: Payer, cost: Cost, wait_s: float) -> float:
        """There is no answer."""
        self.old.take_back()
        raise MovedError((attempt_id, payer, cost, wait_s))

    def top_up(self, attempt_id: str, payer: Payer, more: Cost) -> bool:
        """Not any more."""
        raise NotImplementedError

    def settle(self, attempt_id: str, payer: Payer, at: float, cost: Cost) -> None:
        """Nobody listens."""


async def test_without_a_successor_after_all_the_bank_is_where_it_was() -> None:
    """What was asked of it is asked here again; what ended meanwhile is posted."""
    old = treasury()
    await old.adopt([budget()])
    await old.hold("a", ALICE, tokens(30), 0)
    old.hand_over(Lost(old))
    old.settle("a", ALICE, EPOCH, tokens(20))
    await old.hold("b", ALICE, tokens(80), 0)
    assert used(old) == (20, 80)


async def test_what_a_predecessor_never_told_is_found_in_the_ledger() -> None:
    """What it had settled is posted as it is, what it left open as after a crash, what it never began as nothing."""
    settings = settings_of(budgets=[{"name": "all", "scope": "user", "limit": "1000 tokens", "window": "total"}])
    (budget,) = settings.budgets
    place = Place(budget.id, "alice", 0.0)
    held = {id_: [(place, 100)] for id_ in ("att_settled", "att_open", "att_never")}
    world = World(LoopClock(EPOCH), transports={"scripted": Scripted(LoopClock(EPOCH))})
    gateway = await open_gateway(settings, lambda error: row_of(error).status, world)
    try:
        await gateway.start(Moved([budget.id], [(place, 7)], held))
        assert [(each.used, each.pending) for each in gateway.treasury.standings()] == [(7, 300)]
        settled = {"outcome": "ok", "usage": Usage(input_miss=10, output=10)}
        gateway.stores.ledger.append([
            exchange_row("req_1", outcome=OPEN, owner="old", user="alice"),
            attempt_row("att_settled", "req_1", held_tokens=100, **settled),
            attempt_row("att_open", "req_1", outcome=OPEN, held_tokens=100, usage=Usage()),
        ])  # fmt: skip
        await gateway.bury(list(held))
        assert [(each.used, each.pending) for each in gateway.treasury.standings()] == [(7 + 20 + 100, 0)]
    finally:
        await gateway.close()
