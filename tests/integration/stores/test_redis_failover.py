"""A master dies and a replica takes its place: keys are followed there, and what it may have lost is not believed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from penstock.clock import SystemClock, SystemRng
from penstock.core.budget import Place
from penstock.errors import EpochLost, SharedUnavailable
from penstock.ports.lending import Want
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_rooms import RedisRooms
from penstock.stores.redis_slots import read_redirection, slot_of
from penstock.stores.redis_url import Address, read_redis_url
from tests.support.fault_proxy import fault_proxy
from tests.support.redis_replicas import caught_up, demoted, promoted, replica_in
from tests.support.redis_server import RedisCluster, RedisServer, redis_cluster, redis_server

HEAD = b"{penstock:money}:head"
KEY = b"a key"
PLACE = Place("all", "", 0.0)
DEADLINE_S = 0.2
PATIENT_S = 20.0
LOOK_S = 0.02


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    """One that is open."""
    link = RedisLink(read_redis_url(url), SystemClock(), SystemRng(1), deadline_s=DEADLINE_S)
    try:
        await link.open()
        yield link
    finally:
        await link.close()


async def answers(link: RedisLink, key: bytes) -> None:
    """Return when writes of that key are taken again."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            with suppress(SharedUnavailable):
                await link.call(key, "SET", key, "1")
                return
            await asyncio.sleep(LOOK_S)


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    """Three masters."""
    with redis_cluster() as started:
        yield started


def a_key_of(cluster: RedisCluster, server: RedisServer) -> bytes:
    """One that this server has."""
    return next(key for key in (b"%d" % number for number in range(100)) if cluster.has(slot_of(key)) is server)


async def begun(rooms: RedisRooms, epoch: int) -> None:
    """An epoch with one account, of which a lease has ten."""
    await rooms.begin(epoch, await rooms.server())
    await rooms.enter(epoch, "a")
    assert await rooms.set_account(epoch, PLACE, 0, {}, 3600.0)
    (lent,) = await rooms.ask(epoch, "a", [Want(PLACE, 100, 10, 1)])
    assert lent.lent == 10


async def test_a_replica_that_took_over_is_followed_and_not_believed(cluster: RedisCluster) -> None:
    """The master of money is killed: others serve, its slots are found elsewhere, and nothing is lent before an epoch.

    The URL does not name the replica. The old master is back as a replica, and takes over in its turn.
    """
    money = cluster.has(slot_of(HEAD))
    beside = a_key_of(cluster, next(server for server in cluster.servers if server is not money))
    with replica_in(cluster, money) as replica:
        async with linked(cluster.url) as link:
            rooms = RedisRooms(link)
            await begun(rooms, 1)
            caught_up(replica, money)
            money.kill()
            with pytest.raises(SharedUnavailable):
                await rooms.ask(1, "a", [Want(PLACE, 100, 10, 1)])
            await link.call(beside, "GET", beside)
            promoted(replica)
            await answers(link, HEAD + b"}beside")
            with pytest.raises(EpochLost) as caught:
                await RedisRooms(link).ask(1, "a", [Want(PLACE, 100, 10, 1)])
            assert caught.value.found == 1, "it has what its master had, and that may be old"
            await begun(rooms, 2)
            money.start()
            demoted(money)
            (lent,) = await rooms.ask(2, "a", [Want(PLACE, 100, 10, 1)])
            assert lent.part == 20
            money.call("CLUSTER", "FAILOVER", "TAKEOVER")  # and the other way round, while both live
            promoted(money)
            demoted(replica)
            await answers(link, HEAD + b"}beside")
            with pytest.raises(EpochLost):
                await RedisRooms(link).ask(2, "a", [Want(PLACE, 100, 10, 1)])


async def test_a_server_that_only_reads_is_left_alone() -> None:
    """Behind an address of whoever is primary: no call waits, no storm of connections, used when it takes writes."""
    with redis_server() as server, fault_proxy(server.port) as proxy:
        async with linked(f"redis://127.0.0.1:{proxy.port}") as link:
            server.call("REPLICAOF", "127.0.0.1", 1)
            before, began = proxy.counts.accepted, SystemClock.monotonic()
            for _ in range(300):
                with pytest.raises(SharedUnavailable):
                    await link.call(KEY, "SET", KEY, "1")
                await asyncio.sleep(0.002)
            assert proxy.counts.accepted - before < 10 + 5 * (SystemClock.monotonic() - began)
            server.call("REPLICAOF", "NO", "ONE")
            await answers(link, KEY)


def test_a_key_that_moved_to_a_server_without_a_name() -> None:
    """It is at the host that was asked, at another port, as clusters behind one address say."""
    asked = Address("10.0.0.1", 6379)
    assert read_redirection("MOVED 3999 :6381", asked) == Address("10.0.0.1", 6381)
    assert read_redirection("MOVED 3999 [::1]:6381", asked) == Address("::1", 6381)
    assert read_redirection("ERR no such key", asked) is None
