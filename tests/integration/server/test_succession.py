"""What a process and its successor say to each other, over a real socket: one bank for both."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
import uvloop

from penstock.clock import SystemClock
from penstock.core.budget import Budget, Payer
from penstock.errors import BudgetExceeded, Draining, PenstockError, StoreError
from penstock.pipeline.first import First
from penstock.pipeline.known import Elsewhere
from penstock.pipeline.treasury import Cost, MovedError
from penstock.ports.results import StoredResult
from penstock.server.listener import bind
from penstock.server.planes import Planes
from penstock.server.predecessor import Predecessor
from penstock.server.restarts import Restarts
from penstock.server.succession import LANGUAGE, Channel, Papers, Ready, Serving, receive_papers, send_papers
from penstock.server.successor import Heir
from tests.support.small_gateway import SmallGateway, small_gateway, small_settings
from tests.support.tiny_app import TinyApp, connected, until

pytestmark = pytest.mark.alone

RESULT = StoredResult(b"a", 200, {}, b"{}", "req_1", 1.0)
ALICE = Payer(user="alice", tags=("env=prod",))
BUDGET = Budget("all", "global", "tokens", 100, "total", ZoneInfo("UTC"))


class Pair:
    """Both ends: the gateway that hands over, and its successor."""

    def __init__(self, old: SmallGateway, new: SmallGateway, channel: Channel, predecessor: Predecessor) -> None:
        self.old, self.new = old.treasury, new.treasury
        self.old_gateway, self.new_gateway = old, new
        self.channel = channel
        self.predecessor = predecessor
        self.heir = Heir(channel)
        self.listening: asyncio.Task[None] | None = None

    async def move(self) -> None:
        """The bank, and then what follows."""
        moved = self.old.hand_over(self.heir)
        waiting = asyncio.ensure_future(self.predecessor.wait())
        assert await self.channel.hear() == Ready()
        self.heir.open(moved)
        self.new.take_over(await waiting)
        await self.new.adopt([BUDGET])
        following = asyncio.ensure_future(self.predecessor.follow(self.new_gateway))
        assert await self.channel.hear() == Serving()
        assert not following.done()
        self.heir.begin(self.old_gateway.known(), self.old_gateway.standing.firsts)
        await following
        self.listening = asyncio.ensure_future(self.heir.listen())

    def used(self) -> tuple[int, int]:
        """What the successor's bank has posted and pending."""
        (standing,) = self.new.standings()
        return standing.used, standing.pending


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Not moved yet; the old one holds 30 of 100."""
    settings = small_settings()
    ours, theirs = socket.socketpair()
    with bind(settings.server.listen) as data, bind(settings.server.admin_listen) as admin, socket.socket() as lane:
        send_papers(
            ours, Papers("127.0.0.1:1", "127.0.0.1:2", LANGUAGE), [data.fileno(), admin.fileno(), lane.fileno()]
        )
    ours.setblocking(False)
    predecessor = Predecessor.meet(theirs.detach())
    old, new = await small_gateway(settings), await small_gateway(settings)
    await old.treasury.adopt([BUDGET])
    await old.treasury.hold("first", ALICE, Cost(0, 30), 0)
    both = Pair(old, new, await Channel.over(ours), predecessor)
    try:
        yield both
    finally:
        await both.channel.close()
        if both.listening is not None:
            await both.listening
        await predecessor.close()
        await old.close()
        await new.close()


async def test_holds_are_asked_for_and_told() -> None:
    """What was held, what is held, what is refused and what it comes to."""
    async with pair() as both:
        await both.move()
        assert both.used() == (0, 30)
        await both.old.hold("second", ALICE, Cost(0, 60), 0)
        assert both.used() == (0, 90)
        with pytest.raises(BudgetExceeded) as refused:
            await both.old.hold("third", ALICE, Cost(0, 101), 0)
        assert refused.value.refused_by["budget"] == "all"
        assert "used up" in refused.value.public
        both.old.settle("first", ALICE, 0.0, Cost(0, 20))
        both.old.settle("second", ALICE, 0.0, Cost(0, 50))
        await until(lambda: both.used() == (70, 0))


async def test_what_is_asked_while_the_bank_is_under_way_arrives_after_it() -> None:
    """It is said in its order, once the successor has the bank."""
    async with pair() as both:
        both.old.hand_over(both.heir)
        early = asyncio.ensure_future(both.old.hold("early", ALICE, Cost(0, 10), 0))
        await asyncio.sleep(0)
        await both.move()
        await early
        assert both.used() == (0, 40)


async def test_who_stops_waiting_holds_nothing() -> None:
    """While the successor lets it wait, and when its answer is under way."""
    async with pair() as both:
        await both.move()
        waiting = asyncio.ensure_future(both.old.hold("second", ALICE, Cost(0, 80), 60))
        await asyncio.sleep(0.05)
        waiting.cancel()
        granted = asyncio.ensure_future(both.old.hold("third", ALICE, Cost(0, 20), 60))
        await asyncio.sleep(0)
        granted.cancel()
        await asyncio.wait([waiting, granted])
        both.old.settle("first", ALICE, 0.0, Cost(0, 30))
        await until(lambda: both.used() == (30, 0))


@pytest.mark.parametrize("turns", range(8))
def test_who_is_granted_in_the_turn_in_which_it_leaves_holds_nothing(turns: int) -> None:
    """In the order in which the loop of a real process hears of both, whichever is first by some turns."""

    async def play() -> None:
        async with pair() as both:
            await both.move()
            waiting = asyncio.ensure_future(both.old.hold("second", ALICE, Cost(0, 80), 60))
            await asyncio.sleep(0.05)
            waiting.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            both.new.settle("first", ALICE, 0.0, Cost(0, 10))
            await until(lambda: both.used() == (10, 0))
            await asyncio.wait([waiting])

    async def in_time() -> None:
        await asyncio.wait_for(play(), 3)

    uvloop.run(in_time())


async def test_a_stream_tops_up() -> None:
    """It is told no until it is told yes; where nothing is left it stays no."""
    async with pair() as both:
        await both.move()
        assert not both.old.top_up("first", ALICE, Cost(0, 50))
        await until(lambda: both.old.top_up("first", ALICE, Cost(0, 50)))
        assert both.used() == (0, 80)
        for _ in range(5):
            assert not both.old.top_up("first", ALICE, Cost(0, 21))
            await asyncio.sleep(0.01)
        assert both.used() == (0, 80)


async def test_the_end_of_the_predecessor() -> None:
    """Its successor hears it, gives up what it waited for, and settles what it had held and never told."""
    async with pair() as both:
        await both.move()
        lost = asyncio.ensure_future(both.old.hold("second", ALICE, Cost(0, 80), 60))
        await asyncio.sleep(0.05)
        await both.channel.close()
        await asyncio.wait_for(both.predecessor.ended.wait(), 2)
        assert both.new_gateway.buried == ["first"]
        assert both.used() == (0, 30)
        with pytest.raises(Draining):
            await lost


class Hurried(SystemClock):
    """Does not sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Only say so, and give the test a turn."""
        self.slept.append(seconds)
        await asyncio.sleep(0.01)


async def test_what_cannot_be_settled_is_tried_again() -> None:
    """Whatever it fails with, ever less often; a restart need not wait for it, for the predecessor has ended."""
    async with pair() as both:
        await both.move()
        both.new_gateway.clock = clock = Hurried()
        both.new_gateway.unburied = [StoreError("locked"), OSError("no space left")]
        await both.channel.close()
        await asyncio.wait_for(both.predecessor.ended.wait(), 2)
        assert both.new_gateway.buried is None
        await until(lambda: both.new_gateway.buried == ["first"])
        assert clock.slept == [1.0, 2.0]


async def test_a_restart_settles_nothing_meanwhile() -> None:
    """What belongs to no owner that this process knows may be its successor's; if there is none, it goes on."""
    async with pair() as both:
        await both.move()
        gateway = both.new_gateway
        gateway.clock = clock = Hurried()
        gateway.unburied = [StoreError("locked")] * 10_000
        await both.channel.close()
        await asyncio.wait_for(both.predecessor.ended.wait(), 2)
        with bind(gateway.settings.server.listen) as data, bind(gateway.settings.server.admin_listen) as admin:
            planes = Planes(gateway, TinyApp(), TinyApp())
            await planes.open_data(data)
            await planes.open_admin(admin)
            restarts = Restarts(
                gateway, planes, [sys.executable, "-c", "import time; time.sleep(0.5)"], both.predecessor, lambda: None
            )
            restarts()
            await asyncio.wait_for(until(both.predecessor.burial.locked), 5)
            await asyncio.sleep(0.05)
            tried = len(clock.slept)
            await asyncio.sleep(0.05)
            assert len(clock.slept) == tried
            gateway.unburied.clear()
            await asyncio.wait_for(until(lambda: gateway.buried == ["first"]), 10)
            await restarts.stop()
            await planes.close_admin(0)
            await planes.data.drain(0)


async def test_nothing_is_left_of_a_successor_that_ends() -> None:
    """Neither who follows its predecessor nor what waits there for that."""
    async with pair() as both:
        await both.move()
        before = asyncio.all_tasks()
        waiting = asyncio.ensure_future(both.old.hold("second", ALICE, Cost(0, 80), 60))
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks() - before) == 2
        await both.predecessor.close()
        with pytest.raises(Draining):
            await waiting
        assert asyncio.all_tasks() <= before


async def test_a_repeat_waits_for_a_first_that_the_predecessor_answers() -> None:
    """Until it has come to something, or to nothing, or the predecessor has ended without a word."""
    async with pair() as both:
        names = [("key", each) for each in "abc"]
        mine = [First(each[1].encode(), Elsewhere()) for each in names]
        both.old_gateway.standing.firsts.update(zip(names, mine, strict=True))
        await both.move()
        theirs = [both.new_gateway.standing.firsts[name] for name in names]
        assert [first.body_digest for first in theirs] == [b"a", b"b", b"c"]
        mine[0].result.set_result(RESULT)
        mine[1].result.set_result(None)
        assert await asyncio.wait_for(theirs[0].result, 2) == RESULT
        assert await asyncio.wait_for(theirs[1].result, 2) is None
        assert [*both.new_gateway.standing.firsts] == [names[2]]
        await both.channel.close()
        assert await asyncio.wait_for(theirs[2].result, 2) is None
        assert both.new_gateway.standing.firsts == {}


async def test_a_predecessor_that_ends_before_its_last_word() -> None:
    """Its bank is here, so its successor serves."""
    async with pair() as both:
        moved = both.old.hand_over(both.heir)
        waiting = asyncio.ensure_future(both.predecessor.wait())
        assert await both.channel.hear() == Ready()
        both.heir.open(moved)
        both.new.take_over(await waiting)
        following = asyncio.ensure_future(both.predecessor.follow(both.new_gateway))
        assert await both.channel.hear() == Serving()
        await both.channel.close()
        await asyncio.wait_for(following, 2)


async def test_the_end_of_the_successor() -> None:
    """Once it has served, nothing more is spent without it; what is asked is refused."""
    async with pair() as both:
        await both.move()
        await both.predecessor.close()
        with pytest.raises(Draining):
            await both.old.hold("second", ALICE, Cost(0, 10), 0)
        both.old.settle("first", ALICE, 0.0, Cost(0, 10))


async def test_the_end_of_the_successor_before_it_served() -> None:
    """The bank is taken back, and who had asked is answered here."""
    async with pair() as both:
        both.old.hand_over(both.heir)
        asked = asyncio.ensure_future(both.old.hold("second", ALICE, Cost(0, 70), 0))
        await asyncio.sleep(0)
        both.old.take_back()
        both.heir.lose(MovedError)
        await asked
        with pytest.raises(BudgetExceeded):
            await both.old.hold("third", ALICE, Cost(0, 1), 0)


class FullDisk:
    """The lock of a store on a disk that is full."""

    file = 0

    def sign(self) -> None:
        """There is no room."""
        raise OSError("no space left")


STOPS_WHEN_IT_HAS_THE_BANK = """
import asyncio, sys
from penstock.server.predecessor import Predecessor
asyncio.run(Predecessor.meet(int(sys.argv[-1])).wait())
"""


async def test_whatever_fails_as_well_when_a_successor_is_given_up() -> None:
    """The bank, the cache and the admin plane are here again."""
    gateway = await small_gateway(small_settings())
    await gateway.treasury.adopt([BUDGET])
    gateway.stores.lock = FullDisk()
    served: list[bool] = []
    with bind(gateway.settings.server.listen) as data, bind(gateway.settings.server.admin_listen) as admin:
        planes = Planes(gateway, TinyApp(), TinyApp())
        await planes.open_data(data)
        await planes.open_admin(admin.dup())
        command = [sys.executable, "-c", STOPS_WHEN_IT_HAS_THE_BANK]
        restarts = Restarts(gateway, planes, command, None, lambda: served.append(True))
        first = planes.admin
        restarts()
        await asyncio.wait_for(until(lambda: planes.admin is not first), 20)
        async with connected(planes.admin) as client:
            await client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await client.answer())[0] == 200
        await asyncio.wait_for(gateway.treasury.hold("first", ALICE, Cost(0, 30), 0), 2)
        assert (served, restarts.successor) == ([], None)
        await restarts.stop()
        await planes.close_admin(0)
        await planes.data.drain(0)
    await gateway.close()


async def test_a_successor_whose_predecessor_ends_before_does_not_serve() -> None:
    """It was to end: nobody is to serve in its place."""
    async with pair() as both:
        waiting = asyncio.ensure_future(both.predecessor.wait())
        assert await both.channel.hear() == Ready()
        await both.channel.close()
        with pytest.raises(PenstockError, match="ended before it handed over"):
            await waiting


def test_sockets_go_by_the_address_that_was_configured() -> None:
    """One that the successor's config does not name is not used; it binds its own."""
    settings = small_settings()
    ours, theirs = socket.socketpair()
    server = settings.server
    with ours, bind(server.listen) as data, bind(server.admin_listen) as admin, socket.socket() as lane:
        port = data.getsockname()[1]
        send_papers(
            ours, Papers("127.0.0.1:0", "127.0.0.1:2", LANGUAGE), [data.fileno(), admin.fileno(), lane.fileno()]
        )
        predecessor = Predecessor.meet(theirs.detach())
        assert predecessor.socket_for(replace(settings.server.listen, port=3)) is None
        inherited = predecessor.socket_for(settings.server.listen)
        assert inherited is not None
        assert inherited.getsockname()[1] == port
        assert not inherited.get_inheritable()
        inherited.close()
        asyncio.run(predecessor.close())


def test_a_predecessor_that_speaks_otherwise_is_left_alone() -> None:
    """Of another version of Penstock: the start ends before anything is taken, so that one serves on."""
    ours, theirs = socket.socketpair()
    with ours, socket.socket() as one:
        send_papers(ours, Papers("127.0.0.1:1", "127.0.0.1:2"), [one.fileno()] * 3)
        with pytest.raises(PenstockError, match="of a version that cannot"):
            Predecessor.meet(theirs.detach())


def test_nobody_to_take_over_from() -> None:
    """The option without a process behind it ends the start."""
    ours, theirs = socket.socketpair()
    ours.close()
    with pytest.raises(PenstockError, match="no process to take over from"):
        Predecessor.meet(theirs.detach())
    one, other = socket.socketpair()
    one.close()
    with other, pytest.raises(EOFError):
        receive_papers(other)
