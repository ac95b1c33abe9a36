"""What a process and its successor say to each other, over a real socket: one bank for both."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from penstock.core.budget import Budget, Payer
from penstock.errors import BudgetExceeded, Draining, PenstockError
from penstock.pipeline.treasury import Cost, MovedError
from penstock.server.listener import bind
from penstock.server.predecessor import Predecessor
from penstock.server.succession import Channel, Papers, Ready, Serving, receive_papers, send_papers
from penstock.server.successor import Heir
from tests.support.small_gateway import SmallGateway, small_gateway, small_settings
from tests.support.tiny_app import until

ALICE = Payer(user="alice", tags=("env=prod",))
BUDGET = Budget("all", "global", "tokens", 100, "total", ZoneInfo("UTC"))


class Pair:
    """Both ends: the gateway that hands over, and its successor."""

    def __init__(self, old: SmallGateway, new: SmallGateway, channel: Channel, predecessor: Predecessor) -> None:
        self.old, self.new = old.treasury, new.treasury
        self.new_gateway = new
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
        self.predecessor.follow(self.new_gateway)
        assert await self.channel.hear() == Serving()
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
        send_papers(ours, Papers("127.0.0.1:1", "127.0.0.1:2"), [data.fileno(), admin.fileno(), lane.fileno()])
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
        send_papers(ours, Papers("127.0.0.1:0", "127.0.0.1:2"), [data.fileno(), admin.fileno(), lane.fileno()])
        predecessor = Predecessor.meet(theirs.detach())
        assert predecessor.socket_for(replace(settings.server.listen, port=3)) is None
        inherited = predecessor.socket_for(settings.server.listen)
        assert inherited is not None
        assert inherited.getsockname()[1] == port
        assert not inherited.get_inheritable()
        inherited.close()
        asyncio.run(predecessor.close())


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
