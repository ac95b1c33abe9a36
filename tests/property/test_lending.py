"""Nodes that share budgets, in virtual time: whatever stops, is emptied or comes back, nothing is overspent."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from zoneinfo import ZoneInfo

import pytest

from penstock.background.lending import BEAT_S, PIECE, Terms
from penstock.clock import LoopClock
from penstock.core.budget import Budget, Payer, Place
from penstock.errors import BudgetExceeded, LeaseEnded, SharedUnavailable
from penstock.pipeline.treasury import Cost
from penstock.ports.ledger import Posted, PostedQuery
from penstock.ports.lending import Lent, Return, Want
from penstock.stores.memory_rooms import MemoryRooms
from tests.support.house import EPOCH
from tests.support.lending_nodes import Attempt, Node, Rows, Town

ALL = Budget("all", "global", "tokens", 5_000, "month", ZoneInfo("Asia/Shanghai"))
EACH = Budget("each", "user", "tokens", 600, "day", ZoneInfo("Asia/Shanghai"))
pytestmark = pytest.mark.looptime


@asynccontextmanager
async def town_of(nodes: int, *budgets: Budget) -> AsyncIterator[Town]:
    """So many nodes."""
    town = Town(LoopClock(EPOCH), budgets)
    for _ in range(nodes):
        await town.node()
    try:
        yield town
    finally:
        await town.close()


async def customers(node: Node, rng: random.Random, calls: int) -> int:
    """How many of so many calls were served."""
    served = 0
    for _ in range(calls):
        payer = Payer(user=rng.choice("abcdefgh"))
        held = rng.randrange(1, 80)
        with suppress(BudgetExceeded, LeaseEnded, SharedUnavailable):
            await node.spend(payer, held=held, billed=rng.randrange(held + 1), lasts_s=rng.random() * 2, wait_s=1.0)
            served += 1
        await asyncio.sleep(rng.random() * 0.05)
    return served


async def test_fifty_of_a_thousand() -> None:
    """A limit for fifty, a thousand who ask at four nodes: exactly fifty are served."""
    async with town_of(4, Budget("all", "global", "tokens", 500, "month", ZoneInfo("UTC"))) as town:

        async def one(node: Node) -> int:
            with suppress(BudgetExceeded):
                await node.spend(Payer(), held=10, billed=10, lasts_s=0.5, wait_s=5.0)
                return 1
            return 0

        assert sum(await asyncio.gather(*(one(town.nodes[number % 4]) for number in range(1000)))) == 50


async def test_a_crowd_is_lent_to_at_once() -> None:
    """Sixty who ask at once are served within a few questions, however small a slice is: none waits for its own."""
    async with town_of(3, Budget("all", "global", "tokens", 600, "month", ZoneInfo("UTC"))) as town:
        began = town.clock.monotonic()
        await asyncio.gather(*(town.nodes[0].spend(Payer(), held=10, billed=10, wait_s=5.0) for _ in range(60)))
        assert town.clock.monotonic() - began < 0.5


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_nothing_is_overspent(seed: int) -> None:
    """Nodes are stopped for up to 12 s, room is emptied: every row fits its limits, and in the end all agree."""
    rng = random.Random(seed)  # noqa: S311 - chance, no secret
    async with town_of(4, ALL, EACH) as town:

        async def trouble() -> None:
            for _ in range(6):
                await asyncio.sleep(rng.random() * 4)
                if rng.random() < 0.4:
                    town.rooms.empty()
                    continue
                node = rng.choice(town.nodes)
                node.running.clear()
                await asyncio.sleep(rng.random() * 12)
                node.running.set()

        work = [customers(node, random.Random(seed * 100 + number), 30) for number, node in enumerate(town.nodes * 4)]  # noqa: S311 - likewise
        *served, _ = await asyncio.gather(*work, trouble())
        assert sum(filter(None, served)) > 50
        with suppress(BudgetExceeded):  # an account that nobody asked for since all was emptied is not there
            await town.nodes[0].spend(Payer(user="z"), held=1, billed=1)
        await asyncio.sleep(30)
        start = ALL.span(town.clock.now()).start
        assert town.taken(ALL, "") == town.rows.total(ALL, "", start)


async def test_who_leaves_leaves_nothing_taken() -> None:
    """A node that ends has its lease counted for good: what it was lent and did not spend is there for others."""
    async with town_of(2, ALL) as town:
        await town.nodes[0].spend(Payer(), held=100, billed=60)
        await town.nodes[0].stop()
        await town.nodes[0].lending.close()
        assert town.taken(ALL, "") == 60
        await town.nodes[1].spend(Payer(), held=4_940, billed=4_940)


async def test_a_lease_that_is_ended_is_counted_by_whoever_is_left() -> None:
    """Its node dies, who ended it dies too, then its last call is settled: the third node counts what it came to."""
    async with town_of(3, ALL) as town:
        dead, second, third = town.nodes
        calling = asyncio.ensure_future(dead.spend(Payer(), held=100, billed=60, lasts_s=9.0))
        await asyncio.sleep(0.1)
        await dead.stop()
        third.running.clear()
        await asyncio.sleep(7.0)
        await second.stop()
        third.running.set()
        await calling
        await asyncio.sleep(12.0)
        assert town.taken(ALL, "") == 60


class Watching(MemoryRooms):
    """Remembers how many accounts were spoken of at once."""

    most = 0

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Lend."""
        self.most = max(self.most, len(wants))
        return await super().ask(epoch, lease, wants)

    async def give_back(self, epoch: int, lease: str, returns: Sequence[Return]) -> Sequence[int]:
        """Also to renew."""
        self.most = max(self.most, len(returns))
        return await super().give_back(epoch, lease, returns)


async def test_however_many_accounts_there_are_few_are_spoken_of_at_once() -> None:
    """Fifteen hundred users, each with a budget: calls stay short, all that is idle goes back, all is heard of."""
    users = [f"user-{number}" for number in range(1_500)]
    async with town_of(0, EACH) as town:
        town.rooms = rooms = Watching(town.clock.monotonic)
        node, other = await town.node(), await town.node()
        for user in users:
            await node.spend(Payer(user=user), held=10, billed=7)
        await asyncio.gather(*(other.spend(Payer(user=user), held=5, billed=5) for user in users[:50]))
        await asyncio.sleep(60)
        assert rooms.most <= PIECE
        assert {town.taken(EACH, user) for user in users[:50]} == {12}
        assert {town.taken(EACH, user) for user in users[50:]} == {7}
        start = EACH.span(town.clock.now()).start
        heard = {node.lending.standing(Place(EACH.id, user, start)).elsewhere for user in users[:50]}
        assert heard == {5}


async def test_a_part_grows_before_it_is_used_up() -> None:
    """One after the other spends ten of a slice of a hundred: only the first waits for what is lent."""
    async with town_of(2, Budget("all", "global", "tokens", 10_000, "month", ZoneInfo("UTC"))) as town:
        node, waited = town.nodes[0], 0
        for number in range(200):
            began = town.clock.monotonic()
            await node.treasury.hold(f"a{number}", Payer(), Cost(0, 10), 1.0)
            waited += town.clock.monotonic() > began
            await asyncio.sleep(0.003)
            node.treasury.settle(f"a{number}", Payer(), town.clock.now(), Cost(0, 10))
        assert waited == 1


async def test_who_asks_ahead_for_what_is_not_there_asks_once_in_a_beat() -> None:
    """Near the end of a budget less is lent than was asked for: that is no reason to ask with each request."""
    async with town_of(0, Budget("all", "global", "tokens", 1_000, "month", ZoneInfo("UTC"))) as town:
        town.rooms = rooms = Refusing(town.clock.monotonic)
        node = await town.node()
        node.lending.terms = Terms(slice=0.5)
        for _ in range(90):
            await node.spend(Payer(), held=10, billed=10)
        assert rooms.asked == 1


class Refusing(MemoryRooms):
    """Counts who asks for what is not needed yet."""

    asked = 0

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Lend."""
        self.asked += any(want.want and not want.least for want in wants)
        return await super().ask(epoch, lease, wants)


class SlowRows(Rows):
    """Takes eight seconds to add up."""

    async def base(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """Longer than a lease lives unrenewed."""
        await asyncio.sleep(8.0)
        return await super().base(queries)


async def test_a_lease_is_renewed_while_accounts_are_counted() -> None:
    """However long that takes: it is not silent meanwhile, and the accounts are there in the end."""
    soft = Budget("soft", "global", "tokens", 100, "month", ZoneInfo("UTC"), hard=False)
    async with town_of(0, soft) as town:
        town.rows = SlowRows(town.clock.now)
        node, _ = await town.node(), await town.node()
        lease = node.lending.lease
        await node.spend(Payer(), held=10, billed=7)
        await asyncio.sleep(15)
        assert (node.lending.lease, town.rows.ended) == (lease, set())
        assert town.taken(soft, "") == 7


async def test_what_was_opened_while_nobody_could_ask_is_counted_though_it_comes_late() -> None:
    """Its lease was counted for good by then: an epoch is begun, once, and everybody knows what is left."""
    async with town_of(3, ALL) as town:
        dead, one, other = town.nodes
        await dead.spend(Payer(), held=100, billed=100)
        lease = dead.lending.lease
        await dead.stop()
        await asyncio.sleep(8.0)
        assert lease in town.rows.ended
        assert town.taken(ALL, "") == 100
        for number in range(2):  # its spool is drained by who comes after it, in more than one piece
            town.rows.attempts[f"late_{number}"] = Attempt(lease, Payer(), town.clock.now(), 50, 40)
            one.fence.late_openings += 1
            await asyncio.sleep(BEAT_S)
        await asyncio.sleep(3 * BEAT_S)
        await other.spend(Payer(), held=1, billed=1)
        await asyncio.sleep(3 * BEAT_S)
        assert town.taken(ALL, "") == 181
        assert town.rows.stands.number == 2


class OnceDeaf(MemoryRooms):
    """Does not hear of the next lease that begins."""

    deaf = False

    async def enter(self, epoch: int, lease: str) -> None:
        """A new lease."""
        if self.deaf:
            self.deaf = False
            raise SharedUnavailable("no answer in time")
        await super().enter(epoch, lease)


async def test_a_lease_that_was_not_heard_of_does_not_live_on() -> None:
    """What lends is gone between the two: nobody would ever find such a lease silent."""
    async with town_of(0, ALL) as town:
        town.rooms = rooms = OnceDeaf(town.clock.monotonic)
        node = await town.node()
        rooms.deaf = True
        with pytest.raises(SharedUnavailable):
            await node.lending.begin_again()
        assert [lease.id for lease in await town.rows.alive()] == [node.lending.lease]


@pytest.mark.parametrize("after_s", [0.0005, 0.0015, 0.0025, 0.0035])
async def test_what_is_heard_while_it_is_asked_is_no_more_room(after_s: float) -> None:
    """Who asks waits while it is heard what another spent: what was left when it began is not added to that."""
    async with town_of(2, ALL) as town:
        one, other = town.nodes
        for node in town.nodes:
            await node.stop()
        await one.spend(Payer(), held=10, billed=10)
        await other.spend(Payer(), held=3_000, billed=3_000)
        await other.lending.beat()
        await other.spend(Payer(), held=1_900, billed=1_900)  # nearly all is spent, and this is not told yet
        beating = asyncio.ensure_future(one.lending.beat())
        await asyncio.sleep(after_s)
        with pytest.raises(BudgetExceeded):
            await one.spend(Payer(), held=1_900, billed=1_900)
        await beating


def test_every_window_that_a_clock_may_stand_in_is_counted() -> None:
    """Of an hourly budget that is each hour of five back and five ahead, not the outermost alone."""
    hourly = Budget("hourly", "global", "tokens", 100, "hour", ZoneInfo("UTC"))
    starts = [span.start for span in hourly.spans_around(EPOCH)]
    assert starts == [hourly.span(EPOCH + hours * 3600).start for hours in range(-5, 6)]
