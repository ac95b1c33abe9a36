"""What is lent of budgets, in a real Redis and a real cluster, is lent by the memory's rules; and never twice."""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from penstock.clock import SystemClock, SystemRng
from penstock.errors import EpochLost
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_rooms import RedisRooms
from penstock.stores.redis_url import read_redis_url
from tests.support.redis_server import RedisServer, redis_cluster, redis_server
from tests.support.rooms_machine import PLACES, Bridge, RoomsMachine

PATIENT_S = 5.0
"""What is tested here is no deadline: the machine may be busy."""


@contextlib.contextmanager
def _link(url: str) -> Iterator[tuple[Bridge, RedisLink]]:
    bridge = Bridge()
    link = _made(bridge, url)
    yield bridge, link
    bridge.run(link.close())
    bridge.close()


def _made(bridge: Bridge, url: str) -> RedisLink:
    async def make() -> RedisLink:
        link = RedisLink(read_redis_url(url), SystemClock(), SystemRng(1), deadline_s=PATIENT_S)
        await link.open()
        return link

    return bridge.run(make())


class InRedis(RoomsMachine):
    """Against a server that loses nothing."""

    shared: ClassVar[tuple[Bridge, RedisLink]]
    names: ClassVar[Iterator[int]] = count()

    def begin_with(self) -> None:
        """A prefix of its own; what can be said in pieces is."""
        self.bridge, link = self.shared
        self.rooms = RedisRooms(link, f"p{next(self.names)}", at_once=1)


class Losing(InRedis):
    """Against one that is emptied and put back to what it had."""

    server: ClassVar[RedisServer]
    old: Path | None = None

    @precondition(lambda self: self.epoch)
    @rule()
    def save(self) -> None:
        """A dump, for later."""
        self.old = self.server.dump()

    @precondition(lambda self: self.epoch)
    @rule()
    def empty(self) -> None:
        """FLUSHALL."""
        self.server.call("FLUSHALL")
        self.lost()

    @precondition(lambda self: self.epoch and self.old)
    @rule()
    def rewind(self) -> None:
        """To a state of before something more was lent."""
        assert self.old is not None
        self.answer(self.rooms, "enter", "a change after the dump")
        self.server.rewind(self.old)
        self.lost()

    def lost(self) -> None:
        """Nothing is lent, nor believed, before a new epoch has begun."""
        for name, words in (("ask", ("x", [])), ("renew", ("x", [])), ("set_account", (PLACES[0], 0, {}, 1.0))):
            assert self.answer(self.rooms, name, *words) is EpochLost
        self.begin_anew()


@pytest.mark.parametrize("start", [redis_server, redis_cluster])
def test_redis_lends_as_the_memory_does(start: "type[contextlib.AbstractContextManager[RedisServer]]") -> None:
    """Whatever nodes do and in whatever order, both say the same, and no limit is ever passed."""
    with start() as server, _link(server.url) as shared:
        InRedis.shared = shared
        run_state_machine_as_test(InRedis, settings=settings(max_examples=60, stateful_step_count=30))


def test_a_redis_that_loses_what_it_knew_lends_nothing() -> None:
    """Emptied or rewound at any moment, it is found out by the next call, and no limit is passed by beginning anew."""
    with redis_server() as server, _link(server.url) as shared:
        Losing.shared, Losing.server = shared, server
        run_state_machine_as_test(Losing, settings=settings(max_examples=30, stateful_step_count=30))
