"""Answers, flights and limits between nodes: two gateways in one loop, and what they share in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from penstock.clock import LoopClock
from penstock.core.usage import Usage
from penstock.ports.answers import AnswerCache, StoredAnswer
from penstock.ports.lending import RatePart, RateWant
from penstock.ports.shared import Shared
from penstock.providers.play import Pause
from penstock.providers.scripted import ANSWERED, Scripted
from penstock.stores.memory_shared import (
    MemoryAnswers,
    MemoryCrossing,
    MemoryFollowing,
    MemoryRates,
    shared_in_memory,
)
from tests.support.asgi_client import Asking
from tests.support.house import END_S, EPOCH, House, KeptLedger, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

COST = 10 * 2000 + 5 * 8000
"""What ``ANSWERED`` costs."""
NO_CACHE = {"exact": {"ttl": "0s"}}
AWAY_S = 0.01
"""How far."""


@dataclass
class Town:
    """Some nodes. One ledger, as they have in PostgreSQL."""

    nodes: list[House]
    upstream: Scripted
    answers: MemoryAnswers
    rates: MemoryRates
    ledger: KeptLedger

    async def add_key(self, name: str, **fields: Any) -> str:
        """A key that all know."""
        first, *others = self.nodes
        key = await first.add_key(name, **fields)
        records = await first.gateway.stores.keys.list()
        for house in others:
            house.gateway.pepper = first.gateway.pepper
            house.gateway.keyring.load(records, first.gateway.keyring.version)
        return key


class FarAnswers(MemoryAnswers):
    """At the other end of a network."""

    async def ask(
        self, key: bytes, *, stored_after: float = 0.0, look: bool = True, generation: int = 0
    ) -> StoredAnswer | MemoryCrossing | MemoryFollowing:
        """As it is when the answer comes."""
        await asyncio.sleep(AWAY_S)
        return await super().ask(key, stored_after=stored_after, look=look, generation=generation)


class FarRates(MemoryRates):
    """Likewise."""

    async def take(self, key_id: str, node: str, wants: Sequence[RateWant]) -> Sequence[RatePart]:
        """As it is when the answer comes."""
        await asyncio.sleep(AWAY_S)
        return await super().take(key_id, node, wants)


@asynccontextmanager
async def town(number: int = 2, *, far: bool = False, **config: Any) -> AsyncIterator[Town]:
    """Nodes that run. ``far``: what they share is."""
    clock = LoopClock(EPOCH)
    shared: Shared = shared_in_memory(clock.now, clock.monotonic)
    if far:
        shared.answers, shared.rates = FarAnswers(clock.now), FarRates(clock.monotonic)
    upstream = Scripted(clock)
    houses: list[House] = []
    async with AsyncExitStack() as stack:
        for _ in range(number):
            kept = houses[0].ledger if houses else None
            opened = open_house(clock=clock, shared=shared, upstream=upstream, kept=kept, **config)
            houses.append(await stack.enter_async_context(opened))
        assert isinstance(shared.answers, MemoryAnswers)
        assert isinstance(shared.rates, MemoryRates)
        yield Town(houses, upstream, shared.answers, shared.rates, houses[0].ledger)


def cache(asking: Asking) -> str:
    """Where its answer came from."""
    return asking.headers["x-penstock-cache"]


@pytest.mark.parametrize("config", [{}, NO_CACHE])
@pytest.mark.parametrize("stream", [False, True])
async def test_many_at_once_on_all_nodes_are_one_call(stream: bool, config: dict[str, object]) -> None:  # noqa: FBT001 - a parameter
    """Of 500 on two nodes one calls and pays; each node asked the other once, and every row says whose answer it is."""
    async with town(cache=config) as nodes:
        nodes.upstream.stream(["a", "b"], after_s=2, gap_s=1)
        askings = [nodes.nodes[number % 2].ask(chat(stream=stream)) for number in range(500)]
        for asking in askings:
            await asking.done()
        rows = nodes.nodes[0].exchanges
        assert len(nodes.upstream.calls) == 1
        assert nodes.answers.asked == 2
        assert len({asking.body for asking in askings}) == 1
        assert sorted(row.cost_nano or 0 for row in rows) == [0] * 499 + [COST]
        assert {row.baseline_nano for row in rows} == {COST}
        assert {(row.usage, row.deployment, row.estimated) for row in rows} == {(ANSWERED, "one/m-1", False)}
        assert [share.lever for share in nodes.nodes[0].shares].count("joined") == 499
        assert {share.attempt_id for share in nodes.nodes[0].shares} == {nodes.nodes[0].attempts[0].id}


async def test_an_answer_is_served_by_every_node_and_kept_in_its_memory() -> None:
    """The second node asks once; from then on it knows."""
    async with town() as nodes:
        one, other = nodes.nodes
        await one.answer(chat())
        asked = nodes.answers.asked
        answers = [await other.answer(chat()), await other.answer(chat(stream=True))]
        assert [cache(answer) for answer in answers] == ["exact", "exact"]
        assert [answer.text for answer in answers] == [one.asked[0].text] * 2
        assert nodes.answers.asked == asked + 1
        assert [share.lever for share in other.shares] == ["direct", "exact", "exact"]


async def test_all_on_a_node_share_what_another_stored() -> None:
    """One of them asks, and all are hits."""
    async with town() as nodes:
        one, other = nodes.nodes
        await one.answer(chat())
        askings = [other.ask(chat(stream=number % 2 == 0)) for number in range(20)]
        for asking in askings:
            await asking.done()
        assert {cache(asking) for asking in askings} == {"exact"}
        assert nodes.answers.asked == 2


@pytest.mark.parametrize("late_s", [0.5, 1.5, 3.5])
async def test_a_follower_elsewhere_gets_the_stream_while_it_runs(late_s: float) -> None:
    """From its start, and the rest as it comes; so do those who joined it there, whole askers too."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.stream(["a", "b", "c"], gap_s=1)
        leader = one.ask(chat(stream=True))
        await asyncio.sleep(late_s)
        followers = [other.ask(chat(stream=True)), other.ask(chat()), other.ask(chat(stream=True))]
        for each in [leader, *followers]:
            await each.done()
        assert [each.text for each in followers] == ["abc"] * 3
        assert [cache(each) for each in followers] == ["joined"] * 3
        streamed = [followers[0], followers[2]]
        assert {each.body for each in streamed} == {leader.body}
        assert {each.parts[0][0] for each in streamed} == {late_s}
        assert {each.parts[-1][0] for each in streamed} == {leader.parts[-1][0]}
        assert len(nodes.upstream.calls) == 1


async def test_a_whole_asker_relays_to_those_who_stream() -> None:
    """Who came first on the other node wants it whole; who joined it there streams it while it runs."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.stream(["a", "b", "c"], gap_s=1)
        leader, whole = one.ask(chat(stream=True)), other.ask(chat())
        await asyncio.sleep(0.5)
        streams = await other.answer(chat(stream=True))
        assert streams.parts[0][0] == 0.5
        assert (await leader.done()).text == (await whole.done()).text == streams.text == "abc"


async def test_directives_are_kept_across_nodes() -> None:
    """``no-store`` shares nothing, ``no-cache`` asks anew and is followed, ``max-age`` is measured, 504 is a 504."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.reply().forever()

        async def asked(directive: str, house: House = other) -> str:
            answer = await house.answer(chat(), headers={"cache-control": directive} if directive else {})
            return cache(answer) if answer.status == 200 else str(answer.status)

        assert await asked("only-if-cached") == "504"
        assert await asked("no-store", one) == "off"
        assert await asked("", one) == "miss"
        assert await asked("no-store") == "off"
        await asyncio.sleep(10)
        assert await asked("max-age=9") == "miss"
        assert await asked("max-age=9", one) == "exact"
        assert await asked("only-if-cached") == "exact"
        assert await asked("no-cache") == "miss"
        assert not nodes.answers.flights


async def test_no_answer_is_served_beyond_the_time_of_its_asker() -> None:
    """Whoever stored it for longer."""
    async with town(cache={"exact": {"ttl": "1h"}, "share": "all", "by_key": {"short": {"ttl": "5s"}}}) as nodes:
        one, other = nodes.nodes
        nodes.upstream.reply().forever()
        long, short = await nodes.add_key("long"), await nodes.add_key("short")
        await one.answer(chat(), key=long)
        await asyncio.sleep(4)
        assert cache(await other.answer(chat(), key=short)) == "exact"
        await asyncio.sleep(2)
        assert cache(await other.answer(chat(), key=short)) == "miss"


async def test_tenants_share_nothing_across_nodes() -> None:
    """Neither answers nor flights."""
    async with town() as nodes:
        keys = [await nodes.add_key(name) for name in "ab"]
        nodes.upstream.reply(after_s=1).forever()
        for house in nodes.nodes:
            for key in keys:
                house.ask(chat(), key=key)
        await asyncio.sleep(5)
        assert len(nodes.upstream.calls) == 2


async def test_who_follows_elsewhere_keeps_a_call_alive() -> None:
    """The leader's client leaves, and a follower on another node gets the answer; without one the call stops."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.stream(["a", "b", "c"], gap_s=1).times(2)
        leader = one.ask(chat(model="stopping", stream=True))
        await asyncio.sleep(0.5)
        follower = other.ask(chat(model="stopping", stream=True))
        await asyncio.sleep(0.2)
        leader.leave()
        assert (await follower.done()).text == "abc"

        leader = one.ask(chat("two", model="stopping", stream=True))
        await asyncio.sleep(0.5)
        follower = other.ask(chat("two", model="stopping", stream=True))
        await asyncio.sleep(0.2)
        leader.leave()
        follower.leave()
        await asyncio.sleep(0.1)
        assert nodes.upstream.open == 0


async def test_a_follower_elsewhere_is_not_held_up_by_the_leaders_client() -> None:
    """From then on the leader does not wait until its client has read."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.stream(["a", "b", "c"], gap_s=1)
        slow = await one.ask(chat(stream=True)).begun(1)
        slow.pause()
        await asyncio.sleep(1.5)
        assert (await other.answer(chat(stream=True))).text == "abc"
        assert other.now == nodes.upstream.calls[0].ended_at


async def test_who_already_reads_elsewhere_is_told_of_the_break() -> None:
    """Who got something cannot start again; who got nothing can, and makes the one call."""
    async with town(retry={"attempts": 1}) as nodes:
        one, other = nodes.nodes
        nodes.upstream.reset(["a", "b"], gap_s=1).reply("whole", after_s=1)
        leader = one.ask(chat(stream=True))
        await asyncio.sleep(0.5)
        streaming = [other.ask(chat(stream=True)) for _ in range(2)]
        await leader.done()
        assert [(await each.done()).chunks[-1]["error"]["code"] for each in streaming] == ["provider_bad_answer"] * 2
        assert len(nodes.upstream.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_leader_that_fails_is_followed_by_one_call(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """An error that another call may cure promotes one follower, on whichever node, once."""
    async with town(retry={"attempts": 1}) as nodes:
        one, other = nodes.nodes
        nodes.upstream.raw(Pause(1), status=503).reply("well", after_s=1)
        leader = one.ask(chat(stream=stream))
        await asyncio.sleep(0.5)
        followers = [house.ask(chat(stream=stream)) for house in (one, other, other)]
        assert (await leader.done()).status >= 500
        assert [(await each.done()).text for each in followers] == ["well"] * 3
        assert len(nodes.upstream.calls) == 2


async def test_it_is_handed_on_once() -> None:
    """When the second call fails too, all hear of it."""
    async with town(retry={"attempts": 1}) as nodes:
        nodes.upstream.raw(Pause(1), status=503).forever()
        askings = [nodes.nodes[number % 2].ask(chat()) for number in range(6)]
        assert {(await each.done()).status for each in askings} == {503}
        assert len(nodes.upstream.calls) == 2


async def test_an_error_that_no_call_cures_goes_to_all() -> None:
    """On every node."""
    async with town() as nodes:
        nodes.upstream.raw(Pause(1), status=400)
        askings = [nodes.nodes[number % 2].ask(chat()) for number in range(6)]
        assert {(await each.done()).status for each in askings} == {400}
        assert len(nodes.upstream.calls) == 1


async def test_a_leader_that_dies_promotes_a_follower() -> None:
    """Its node is gone; one who followed elsewhere makes the call."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.reply("late", after_s=100).reply("well")
        leader = one.ask(chat())
        await asyncio.sleep(1)
        follower = other.ask(chat())
        await asyncio.sleep(1)
        (flight,) = nodes.answers.flights.values()
        flight.lose()
        assert (await follower.done()).text == "well"
        assert (await leader.done()).text == "late"
        assert len(nodes.upstream.calls) == 2


async def test_a_follower_waits_no_longer_than_it_may() -> None:
    """Its own total, whatever its leader's."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.reply(after_s=100)
        leader = one.ask(chat())
        await asyncio.sleep(1)
        follower = await other.answer(chat(), headers={"x-penstock-timeout": "5"})
        assert (follower.status, other.now) == (504, 6)
        await leader.done()


async def test_while_nobody_answers_every_node_leads_for_itself() -> None:
    """Fails open: two calls, two answers, and each node still joins and stores for itself."""
    async with town() as nodes:
        nodes.answers.away = True
        nodes.upstream.reply(after_s=1).times(2)
        askings = [nodes.nodes[number % 2].ask(chat()) for number in range(6)]
        assert [(await each.done()).status for each in askings] == [200] * 6
        assert len(nodes.upstream.calls) == 2
        assert [cache(await house.answer(chat())) for house in nodes.nodes] == ["exact"] * 2


@pytest.mark.parametrize("join", [True, False])
async def test_off_is_off(join: bool) -> None:  # noqa: FBT001 - a parameter
    """Without joining nodes ask each other for nothing."""
    async with town(cache={"join": join}) as nodes:
        stages = [type(stage).__name__ for stage in nodes.nodes[0].gateway.pipeline.stages]
        assert ("Across" in stages) == join
        await nodes.nodes[0].answer(chat())
        assert bool(nodes.answers.asked) == join


async def test_a_repeat_under_an_idempotency_key_joins_the_first_on_another_node() -> None:
    """While that is under way: it is an identical request, so there is one call, and one who pays."""
    async with town() as nodes:
        one, other = nodes.nodes
        nodes.upstream.reply(after_s=2)
        headers = {"idempotency-key": "order-7"}
        first = one.ask(chat(), headers=headers)
        await asyncio.sleep(1)
        repeat = await other.answer(chat(), headers=headers)
        assert repeat.body == (await first.done()).body
        assert sorted(row.cost_nano or 0 for row in one.exchanges) == [0, COST]


# --- what is asked before its turn


async def test_who_waits_for_its_rates_asks_for_its_answer_meanwhile() -> None:
    """One way there and back for both, and asked once; the other node finds what it stored."""
    async with town(far=True) as nodes:
        one, other = nodes.nodes
        key = await nodes.add_key("k", rpm=10)
        nodes.upstream.reply().forever()
        began = one.now
        assert cache(await one.answer(chat(), key=key)) == "miss"
        assert one.now - began == pytest.approx(AWAY_S)
        assert nodes.answers.asked == 1
        began = other.now
        assert cache(await other.answer(chat(), key=key)) == "exact"
        assert other.now - began == pytest.approx(AWAY_S)
        assert not nodes.answers.flights


async def test_of_those_who_ask_the_same_and_wait_for_their_rates_one_asks() -> None:
    """The others join it, or find what it found."""
    async with town(far=True) as nodes:
        key = await nodes.add_key("k", rpm=100)
        nodes.upstream.reply(after_s=1).forever()
        askings = [house.ask(chat(), key=key) for house in nodes.nodes for _ in range(20)]
        assert [(await each.done()).status for each in askings] == [200] * 40
        assert (nodes.answers.asked, len(nodes.upstream.calls)) == (2, 1)


async def test_who_is_refused_leads_nobody() -> None:
    """What it was let lead is given back at once: the other node makes the call, and waits for nobody."""
    async with town(far=True) as nodes:
        one, other = nodes.nodes
        poor, rich = await nodes.add_key("poor", rpm=1), await nodes.add_key("rich")
        nodes.upstream.reply(after_s=1).forever()
        askings = [one.ask(chat(text), key=poor) for text in "ab"]
        assert sorted([(await each.done()).status for each in askings]) == [200, 429]
        await asyncio.sleep(AWAY_S)
        assert not nodes.answers.flights
        began = other.now
        assert cache(await other.answer(chat("b"), key=rich)) == "miss"
        assert other.now - began == pytest.approx(AWAY_S + 1)


async def test_who_leads_here_by_then_is_followed() -> None:
    """Somebody without limits came meanwhile: nobody waits for a leader who waits for it in turn."""
    async with town(far=True, cache={"share": "all"}) as nodes:
        one, _ = nodes.nodes
        limited, free = await nodes.add_key("limited", rpm=10), await nodes.add_key("free")
        nodes.upstream.reply(after_s=1).forever()
        askings = [one.ask(chat(), key=limited)]
        await asyncio.sleep(AWAY_S / 2)
        askings.append(one.ask(chat(), key=free))
        assert sorted([cache(await each.done()) for each in askings]) == ["joined", "miss"]
        assert one.now < 1 + 4 * AWAY_S
        assert len(nodes.upstream.calls) == 1
        assert not nodes.answers.flights


async def test_who_has_its_answer_here_by_then_needs_no_other() -> None:
    """It leads nobody while it is told a stored one."""
    async with town(far=True, cache={"share": "all"}) as nodes:
        one, other = nodes.nodes
        limited, free = await nodes.add_key("limited", rpm=10), await nodes.add_key("free")
        nodes.upstream.reply(after_s=AWAY_S / 4).forever()
        earlier = one.ask(chat(), key=free, headers={"cache-control": "no-cache"})
        await asyncio.sleep(AWAY_S)
        late = one.ask(chat(stream=True), key=limited)
        assert cache(await earlier.done()) == "miss"
        assert cache(await late.done()) in {"exact", "joined"}
        assert cache(await other.answer(chat(), key=free)) == "exact"
        assert len(nodes.upstream.calls) == 1
        assert not nodes.answers.flights


async def test_who_stands_in_line_leads_nobody() -> None:
    """A slot is free in a while only; until then the other node need not wait for it."""
    async with town(far=True, cache={"share": "all"}, limits={"max_concurrency": 1, "adaptive": False}) as nodes:
        one, other = nodes.nodes
        limited, free = await nodes.add_key("limited", rpm=10), await nodes.add_key("free")
        nodes.upstream.reply(after_s=3).reply("a", after_s=1).forever()
        slow = one.ask(chat("slow"), key=free)
        await asyncio.sleep(1)
        waiting = one.ask(chat(), key=limited)
        await asyncio.sleep(3 * AWAY_S)
        assert not waiting.complete
        assert cache(await other.answer(chat(), key=free)) == "miss"
        assert not slow.complete
        assert cache(await waiting.done()) == "exact"
        assert (await slow.done()).status == 200


# --- limits


async def test_a_rate_is_one_for_all_nodes() -> None:
    """Of thirty requests at once over two nodes ten get in; a minute later ten more."""
    async with town() as nodes:
        key = await nodes.add_key("k", rpm=10)
        for _ in range(2):
            askings = [
                nodes.nodes[number % 2].ask(chat(str(number)), key=key, headers={"cache-control": "no-store"})
                for number in range(30)
            ]
            statuses = [(await each.done()).status for each in askings]
            assert statuses.count(200) == 10
            assert statuses.count(429) == 20
            await asyncio.sleep(63)


async def test_one_after_the_other_gets_all_of_a_rate() -> None:
    """Nothing is lent to one node that another would miss."""
    async with town() as nodes:
        key = await nodes.add_key("k", rpm=10)
        statuses = [(await nodes.nodes[number % 2].answer(chat(str(number)), key=key)).status for number in range(11)]
        assert statuses == [200] * 10 + [429]


async def test_a_busy_key_is_asked_for_in_parts() -> None:
    """Far less often than it asks."""
    async with town() as nodes:
        key = await nodes.add_key("k", rpm=100_000)
        for _ in range(100):
            askings = [house.ask(chat(str(number)), key=key) for house in nodes.nodes for number in range(10)]
            for asking in askings:
                assert (await asking.done()).status == 200
            await asyncio.sleep(0.01)
        assert nodes.rates.asked < 100


async def test_tokens_are_counted_as_used_everywhere() -> None:
    """What an estimate took too much goes back; what was used beyond it counts on the other node."""
    async with town() as nodes:
        one, other = nodes.nodes
        key = await nodes.add_key("k", tpm=1000)
        nodes.upstream.reply(usage=Usage(input_miss=900, output=200)).forever()
        assert (await one.answer(chat("a"), key=key)).status == 200
        await _look(one)
        assert (await other.answer(chat("b"), key=key)).status == 429


async def test_concurrency_is_one_for_all_nodes() -> None:
    """Three at once; a place that is given back is anybody's."""
    async with town() as nodes:
        key = await nodes.add_key("k", concurrency=3)
        nodes.upstream.reply(after_s=10).forever()
        askings = [nodes.nodes[number % 2].ask(chat(str(number)), key=key) for number in range(8)]
        await asyncio.sleep(1)
        for house in nodes.nodes:
            await _look(house)
        await asyncio.sleep(0.2)
        assert [(await each.done()).status for each in askings].count(200) == 3
        for _ in range(2):
            for house in nodes.nodes:
                await _look(house)
        await asyncio.sleep(0.2)
        more = [nodes.nodes[1].ask(chat(f"more {number}"), key=key) for number in range(4)]
        assert [(await each.done()).status for each in more].count(200) == 3


async def test_while_nobody_lends_a_key_is_refused_or_held_to_this_node_alone() -> None:
    """As ``shared`` says; a refusal counts nothing."""
    async with town() as nodes:
        one, _ = nodes.nodes
        closed, opened = await nodes.add_key("closed", rpm=3), await nodes.add_key("open", rpm=3)
        among = one.gateway.nodes
        assert among is not None
        among.rates.opens = lambda name: name == "open"
        nodes.rates.away = True
        refused = await one.answer(chat("x"), key=closed)
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (
            503,
            "shared_unavailable",
            "1",
        )
        statuses = [(await one.answer(chat(str(number)), key=opened)).status for number in range(4)]
        assert statuses == [200, 200, 200, 429]
        nodes.rates.away = False
        statuses = [(await one.answer(chat(str(number)), key=closed)).status for number in range(4)]
        assert statuses == [200, 200, 200, 429]


async def _look(house: House) -> None:
    among = house.gateway.nodes
    assert among is not None
    await among.rates.look()


# --- the store behind


class Slow:
    """A store that takes its time, and has one answer."""

    def __init__(self, answers: AnswerCache, has: StoredAnswer | None = None) -> None:
        self._answers = answers
        self._has = has

    def __getattr__(self, name: str) -> Any:
        """All else as it is."""
        return getattr(self._answers, name)

    async def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """A second later."""
        del key, now
        await asyncio.sleep(1)
        return self._has


async def _behind(house: House, has: StoredAnswer | None = None) -> None:
    house.gateway.stores.answers = Slow(house.gateway.stores.answers, has)
    await house.gateway.adopt(house.gateway.settings)


async def test_the_store_is_not_looked_at_where_all_that_it_has_is_shared() -> None:
    """What is not there is nowhere: a call is made at once."""
    async with town() as nodes:
        one, other = nodes.nodes
        await one.answer(chat())
        (stored,) = nodes.answers.stored.values()
        nodes.answers.stored.clear()
        nodes.answers.behind = False
        await _behind(other, stored)
        assert cache(await other.answer(chat())) == "miss"
        assert len(nodes.upstream.calls) == 2


async def test_what_only_the_store_has_is_found_once_for_all() -> None:
    """By who leads; the others on its node and on all nodes get it as what it is, and no call is made."""
    async with town() as nodes:
        one, other = nodes.nodes
        await one.answer(chat())
        (stored,) = nodes.answers.stored.values()
        nodes.answers.stored.clear()
        await one.gateway.stores.answers.purge()
        await _behind(one, stored)
        askings = [one.ask(chat()), one.ask(chat(stream=True)), other.ask(chat())]
        assert [cache(await each.done()) for each in askings] == ["exact", "exact", "joined"]
        assert len(nodes.upstream.calls) == 1
        assert cache(await other.answer(chat(stream=True))) == "exact"


async def test_a_leader_that_leaves_while_it_looks_is_followed() -> None:
    """Its flight ends for those elsewhere, and one of them leads."""
    async with town() as nodes:
        one, other = nodes.nodes
        await _behind(one)
        leader = one.ask(chat())
        await asyncio.sleep(0.5)
        follower = other.ask(chat())
        await asyncio.sleep(0.1)
        leader.task.cancel()
        await asyncio.wait([leader.task])
        one.asked.clear()
        assert cache(await follower.done()) == "miss"
        assert not nodes.answers.flights
