"""Answers and flights between nodes, over a real Redis and a real cluster."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from penstock.errors import BudgetExceeded, ClientGone, PenstockError, ProviderBusy, Unreachable
from penstock.ports.answers import StoredAnswer
from penstock.stores.redis_flights import RedisCrossing, RedisFollowing
from penstock.wire.sse import Event
from tests.support.redis_server import RedisCluster, RedisServer, redis_cluster, redis_server
from tests.support.shared_nodes import Node, an_answer, events, node_at

KEY = b"\x00}key{\xff"


@pytest.fixture(scope="module", params=[redis_server, redis_cluster])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | RedisCluster]:
    """Alone, and a cluster."""
    with request.param() as started:
        yield started


@pytest.fixture
async def nodes(server: RedisServer | RedisCluster) -> AsyncIterator[list[Node]]:
    """Two nodes on an empty one."""
    for each in server.servers if isinstance(server, RedisCluster) else [server]:
        each.call("FLUSHALL")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node_at(server.url, max_bytes=4096)) for _ in range(2)]


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


async def _led(node: Node, key: bytes = KEY, generation: int = 0) -> RedisCrossing:
    led = await node.answers.ask(key, generation=generation)
    assert isinstance(led, RedisCrossing)
    return led


async def _followed(node: Node, key: bytes = KEY) -> RedisFollowing:
    following = await node.answers.ask(key)
    assert isinstance(following, RedisFollowing)
    return following


async def _read(following: RedisFollowing) -> list[Event]:
    return [event async for batch in following.batches() for event in batch]


def _raws(read: Sequence[Event]) -> list[tuple[bytes, bytes | None, str]]:
    return [(event.raw, event.data, event.name) for event in read]


async def test_what_one_node_stores_any_other_serves(nodes: list[Node]) -> None:
    """The answer as it was, bytes and all; not to whom it is too old for, nor when it is past its time."""
    one, other = nodes
    answer = an_answer()
    (await _led(one)).end(answer, None, store=True)
    await _until(lambda: not one.answers.tasks)
    assert await other.answers.ask(KEY) == answer
    assert await other.answers.get(KEY) == answer
    assert await other.answers.get(KEY, stored_after=answer.stored_at + 1) is None
    assert isinstance(await other.answers.ask(KEY, stored_after=answer.stored_at + 1), RedisCrossing)


@pytest.mark.parametrize("ends", [0.05, -1.0])
async def test_no_answer_is_served_past_its_time(nodes: list[Node], ends: float) -> None:
    """Whether Redis has forgotten it yet or not."""
    one, other = nodes
    answer = an_answer()
    (await _led(one)).end(an_answer(expires_at=answer.stored_at + ends), None, store=True)
    await _until(lambda: not one.answers.tasks)
    await asyncio.sleep(max(0.0, ends))
    assert await other.answers.get(KEY) is None


async def test_a_follower_on_another_node_streams_what_the_leader_receives(nodes: list[Node]) -> None:
    """From its first event, whenever it came, in order, whole; and hears how it ended."""
    one, other = nodes
    led, sent = await _led(one), events(*(f"{number} é" for number in range(300)))
    for event in sent[:100]:
        led.publish(event, "p/m")
    following = await _followed(other)
    reading = asyncio.create_task(_read(following))
    await _until(lambda: led.followers)
    for event in sent[100:]:
        led.publish(event, "p/m")
        await asyncio.sleep(0)
    answer = an_answer()
    led.end(answer, None, store=True)
    assert _raws(await reading) == _raws(sent)
    assert (await following.end()).answer == answer
    assert following.served_by == "p/m"
    following.close()


async def test_a_stream_ends_behind_its_last_event(server: RedisServer | RedisCluster) -> None:
    """However much is still to be written when its leader has ended."""
    async with node_at(server.url) as one, node_at(server.url) as other:
        led, sent = await _led(one, b"long"), events(*("x" * 20_000 for _ in range(100)))
        following = await _followed(other, b"long")
        reading = asyncio.create_task(_read(following))
        await _until(lambda: led.followers)
        for event in sent:
            led.publish(event, "p/m")
        led.end(an_answer(), None, store=False)
        assert _raws(await reading) == _raws(sent)
        following.close()


async def test_nothing_is_sent_while_nobody_follows(nodes: list[Node], server: RedisServer | RedisCluster) -> None:
    """A request costs one call to ask and one to tell, whatever it streams."""
    servers = server.servers if isinstance(server, RedisCluster) else [server]
    await _led(nodes[0], b"loads the scripts")
    for each in servers:
        each.call("CONFIG", "RESETSTAT")
    led = await _led(nodes[0])
    for event in events(*"abc"):
        led.publish(event, "p/m")
    led.end(an_answer(), None, store=True)
    await _until(lambda: not nodes[0].answers.tasks)
    calls = [each.calls() for each in servers]
    assert sum(each.get("xadd", 0) for each in calls) == 0
    assert sum(each.get("evalsha", 0) + each.get("eval", 0) - each.get("zadd", 0) for each in calls) <= 4  # beats too


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ProviderBusy("busy", status=429, retry_after_s=2.0), ProviderBusy),
        (BudgetExceeded("spent", refused_by={}), ClientGone),
        (ClientGone("left"), ClientGone),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
async def test_followers_hear_of_an_error_and_one_of_them_leads(
    nodes: list[Node], error: PenstockError, told: type[PenstockError]
) -> None:
    """A provider's as it was, a leader's own only as its end; then the first to ask leads, the next follows it."""
    one, other = nodes
    led = await _led(one)
    following = await _followed(other)
    led.end(None, error, store=False)
    end = await following.end()
    following.close()
    assert type(end.error) is told
    assert end.error is not None
    assert end.error.retry_after_s == (error.retry_after_s if told is ProviderBusy else None)
    assert (await _led(other, generation=1)).generation == 1
    assert (await _followed(one)).generation == 1


async def test_a_leader_that_died_is_followed_by_one_promotion(server: RedisServer | RedisCluster) -> None:
    """Its followers hear that it is gone; of all who ask then, one leads."""
    async with node_at(server.url) as one, node_at(server.url) as other:
        async with node_at(server.url) as dying:
            await _led(dying, b"dying")
            following = [await _followed(each, b"dying") for each in (one, other)]
            dying.answers._led.clear()  # noqa: SLF001 - it dies: nothing of it is ever told
        ends = await asyncio.gather(*(each.end() for each in following))
        for each in following:
            each.close()
        assert [type(each.error) for each in ends] == [Unreachable, Unreachable]
        asked = await asyncio.gather(one.answers.ask(b"dying"), other.answers.ask(b"dying"))
        assert sorted(type(each).__name__ for each in asked) == ["RedisCrossing", "RedisFollowing"]


async def test_who_follows_before_the_leader_knows_that_it_leads_is_heard(nodes: list[Node]) -> None:
    """Their message may overtake the answer to what the leader asked."""
    answers = nodes[0].answers
    asking = asyncio.create_task(_led(nodes[0]))
    await asyncio.sleep(0)
    (flight,) = answers._early  # noqa: SLF001 - what is asked for
    answers._hear("follow", flight, (nodes[1].answers.nodes.name, "flt_other"))  # noqa: SLF001 - as its ears do
    led = await asking
    assert led.followers == 1
    assert not answers._early  # noqa: SLF001 - likewise


async def test_a_flight_whose_end_was_never_told_is_given_up(nodes: list[Node]) -> None:
    """Its node lives, but knows nothing of it any more: it says so, and whoever asks leads."""
    one, other = nodes
    led = await _led(one)
    following = await _followed(other)
    one.answers._led.pop(led.keys.flight)  # noqa: SLF001 - as when the telling failed
    assert type((await following.end()).error) is Unreachable
    following.close()
    assert isinstance(await other.answers.ask(KEY), RedisCrossing)


async def test_a_stream_beyond_its_bound_is_not_shared(nodes: list[Node]) -> None:
    """Followers are told to ask for themselves; an answer beyond its bound is not stored."""
    one, other = nodes
    led = await _led(one)
    following = await _followed(other)
    for event in events("x" * 10_000, "y" * 10_000):
        led.publish(event, "p/m")
    led.end(an_answer(b"z" * 20_000), None, store=True)
    assert type((await following.end()).error) is Unreachable
    following.close()
    assert await other.answers.get(KEY) is None


async def test_an_answer_that_was_asked_for_earlier_replaces_none_asked_for_later(nodes: list[Node]) -> None:
    """Who does not look leads beside; the later request has the last word."""
    one, other = nodes
    early = await _led(one)
    await asyncio.sleep(0.002)
    late = await other.answers.ask(KEY, look=False)
    assert isinstance(late, RedisCrossing)
    newer = an_answer(b"newer")
    late.end(newer, None, store=True)
    await _until(lambda: not other.answers.tasks)
    early.end(an_answer(b"older"), None, store=True)
    await _until(lambda: not one.answers.tasks)
    assert await one.answers.ask(KEY) == newer


PURGES = [
    ({}, True),
    ({"model": "m"}, True),
    ({"model": "other"}, False),
    ({"tenant": "edge"}, True),
    ({"tenant": "e"}, False),
    ({"tag": "feature=x"}, True),
    ({"deployments": ("p/",)}, True),
    ({"deployments": ("q/m",)}, False),
    ({"model": "m", "tag": "feature=y"}, False),
]


@pytest.mark.parametrize(("what", "gone"), PURGES)
async def test_a_purge_is_seen_by_all_nodes_within_a_second(
    nodes: list[Node], what: dict[str, object], *, gone: bool
) -> None:
    """What matches is a miss everywhere, at once where it was purged; what is asked for later is stored again."""
    one, other = nodes
    (await _led(one)).end(an_answer(), None, store=True)
    await _until(lambda: not one.answers.tasks)
    await one.answers.purge(**what)  # type: ignore[arg-type]  # by name, as a test wants them
    assert (await one.answers.get(KEY) is None) == gone
    async with asyncio.timeout(1):
        await _until(lambda: other.purged)
    assert (await other.answers.get(KEY) is None) == gone
    if gone:
        (await _led(other)).end(an_answer(), None, store=True)
        await _until(lambda: not other.answers.tasks)
        assert await one.answers.get(KEY) is not None


async def test_what_was_asked_for_before_a_purge_is_not_served_after_it(nodes: list[Node]) -> None:
    """Though its answer came later, and though a node starts that heard of no purge."""
    one, other = nodes
    led = await _led(one)
    await other.answers.purge()
    led.end(an_answer(), None, store=True)
    await _until(lambda: not one.answers.tasks)
    assert await other.answers.get(KEY) is None
    await one.answers.ask(b"catches up")
    assert not isinstance(await other.answers.ask(KEY), StoredAnswer)


async def test_answers_from_before_a_lost_log_are_not_believed(server: RedisServer | RedisCluster) -> None:
    """A log that begins anew may have lost any purge."""
    servers = server.servers if isinstance(server, RedisCluster) else [server]
    async with node_at(server.url) as node:
        (await _led(node, b"kept")).end(an_answer(), None, store=True)
        await _until(lambda: not node.answers.tasks)
        assert not node.purged  # what was purged before it began is no matter of its own
        for each in servers:
            each.call("EVAL", "for _, k in ipairs(redis.call('KEYS', '*purges*')) do redis.call('DEL', k) end", 0)
        await _until(lambda: node.purged)
        assert await node.answers.get(b"kept") is None
