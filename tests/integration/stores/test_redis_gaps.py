"""When a miss in Redis is looked for in the store behind: whenever it may be there, over a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from penstock.clock import SystemClock
from penstock.ports.answers import StoredAnswer
from penstock.stores.redis_flights import RedisCrossing
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shared_nodes import Node, an_answer, node_at

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One, alone."""
    with redis_server() as started:
        yield started


@pytest.fixture
async def nodes(server: RedisServer) -> AsyncIterator[list[Node]]:
    """Two on an empty one, whose store is empty as well, which both know."""
    server.call("FLUSHALL")
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(node_at(server.url, settled_s=0.0, max_bytes=4096)) for _ in range(2)]
        for node in made:
            await node.answers.look_behind(_nothing)
        yield made


async def _nothing(_: float) -> float:
    return 0.0


async def _of_before(_: float) -> float:
    return SystemClock().now() + HOUR_S


async def _miss(node: Node, key: bytes = b"key") -> RedisCrossing:
    led = await node.answers.ask(key)
    assert isinstance(led, RedisCrossing)
    return led


async def _behind(node: Node) -> bool:
    """Whether a miss is looked for behind."""
    led = await _miss(node)
    led.end(None, None, store=False)
    await _told(node)
    return led.behind


async def _told(node: Node) -> None:
    while node.answers.tasks:
        await asyncio.wait(node.answers.tasks)
        await asyncio.sleep(0)


async def test_what_is_not_in_redis_is_nowhere_while_all_was_told_there(nodes: list[Node]) -> None:
    """On every node, one that began just now included; and what was told is found."""
    one, other = nodes
    assert not await _behind(one)
    (await _miss(one, b"told")).end(an_answer(), None, store=True)
    await _told(one)
    assert isinstance(await other.answers.ask(b"told"), StoredAnswer)
    assert not await _behind(other)


async def test_nothing_is_known_before_the_end_of_what_was_stored_before_is_counted(server: RedisServer) -> None:
    """Not by who has not looked yet, nor before what is under way into the store is there."""
    server.call("FLUSHALL")
    async with node_at(server.url, settled_s=HOUR_S) as early:
        assert await _behind(early)
        await early.answers.look_behind(_nothing)
        await early.answers.look_behind(_nothing)
        assert await _behind(early)


async def test_what_was_stored_before_is_looked_for_as_long_as_it_is_good(server: RedisServer) -> None:
    """And not longer: by the time of who asks."""
    now = SystemClock().now()
    for end, is_behind in ((now + HOUR_S, True), (now - 1, False)):
        server.call("FLUSHALL")
        async with node_at(server.url, settled_s=0.0) as node:

            async def last_end(before: float, end: float = end) -> float:
                assert abs(before - SystemClock().now()) < HOUR_S
                return end

            await node.answers.look_behind(last_end)
            assert await _behind(node) is is_behind


def _empty(server: RedisServer) -> None:
    server.call("FLUSHALL")


def _evict(server: RedisServer) -> None:
    """Something that had a time went, because there was no room."""
    server.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    server.call("SET", "penstock:victim", "x" * 1_000_000, "EX", 100)
    used = int(dict(_stats(server, "memory"))["used_memory"])
    server.call("CONFIG", "SET", "maxmemory", used - 500_000)
    server.call("PING")  # room is made before a command
    server.call("CONFIG", "SET", "maxmemory", 0)
    assert int(dict(_stats(server, "stats"))["evicted_keys"])


def _stats(server: RedisServer, section: str) -> Iterator[tuple[str, str]]:
    for line in str(server.call("INFO", section)).splitlines():
        if ":" in line:
            name, _, value = line.partition(":")
            yield name, value


def _restart(server: RedisServer) -> None:
    """From what it had: another process all the same, which may have lost the last of it."""
    server.restart_from(server.dump())


@pytest.mark.parametrize("lose", [_empty, _evict, _restart])
async def test_what_redis_lost_is_looked_for(
    nodes: list[Node], server: RedisServer, lose: Callable[[RedisServer], None]
) -> None:
    """By every node; at once, or, after an eviction, when the next of them has looked."""
    lose(server)
    if lose is not _evict:
        assert await _behind(nodes[1])
    await nodes[0].answers.look_behind(_of_before)
    assert [await _behind(node) for node in nodes] == [True, True]


async def test_a_redis_that_was_set_back_is_noticed_by_who_saw_it_later(nodes: list[Node], server: RedisServer) -> None:
    """In the same process."""
    dump = server.dump()
    await nodes[0].answers.look_behind(_nothing)
    server.rewind(dump)
    await nodes[0].answers.look_behind(_of_before)
    assert await _behind(nodes[1])


async def test_an_answer_that_was_not_told_is_looked_for_on_all_nodes(nodes: list[Node]) -> None:
    """One that is too large: at once on its node, and on the others when that has looked."""
    one, other = nodes
    (await _miss(one, b"large")).end(an_answer(b"x" * 5000), None, store=True)
    await _told(one)
    assert await _behind(one)
    await one.answers.look_behind(_nothing)
    assert await _behind(other)


async def test_an_answer_that_could_not_be_told_is_looked_for(server: RedisServer) -> None:
    """Redis was away when it came."""
    server.call("FLUSHALL")
    async with node_at(server.url, settled_s=0.0) as one:
        await one.answers.look_behind(_nothing)
        led = await _miss(one, b"untold")
        server.kill()
        led.end(an_answer(), None, store=True)
        await _told(one)
        server.start()
        assert await _behind(one)
