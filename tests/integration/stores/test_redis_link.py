"""The link to Redis holds nobody up: frozen, black-holed, reset, killed, emptied, late, or somebody else's servers."""

import asyncio
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
import uvloop

from penstock.clock import SystemClock, SystemRng
from penstock.core.budget import Place
from penstock.errors import EpochLost, SharedUnavailable, StoreError
from penstock.ports.lending import Want
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_rooms import RedisRooms
from penstock.stores.redis_slots import slot_of
from penstock.stores.redis_url import read_redis_url
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis_server import RedisServer, redis_cluster, redis_server

pytestmark = pytest.mark.alone

DEADLINE_S = 0.05
SLACK_S = 0.5
"""The machine is shared: what is bounded is bounded a little later."""
KEY = b"a key"
PLACE = Place("all", "", 0.0)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that runs."""
    with redis_server() as started:
        yield started


@asynccontextmanager
async def _linked(url: str, deadline_s: float = DEADLINE_S) -> AsyncIterator[RedisLink]:
    link = RedisLink(read_redis_url(url), SystemClock(), SystemRng(1), deadline_s=deadline_s)
    try:
        await link.open()
        yield link
    finally:
        await link.close()


async def _refused(link: RedisLink) -> float:
    """Seconds until it was."""
    since = SystemClock.monotonic()
    with pytest.raises(SharedUnavailable) as caught:
        await link.call(KEY, "GET", KEY)
    assert caught.value.retry_after_s
    return SystemClock.monotonic() - since


async def _recovered(link: RedisLink) -> float:
    """Seconds until it answers again."""
    since = SystemClock.monotonic()
    async with asyncio.timeout(10):
        while True:
            with suppress(SharedUnavailable):
                await link.call(KEY, "GET", KEY)
                return SystemClock.monotonic() - since
            await asyncio.sleep(0.01)


async def _fails_fast_and_recovers(link: RedisLink) -> None:
    """Three at most wait for the deadline, the next for nothing."""
    waited = [await _refused(link) for _ in range(103)]
    assert max(waited) < DEADLINE_S + SLACK_S
    assert sum(waited[3:]) < 100 * DEADLINE_S / 4


def _socket(link: RedisLink) -> socket.socket:
    """The one that its only connection has."""
    (node,) = link._nodes.values()  # noqa: SLF001 - what stands in the socket is nobody's to see
    assert node._connection is not None  # noqa: SLF001 - likewise
    transport = node._connection._transport  # noqa: SLF001 - likewise
    assert transport is not None
    return cast("socket.socket", transport.get_extra_info("socket"))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reply_that_has_arrived_is_read_however_late_our_loop_is(
    server: RedisServer, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The loop stands still beyond the deadline, the reply in the socket, and sees to its timers first: none fails."""
    bell, button = socket.socketpair()

    async def call() -> None:
        async with _linked(server.url, deadline_s=0.3) as link:

            def stand_still() -> None:
                bell.recv(1)
                server.thaw()
                select.select([_socket(link).fileno()], [], [], 10.0)
                time.sleep(0.4)

            asyncio.get_running_loop().add_reader(bell, stand_still)
            server.freeze()
            called = asyncio.ensure_future(link.call(KEY, "GET", KEY))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # it is written
            button.send(b".")
            assert await called is None
            asyncio.get_running_loop().remove_reader(bell)

    with bell, button, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(call())


async def test_a_call_that_our_loop_wrote_late_has_its_whole_deadline(server: RedisServer) -> None:
    """The loop stands still for longer than the deadline before it writes; then the server takes a tenth of it."""
    with fault_proxy(server.port) as proxy:
        async with _linked(f"redis://127.0.0.1:{proxy.port}", deadline_s=1.0) as link:
            proxy.set(latency_s=0.05)
            call = asyncio.ensure_future(link.call(KEY, "GET", KEY))
            asyncio.get_running_loop().call_soon(time.sleep, 1.2)
            assert await call is None


async def test_a_frozen_server_holds_nobody_up(server: RedisServer) -> None:
    """Each call waits its deadline at most, after three of them none waits; thawed, it serves again within seconds."""
    async with _linked(server.url) as link:
        server.freeze()
        try:
            await _fails_fast_and_recovers(link)
        finally:
            server.thaw()
        assert await _recovered(link) < 5


@pytest.mark.parametrize("fault", [{"black_hole": True}, {"latency_s": 0.5}, {"reset_share": 1.0}, {"refuse": True}])
async def test_a_broken_network_holds_nobody_up(server: RedisServer, fault: dict[str, bool | float]) -> None:
    """Nothing comes through, or late, or everything is reset, or nobody listens."""
    with fault_proxy(server.port) as proxy:
        async with _linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.set(**fault)
            if "refuse" in fault:
                proxy.cut()
            waited = [await _refused(link) for _ in range(8)]
            assert max(waited) < DEADLINE_S + SLACK_S
            proxy.heal()
            assert await _recovered(link) < 5


async def test_it_connects_again_without_a_storm(server: RedisServer) -> None:
    """However many ask while nobody is there: one attempt at a time, further and further apart."""
    with fault_proxy(server.port) as proxy:
        async with _linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.set(reset_connect=1.0)
            proxy.cut()
            before = proxy.counts.accepted
            until = SystemClock.monotonic() + 1.0
            while SystemClock.monotonic() < until:
                await asyncio.gather(*(_tried(link) for _ in range(50)))
                await asyncio.sleep(0.002)
            assert proxy.counts.accepted - before < 20
            proxy.heal()
            await _recovered(link)
            assert _open(proxy) == 1


def _open(proxy: FaultProxy) -> int:
    return proxy.counts.open


async def _tried(link: RedisLink) -> None:
    with suppress(SharedUnavailable):
        await link.call(KEY, "GET", KEY)


async def test_one_connection_serves_all_and_mixes_nothing_up(server: RedisServer) -> None:
    """A thousand at once, some of them given up: each gets its own reply."""
    with fault_proxy(server.port) as proxy:
        async with _linked(f"redis://127.0.0.1:{proxy.port}", deadline_s=5.0) as link:
            asked = [asyncio.ensure_future(link.call(KEY, "ECHO", f"{number}")) for number in range(1000)]
            await asyncio.sleep(0)
            for each in asked[::3]:
                each.cancel()
            told = await asyncio.gather(*asked, return_exceptions=True)
            expected = [f"{number}".encode() for number in range(1000)]
            assert [each for number, each in enumerate(told) if number % 3] == [
                each for number, each in enumerate(expected) if number % 3
            ]
            assert _open(proxy) == 1


async def test_a_server_that_was_killed_is_another_one(server: RedisServer) -> None:
    """Back empty, it lends nothing before a new epoch has begun on it; so is one that is back with an old dump."""
    async with _linked(server.url, deadline_s=2.0) as link:
        rooms = RedisRooms(link)
        await _begun(rooms, 1)
        dump = server.dump()
        for number in (2, 3):
            server.kill()
            server.start() if number == 2 else server.restart_from(dump)
            await _recovered(link)
            with pytest.raises(EpochLost):
                await rooms.ask(number - 1, "a", [Want(PLACE, 100, 10, 1)])
            fresh = RedisRooms(link)
            with pytest.raises(EpochLost):
                await fresh.ask(1, "a", [Want(PLACE, 100, 10, 1)])
            await _begun(rooms, number)


async def test_a_file_makes_no_difference_to_a_server_that_was_killed() -> None:
    """With an append-only file the numbers are back, and yet it is another process."""
    with redis_server(aof=True) as server:
        async with _linked(server.url, deadline_s=2.0) as link:
            rooms = RedisRooms(link)
            await _begun(rooms, 1)
            server.kill()
            server.start()
            await _recovered(link)
            with pytest.raises(EpochLost) as caught:
                await RedisRooms(link).ask(1, "a", [Want(PLACE, 100, 10, 1)])
            assert caught.value.found == 1
            await _begun(rooms, 2)


async def _begun(rooms: RedisRooms, epoch: int) -> None:
    """An epoch with one account, which one lease has a part of."""
    await rooms.begin(epoch, await rooms.server())
    await rooms.enter(epoch, "a")
    assert await rooms.set_account(epoch, PLACE, 0, {}, 3600.0)
    (lent,) = await rooms.ask(epoch, "a", [Want(PLACE, 100, 10, 1)])
    assert lent.lent == 10


async def test_many_who_set_an_account_leave_one_value(server: RedisServer) -> None:
    """The first counts, whoever comes after it and with whatever."""
    async with _linked(server.url, deadline_s=5.0) as link, _linked(server.url, deadline_s=5.0) as beside:
        one, other = RedisRooms(link), RedisRooms(beside)
        await one.begin(1, await one.server())
        await one.enter(1, "a")
        await asyncio.gather(
            *((one, other)[number % 2].set_account(1, PLACE, number + 1, {}, 3600.0) for number in range(50))
        )
        told = [await rooms.ask(1, "a", [Want(PLACE, 100, 0, 0)]) for rooms in (one, other)]
        assert told[0] == told[1]
        assert 1 <= told[0][0].taken <= 50


async def test_a_silent_lease_is_told_of_and_one_that_is_short_as_well(server: RedisServer) -> None:
    """To whoever renews: by Redis' clock, and only of accounts of which it has a part."""
    async with _linked(server.url, deadline_s=2.0) as link:
        rooms = RedisRooms(link)
        await _begun(rooms, 1)
        await rooms.enter(1, "b")
        server.call("ZADD", "{penstock:money}:1:leases", 1, "a")
        (refused,) = await rooms.ask(1, "b", [Want(PLACE, 100, 99, 95)])
        assert (refused.lent, refused.taken) == (0, 10)
        assert (await rooms.renew(1, "b", [])).silent == ["a"]
        beat = await rooms.renew(1, "a", [])
        assert (beat.silent, beat.short) == ([], [PLACE])


async def test_what_is_over_and_old_epochs_go(server: RedisServer) -> None:
    """Behind, with the beats; nothing is left of them."""
    async with _linked(server.url, deadline_s=2.0) as link:
        rooms = RedisRooms(link)
        await _begun(rooms, 1)
        assert await rooms.set_account(1, Place("over", "", 0.0), 5, {}, 0.0)
        await asyncio.sleep(0.002)
        await rooms.renew(1, "a", [])
        assert not [key for key in server.call("KEYS", "*") if "over" in key]
        await _begun(rooms, 2)
        await rooms.renew(2, "a", [])
        await rooms.renew(2, "a", [])
        assert not [key for key in server.call("KEYS", "*") if "}:1:" in key]


async def test_an_account_that_was_evicted_is_missed(server: RedisServer) -> None:
    """It is listed, and not there: what was lent of it is not known any more."""
    async with _linked(server.url, deadline_s=2.0) as link:
        rooms = RedisRooms(link)
        await _begun(rooms, 1)
        server.call("DEL", next(key for key in server.call("KEYS", "*") if ":a:" in key))
        with pytest.raises(EpochLost):
            await rooms.ask(1, "a", [Want(PLACE, 100, 10, 1)])
        with pytest.raises(EpochLost):
            await rooms.set_account(1, PLACE, 0, {}, 3600.0)


async def test_scripts_that_the_server_forgot_are_sent_again(server: RedisServer) -> None:
    """SCRIPT FLUSH costs a round trip, no more."""
    async with _linked(server.url, deadline_s=2.0) as link:
        rooms = RedisRooms(link)
        await _begun(rooms, 1)
        server.call("SCRIPT", "FLUSH")
        assert (await rooms.ask(1, "a", [Want(PLACE, 100, 10, 1)]))[0].part == 20


async def test_one_server_of_a_cluster_takes_only_its_own_keys_with_it() -> None:
    """Those of the others are served; a key that has moved is found where it is now."""
    with redis_cluster() as cluster:
        async with _linked(cluster.url, deadline_s=0.2) as link:
            keys = {cluster.has(slot_of(key)).port: key for key in (b"%d" % number for number in range(50))}
            frozen, *others = cluster.servers
            frozen.freeze()
            try:
                for server in others:
                    assert await link.call(keys[server.port], "SET", keys[server.port], "1") == b"OK"
                with pytest.raises(SharedUnavailable):
                    await link.call(keys[frozen.port], "GET", keys[frozen.port])
            finally:
                frozen.thaw()
            to, off = others
            slot, ids = slot_of(keys[off.port]), [server.call("CLUSTER", "MYID") for server in (to, off)]
            off.call("DEL", keys[off.port])
            for server in (to, off):
                server.call("CLUSTER", "SETSLOT", slot, "NODE", ids[0])
            assert await link.call(keys[off.port], "SET", keys[off.port], "moved") == b"OK"
            assert to.call("GET", keys[off.port]) == "moved"


async def test_a_wrong_password_is_said() -> None:
    """And the right one gets in; neither is repeated."""
    with redis_server(password="sesame") as server:
        async with _linked(server.url) as link:
            assert await link.call(KEY, "PING") == b"PONG"
        with pytest.raises(SharedUnavailable) as caught:
            async with _linked(f"redis://:wrong-word@127.0.0.1:{server.port}"):
                pass
        assert "WRONGPASS" in caught.value.detail
        assert "wrong-word" not in f"{caught.value.public} {caught.value.detail}"


async def test_what_is_missing_is_said(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra: what to install."""
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(SharedUnavailable, match=r"penstock\[scale\]"):
        async with _linked(server.url):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "memcached://h",
        "redis://",
        "redis://h:99999",
        "redis://h:x",
        "redis://h/zero",
        "redis+cluster://a,b/1",
        "redis:h",
    ],
)
def test_a_url_that_says_nothing_is_refused(url: str) -> None:
    """With what to write instead."""
    with pytest.raises(StoreError, match=r"write|leave"):
        read_redis_url(url)


def test_a_url_says_who_where_and_how() -> None:
    """User, password, several hosts, database, TLS; the password is never shown."""
    url = read_redis_url("rediss://us%40er:p%3Aw@a:1,[::1]:2,c")
    assert [str(address) for address in url.addresses] == ["a:1", "[::1]:2", "c:6379"]
    assert (url.cluster, url.tls, url.login, url.db) == (True, True, ("us@er", "p:w"), 0)
    assert "p:w" not in repr(url)
    assert read_redis_url("valkey://h/3").db == 3
