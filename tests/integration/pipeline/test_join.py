"""Identical requests in flight: one call, everyone gets the answer, the leader pays; who inherits a failure."""

import asyncio
from typing import Any

import pytest

from penstock.core.usage import Usage
from penstock.providers.answers import Answer, whole
from penstock.providers.play import SSE, Pause, Play
from penstock.providers.scripted import ANSWERED, Asked
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

COST = 10 * 2000 + 5 * 8000
"""What ``ANSWERED`` costs."""
NO_CACHE = {"exact": {"ttl": "0s"}}


def no_capacity(asked: Asked) -> Play:
    """Cut off, and billed all the same."""
    return Play((whole(Answer(("",), ANSWERED, finish="insufficient_system_resource"), asked.dialect),))


def caches(askings: list[Asking]) -> list[str]:
    """Where each answer came from."""
    return [asking.headers["x-penstock-cache"] for asking in askings]


async def asked_together(house: House, number: int, **fields: Any) -> list[Asking]:
    """So many identical requests at once, with their answers."""
    askings = [house.ask(chat(**fields)) for _ in range(number)]
    for asking in askings:
        await asking.done()
    return askings


@pytest.mark.parametrize("cache", [{}, NO_CACHE])
@pytest.mark.parametrize("stream", [False, True])
async def test_many_at_once_are_one_call(stream: bool, cache: dict[str, object]) -> None:  # noqa: FBT001 - a parameter
    """500 ask, one calls and pays; the others save what it cost, under the lever ``joined``."""
    async with open_house(cache=cache) as house:
        house.upstream.stream(["a", "b"], after_s=2, gap_s=1)
        askings = await asked_together(house, 500, stream=stream)
        assert len(house.upstream.calls) == 1
        assert {asking.text for asking in askings} == {"ab"}
        assert len({asking.body for asking in askings}) == 1
        assert sorted(row.cost_nano or 0 for row in house.exchanges) == [0] * 499 + [COST]
        assert {row.baseline_nano for row in house.exchanges} == {COST}
        assert [share.lever for share in house.shares].count("joined") == 499
        assert {row.usage for row in house.exchanges} == {ANSWERED}
        assert {row.deployment for row in house.exchanges} == {"one/m-1"}


async def test_the_header_says_who_joined() -> None:
    """The leader missed."""
    async with open_house() as house:
        house.upstream.reply(after_s=1)
        assert caches(await asked_together(house, 3)) == ["miss", "joined", "joined"]


@pytest.mark.parametrize("late_s", [0.5, 1.0, 1.5, 3.5])
async def test_a_late_joiner_gets_the_stream_from_its_start(late_s: float) -> None:
    """At once what was said, the rest as it comes."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        first = house.ask(chat(stream=True))
        await asyncio.sleep(late_s)
        late = await house.answer(chat(stream=True))
        await first.done()
        assert late.body == first.body
        assert late.headers["x-penstock-cache"] == "joined"
        assert late.parts[0][0] == late_s
        assert late.parts[-1][0] == first.parts[-1][0]
        assert len(house.upstream.calls) == 1


@pytest.mark.parametrize("leader_streams", [False, True])
async def test_whole_and_streaming_askers_join_each_other(leader_streams: bool) -> None:  # noqa: FBT001 - a parameter
    """The same text for both, each in its own form."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], after_s=1, gap_s=1)
        leader = house.ask(chat(stream=leader_streams))
        await asyncio.sleep(0.5)
        other = await house.answer(chat(stream=not leader_streams))
        await leader.done()
        assert (leader.text, other.text) == ("ab", "ab")
        assert other.headers["x-penstock-cache"] == "joined"
        assert other.headers["content-type"].startswith("application/json" if leader_streams else "text/event-stream")
        assert len(house.upstream.calls) == 1


async def test_each_follower_gets_usage_as_it_asked() -> None:
    """One asks for the chunk, one does not."""
    async with open_house() as house:
        house.upstream.stream(["a"], after_s=1)
        askings = [house.ask(chat(stream=True)), house.ask(chat(stream=True, stream_options={"include_usage": True}))]
        await house.rest()
        assert [any(not chunk["choices"] for chunk in asking.chunks) for asking in askings] == [False, True]


async def test_embeddings_and_messages_join() -> None:
    """Every dialect that is stored."""
    async with open_house() as house:
        house.upstream.reply(after_s=1).times(2)
        for body in (message(), {"model": "m", "input": "x"}):
            house.ask(body)
            house.ask(body)
        await house.rest()
        assert len(house.upstream.calls) == 2


async def test_different_tenants_do_not_join() -> None:
    """As in the cache."""
    async with open_house() as house:
        keys = [await house.add_key(name) for name in "ab"]
        house.upstream.reply(after_s=1).times(2)
        for key in keys * 2:
            house.ask(chat(), key=key)
        await house.rest()
        assert len(house.upstream.calls) == 2


async def test_no_store_and_no_cache_do_not_follow() -> None:
    """The one wants nothing shared, the other a fresh answer, which others may follow."""
    async with open_house() as house:
        house.upstream.stream(["x"], after_s=1).times(3)
        for directive in ("", "no-store", "no-cache", ""):
            house.ask(chat(), headers={"cache-control": directive} if directive else {})
        await house.rest()
        assert len(house.upstream.calls) == 3


async def test_off_is_off() -> None:
    """``join: false``."""
    async with open_house(cache={"join": False}) as house:
        house.upstream.reply(after_s=1).times(2)
        await asked_together(house, 2)
        assert len(house.upstream.calls) == 2


# --- who leaves


@pytest.mark.parametrize("model", ["m", "stopping"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_leaders_client_may_leave(stream: bool, model: str) -> None:  # noqa: FBT001 - a parameter
    """Someone follows: the call goes on, and the leader still pays."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], after_s=1, gap_s=1)
        leader = house.ask(chat(model=model, stream=stream))
        follower = house.ask(chat(model=model, stream=stream))
        await asyncio.sleep(1.5)
        leader.leave()
        await follower.done()
        assert follower.text == "abc"
        assert len(house.upstream.calls) == 1
        assert [row.cost_nano for row in sorted(house.exchanges, key=lambda row: row.id)].count(COST) == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("at", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_last_one_leaves_a_stopping_call_is_closed(
    stream: bool,  # noqa: FBT001 - a parameter
    at: float,
    order: tuple[int, ...],
) -> None:
    """In whatever order they leave: the call ends within a second, charged for what was said."""
    async with open_house() as house:
        house.upstream.stream(["a"] * 10, after_s=1 if stream else 9, gap_s=1)
        askings = [house.ask(chat(model="stopping", stream=stream)) for _ in range(3)]
        await asyncio.sleep(at)
        for place in order:
            assert house.upstream.open == 1
            askings[place].leave()
            await asyncio.sleep(0.01)
        assert house.upstream.open == 0
        await house.rest()
        assert house.upstream.calls[0].ended_at == pytest.approx(at, abs=0.1)
        assert house.attempts[0].outcome == "client_gone"
        assert {row.outcome for row in house.exchanges} == {"client_gone"}


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_last_one_leaves_a_completing_call_is_drained(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """It is billed anyway: settled exactly, and stored for the next asker."""
    async with open_house() as house:
        house.upstream.stream(["a"] * 5, after_s=2, gap_s=0.5, usage=Usage(input_miss=3, output=9))
        askings = [house.ask(chat(stream=stream)) for _ in range(3)]
        await asyncio.sleep(3.2 if stream else 1)
        for asking in askings:
            asking.leave()
        await house.rest()
        assert house.upstream.calls[0].ended == "read"
        assert not house.attempts[0].estimated
        assert house.attempts[0].usage == Usage(input_miss=3, output=9)
        again = await house.answer(chat())
        assert (again.headers["x-penstock-cache"], again.text) == ("exact", "aaaaa")


# --- who inherits a failure


ALONE: dict[str, Any] = {"retry": {"attempts": 1}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_follower_takes_over(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """After a transient error before anybody got anything; the others follow it."""
    async with open_house(**ALONE) as house:
        house.upstream.raw(Pause(1), status=503).stream(["well"], after_s=1)
        askings = await asked_together(house, 5, stream=stream)
        assert [asking.status for asking in askings] == [503, 200, 200, 200, 200]
        assert [asking.text for asking in askings[1:]] == ["well"] * 4
        assert caches(askings)[1:] == ["miss", "joined", "joined", "joined"]
        assert len(house.upstream.calls) == 2


async def test_it_takes_over_only_once() -> None:
    """The second failure goes to all: five askers make two calls, not five."""
    async with open_house(**ALONE) as house:
        house.upstream.raw(Pause(1), status=503).times(5)
        askings = await asked_together(house, 5)
        assert [asking.status for asking in askings] == [503] * 5
        assert len(house.upstream.calls) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_no_call_can_cure_goes_to_all(status: int) -> None:
    """They asked the same: they are refused the same, by one call."""
    async with open_house() as house:
        house.upstream.raw(Pause(1), status=status).times(5)
        askings = await asked_together(house, 5)
        assert len({asking.status for asking in askings}) == 1
        assert askings[0].status >= 400
        assert len(house.upstream.calls) == 1


async def test_who_already_reads_is_told_of_the_break() -> None:
    """Streaming followers that got something cannot start again; whole ones, who got nothing, can."""
    async with open_house(**ALONE) as house:
        house.upstream.reset(["a", "b"], gap_s=1).reply("whole", after_s=1)
        streaming = [house.ask(chat(stream=True)) for _ in range(2)]
        whole = [house.ask(chat()) for _ in range(2)]
        await house.rest()
        assert [asking.chunks[-1]["error"]["code"] for asking in streaming] == ["provider_bad_answer"] * 2
        assert [asking.text for asking in whole] == ["whole"] * 2
        assert len(house.upstream.calls) == 2


async def test_a_cancelled_leader_promotes_a_follower() -> None:
    """Its end is a reason of its own."""
    async with open_house() as house:
        house.upstream.reply("one", after_s=5).reply("two", after_s=5)
        askings = [house.ask(chat()) for _ in range(3)]
        await asyncio.sleep(1)
        askings[0].task.cancel()
        await asyncio.wait([askings[0].task])
        del house.asked[0]
        await house.rest()
        assert [asking.text for asking in askings[1:]] == ["two", "two"]
        assert len(house.upstream.calls) == 2


async def test_a_follower_that_is_cancelled_leaves_the_others_alone() -> None:
    """And a streaming one that was cut off gives its place back."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        askings = [house.ask(chat(model="stopping", stream=True)) for _ in range(3)]
        await asyncio.sleep(0.5)
        askings[1].task.cancel()
        await asyncio.wait([askings[1].task])
        del house.asked[1]
        askings[0].leave()
        await asyncio.sleep(1)
        assert house.upstream.open == 1
        askings[2].leave()
        await house.rest()
        assert house.upstream.calls[0].ended_at == pytest.approx(1.5, abs=0.01)


async def test_an_answer_that_makes_no_whole_is_fetched_again_by_whole_askers() -> None:
    """The streaming leader's client may make sense of it; a whole asker is given no guess."""
    async with open_house() as house:
        broken = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\ndata: {oops\n\n'
        house.upstream.raw(Pause(1), broken + b"data: [DONE]\n\n", headers=SSE).reply("well")
        leader, whole = house.ask(chat(stream=True)), house.ask(chat())
        await house.rest()
        assert b"{oops" in leader.body
        assert whole.text == "well"


async def test_followers_wait_no_longer_than_their_leader() -> None:
    """Its deadline ends them all, with its error: the call may be billed, so it is not made again."""
    async with open_house(timeouts={"first_byte": "10s", "between": "10s", "total": "20s"}) as house:
        house.upstream.hang("headers").times(2)
        askings = await asked_together(house, 3)
        assert [asking.status for asking in askings] == [504] * 3
        assert house.now == pytest.approx(10, abs=1e-3)


async def test_a_follower_that_waits_is_kept_alive() -> None:
    """Like any streaming asker."""
    async with open_house() as house:
        house.upstream.stream(["a"], after_s=40)
        askings = await asked_together(house, 2, stream=True)
        assert [asking.begun_at for asking in askings] == [15, 15]
        assert [asking.text for asking in askings] == ["a", "a"]


async def test_a_slow_follower_holds_nobody_up() -> None:
    """It reads what it missed when it comes back."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        leader, slow = house.ask(chat(stream=True)), house.ask(chat(stream=True))
        await slow.begun(1)
        slow.pause()
        await leader.done()
        assert house.now == house.upstream.calls[0].ended_at
        slow.resume()
        await slow.done()
        assert slow.text == leader.text == "abc"


async def test_a_slow_leader_holds_nobody_up() -> None:
    """Whoever joined gets the answer at the provider's pace, also when the leader's client stopped taking it before."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        slow = await house.ask(chat(stream=True)).begun(1)
        slow.pause()
        await asyncio.sleep(1.5)
        follower = await house.ask(chat(stream=True)).done()
        assert follower.text == "abc"
        assert house.now == house.upstream.calls[0].ended_at


async def test_a_retry_serves_all_who_joined() -> None:
    """The leader's own retries are invisible to them; what the failed call cost is the leader's."""
    async with open_house() as house:
        house.upstream.call(no_capacity).stream(["well"], after_s=1)
        askings = await asked_together(house, 3)
        assert [asking.text for asking in askings] == ["well"] * 3
        costs = {row.cache: row.cost_nano for row in house.exchanges}
        assert costs == {"miss": 2 * COST, "joined": 0}
        assert {row.baseline_nano for row in house.exchanges} == {COST}
