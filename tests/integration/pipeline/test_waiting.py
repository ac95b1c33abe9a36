"""Who finds no seat at any deployment waits for one: in order, not for ever, and not while there is one."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.clock import LoopClock
from penstock.errors import Saturated
from penstock.pipeline.gate import Gate
from penstock.providers.answers import error_body
from penstock.providers.play import JSON, Pause, Play
from penstock.providers.scripted import Asked
from tests.support.asgi_client import Asking
from tests.support.fleet import (
    NO_SHARING,
    ask_all,
    called,
    deployment,
    model,
    open_fleet,
    pour,
    provider,
    served,
    state,
)
from tests.support.house import END_S, EPOCH, House, chat, in_virtual_time, settings_of
from tests.support.stepping_clock import SteppingClock

pytestmark = pytest.mark.looptime(end=END_S)

BATCH = {"x-penstock-priority": "batch"}


def narrow(allowed: int = 3, **config: Any) -> dict[str, Any]:
    """One provider whose account is known to allow so many calls at once."""
    return {"providers": {"a": provider(concurrency=allowed)}, "models": {"m": model("a")}, **config}


def strict(house: House, name: str, allowed: int, *, takes_s: float = 1.0) -> None:
    """The provider answers in so long, and with a 429 what is more than ``allowed`` calls at once."""

    def scene(asked: Asked) -> Play:
        if sum(each.ended == "open" and each.call.provider.name == name for each in house.upstream.calls) > allowed:
            return Play((error_body("too many", kind="rate_limit", code=None, dialect=asked.dialect),), 429, JSON)
        return Play((Pause(takes_s), b'{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}'))

    house.upstream.at(name).call(scene).forever()


def ended_at(asking: Asking) -> float:
    """When its last byte came."""
    return asking.parts[-1][0]


# --- an account's limit


async def test_the_account_is_never_asked_for_more_than_it_allows() -> None:
    """Twelve at once at an account of three: four rounds, and no 429."""
    async with open_fleet(**narrow()) as house:
        strict(house, "a", 3)
        asked = await ask_all(house, 12)
        assert served(asked) == {"a": 12}
        assert sorted(map(ended_at, asked)) == [1.0] * 3 + [2.0] * 3 + [3.0] * 3 + [4.0] * 3
        assert {attempt.status for attempt in house.attempts} == {200}


async def test_an_alias_and_another_model_share_the_account() -> None:
    """What counts is the provider's model, whatever it is called here."""
    models = {"m": model("a", aliases={"nick": {}}), "other": model("a")}
    async with open_fleet(**narrow(models=models)) as house:
        strict(house, "a", 3)
        names = ["m"] * 8 + ["nick"] * 2 + ["other"] * 2
        asked = [house.ask(chat(str(n), model=name)) for n, name in enumerate(names)]
        await house.rest()
        assert served(asked) == {"a": 12}
        assert {attempt.status for attempt in house.attempts} == {200}
        assert max(map(ended_at, asked)) == 4.0


async def test_an_unknown_limit_is_learned_and_found_again() -> None:
    """After the first 429 nobody gets one for a while; the calls at once grow though a line stands all the time."""
    async with open_fleet("a", retry={"attempts": 1}, limits={"queue_wait": "60s"}) as house:
        strict(house, "a", 20)
        await pour(house, 21, gap_s=0.001)
        await house.rest()
        assert served(house.asked) == {"a": 20, "429": 1}
        low = state(house, "a").limit
        assert 15 <= low < 20
        askings = [house.ask(chat(f"more {n}")) for n in range(400)]
        await asyncio.sleep(12.5)
        assert state(house, "a").in_flight > low
        assert house.leftovers()["seekers"] > 0
        await house.rest()
        assert served(askings)["a"] >= 390


# --- whose turn


async def test_tenants_take_turns() -> None:
    """One brings twenty, another two a moment later: they do not wait behind all of the twenty."""
    async with open_fleet(**narrow(limits={"queue_wait": "60s"})) as house:
        strict(house, "a", 3)
        much, little = await house.add_key("much"), await house.add_key("little")
        many = [house.ask(chat(f"much {n}"), key=much) for n in range(20)]
        await asyncio.sleep(0.1)
        few = [house.ask(chat(f"little {n}"), key=little) for n in range(2)]
        await house.rest()
        assert served(many + few) == {"a": 22}
        assert max(map(ended_at, few)) <= 3.0
        assert max(map(ended_at, many)) == 8.0


async def test_batch_waits_behind_those_that_somebody_waits_for() -> None:
    """Whoever came first."""
    async with open_fleet(**narrow(1, limits={"queue_wait": "60s"})) as house:
        strict(house, "a", 1)
        first = house.ask(chat("first"))
        await asyncio.sleep(0.1)
        deferred = [house.ask(chat(f"batch {n}"), headers=BATCH) for n in range(2)]
        await asyncio.sleep(0.1)
        urgent = [house.ask(chat(f"urgent {n}")) for n in range(3)]
        await house.rest()
        assert [ended_at(asking) for asking in (first, *urgent, *deferred)] == [1, 2, 3, 4, 5, 6]


async def test_a_full_line_refuses_at_once() -> None:
    """503 ``saturated`` and when to come back; those in it are served."""
    async with open_fleet(**narrow(limits={"max_queue": 2})) as house:
        strict(house, "a", 3)
        asked = await pour(house, 5, gap_s=0.01)
        late = await house.answer(chat("late"))
        assert (late.status, late.error["code"], round(house.now, 6)) == (503, "saturated", 0.05)
        assert int(late.headers["retry-after"]) >= 1
        await house.rest()
        assert served(asked) == {"a": 5}


async def test_a_batch_leaves_a_full_line_for_one_that_somebody_waits_for() -> None:
    """It is told so at that moment."""
    async with open_fleet(**narrow(1, limits={"max_queue": 1})) as house:
        strict(house, "a", 1)
        await pour(house, 1, gap_s=0.1)
        deferred = house.ask(chat("batch"), headers=BATCH)
        await asyncio.sleep(0.1)
        urgent = house.ask(chat("urgent"))
        await house.rest()
        assert (deferred.status, round(ended_at(deferred), 6)) == (503, 0.2)
        assert (urgent.status, ended_at(urgent)) == (200, 2.0)


async def test_nobody_waits_longer_than_the_file_says() -> None:
    """``limits.queue_wait``, then 503 ``saturated``."""
    async with open_fleet(**narrow(1, limits={"queue_wait": "2s"})) as house:
        strict(house, "a", 1, takes_s=10)
        await pour(house, 1, gap_s=0.5)
        late = await house.answer(chat("late"))
        assert (late.status, late.error["code"], house.now) == (503, "saturated", 2.5)


async def test_nobody_waits_longer_than_it_allows_itself() -> None:
    """For a deployment or for the gateway's own slots."""
    async with open_fleet(**narrow(1)) as house:
        strict(house, "a", 1, takes_s=10)
        await pour(house, 1, gap_s=0.5)
        late = await house.answer(chat("late"), headers={"timeout": "1.5"})
        assert (late.status, house.now) == (503, 2.0)
    async with open_fleet("a", limits={"max_concurrency": 1}) as house:
        since = house.now
        house.upstream.at("a").reply(after_s=10).forever()
        await pour(house, 1, gap_s=0.5)
        late = await house.answer(chat("late"), headers={"timeout": "1.5"})
        assert (late.status, house.now - since) == (503, 2.0)


async def test_who_leaves_frees_its_place() -> None:
    """In the line, on the way to a seat, or on one: the next has it at once."""
    async with open_fleet(**narrow(1, limits={"max_queue": 2, "queue_wait": "60s"})) as house:
        strict(house, "a", 1, takes_s=5)
        seated, first, second = await pour(house, 3, gap_s=0.1)
        first.leave()
        await asyncio.sleep(0)
        third = house.ask(chat("third"))
        await asyncio.sleep(0.1)
        seated.leave()
        await asyncio.sleep(0)
        second.leave()
        await house.rest()
        assert (third.status, round(ended_at(third), 6)) == (200, 5.4)
        assert called(house) == ["a", "a"]


async def test_who_waits_for_what_goes_out_is_told_at_once() -> None:
    """All of them, and not one after the other as their patience ends."""
    async with open_fleet(**narrow(1, retry={"attempts": 1})) as house:
        house.upstream.at("a").raw(Pause(1), status=402).forever()
        asked = await pour(house, 6, gap_s=0.01)
        await house.rest()
        assert [asking.status for asking in asked] == [402, *[503] * 5]
        assert {asking.error["code"] for asking in asked[1:]} == {"no_deployment"}
        assert house.now == pytest.approx(1.0)


async def test_who_waits_goes_to_whoever_comes_back() -> None:
    """A seat that only time frees: the one is full for long, the other is due again."""
    async with open_fleet("ab", providers={"a": provider(concurrency=1), "b": provider()}) as house:
        strict(house, "a", 1, takes_s=4)
        house.upstream.at("b").fail(503).times(3).reply().forever()
        for _ in range(6):
            if state(house, "b").state != "open":
                await ask_all(house, 1)
        held, waiting = await pour(house, 2, gap_s=0.01)
        await waiting.done()
        assert served([waiting]) == {"b": 1}
        assert served([await held.done()]) == {"a": 1}


async def test_two_seats_that_are_free_at_once_are_both_taken() -> None:
    """Though one of those who wait could have had either of them."""
    providers = {"a": provider(concurrency=1, private=True), "b": provider(concurrency=1)}
    models = {"m": {"deployments": [deployment("a", weight=0), deployment("b")]}}
    sensitive, tagged = {"tags": ["x=y"]}, {"x-penstock-tags": "x=y"}
    async with open_fleet(providers=providers, models=models, sensitive=sensitive, watched=False) as house:
        house.upstream.reply(after_s=1).forever()
        asked = [house.ask(chat(str(n)), headers=tagged if n % 2 else {}) for n in range(4)]
        await house.rest()
        assert served(asked) == {"a": 2, "b": 2}
        assert [ended_at(asking) for asking in asked] == [1.0, 1.0, 2.0, 2.0]


async def test_a_retry_that_finds_no_seat_is_not_made() -> None:
    """It does not wait in line for another's: its first failure is its answer."""
    models = {"m": {"deployments": [deployment("a"), deployment("b", weight=0)]}, "n": model("b")}
    async with open_fleet(providers={"a": provider(), "b": provider(concurrency=1)}, models=models) as house:
        house.upstream.at("a").fail(402)
        house.upstream.at("b").reply(after_s=5).forever()
        await pour(house, 1, gap_s=0.1, model="n")
        assert ((await house.answer(chat())).status, round(house.now, 6)) == (402, 0.1)
        assert called(house) == ["b", "a"]


# --- nobody waits in vain


async def wander(seed: int) -> None:
    """Clients come, leave and time out, calls fail and succeed, limits change: at every rest the lines are right."""
    chance = random.Random(seed)  # noqa: S311 - a test's own
    providers = {"a": provider(concurrency=2, private=True), "b": provider(concurrency=1), "c": provider()}
    models = {"m": model("a", "b", aliases={"nick": {}}), "n": model("b", "c"), "o": model("a")}
    config: dict[str, Any] = {
        "providers": providers,
        "models": models,
        "sensitive": {"tags": ["x=y"]},
        "cache": NO_SHARING,
    }
    async with open_fleet(seed=seed, timeouts={"first_byte": "3s", "between": "3s"}, **config) as house:
        house.upstream.call(lambda _: _any_play(chance)).forever()
        for number in range(60):
            headers = {"x-penstock-tags": "x=y"} if chance.random() < 0.2 else {}
            if chance.random() < 0.2:
                headers["timeout"] = "1.5"
            body = chat(str(number), model=chance.choice(["m", "nick", "n", "o"]), stream=chance.random() < 0.5)
            house.ask(body, headers=headers)
            if chance.random() < 0.3:
                chance.choice(house.asked).leave()
            if chance.random() < 0.05:
                limits = {"max_concurrency": chance.choice([4, 512]), "max_queue": chance.choice([3, 1000])}
                await house.gateway.adopt(settings_of(**config, limits=limits))
            await asyncio.sleep(chance.choice([0, 0, 0.05, 0.3]))
            await _settled()
            assert_nobody_waits_in_vain(house)
        await house.rest()
        assert house.leftovers() == {}


def _any_play(chance: random.Random) -> Play:
    body = b'{"choices":[{"index":0,"message":{"content":"ok"},"finish_reason":"stop"}]}'
    kind = chance.random()
    if kind < 0.1:
        return Play((Pause(chance.random()),), chance.choice([429, 503, 402, 400]))
    if kind < 0.15:
        return Play((Pause(100),))
    return Play((Pause(chance.random()), body))


async def _settled() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


def assert_nobody_waits_in_vain(house: House) -> None:
    """Where one waits, every deployment that could serve it and is up is full, and one of them has a call."""
    fleet, gate = house.gateway.standing.fleet, house.gateway.standing.gate
    assert not gate.waiting or gate.active >= gate.limit
    for seekers in fleet._seekers.values():  # noqa: SLF001 - nothing else tells who waits for what
        if len(seekers.line):
            states = [fleet.state(member.deployment) for member in seekers.members]
            up = [each for each in states if each.back_in_s is None]
            assert up, "all are out, and somebody waits"
            assert all(each.in_flight >= (each.limit if each.state == "closed" else 1) for each in up)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_nobody_waits_in_vain(seed: int) -> None:
    """Any interleaving; and in the end nobody waits, and no seat is taken."""
    in_virtual_time(wander, seed)


async def pass_through(steps: list[tuple[int, int]]) -> None:
    """A gate with requests that come, end and leave, and limits that change."""
    limits = settings_of(limits={"max_concurrency": 3, "max_queue": 5, "queue_wait": "1s"}).limits
    other = settings_of(limits={"max_concurrency": 1, "max_queue": 2, "queue_wait": "1s"}).limits
    gate, inside, tasks = Gate(LoopClock(0.0), limits), [0], list[asyncio.Task[None]]()

    async def visit() -> None:
        try:
            await gate.enter("t", batch=False)
        except Saturated:
            return
        inside[0] += 1
        try:
            await asyncio.sleep(0.4)
        finally:
            inside[0] -= 1
            gate.leave()

    moves: list[Callable[[int], object]] = [
        lambda _: tasks.append(asyncio.ensure_future(visit())),
        lambda place: tasks and tasks[place % len(tasks)].cancel(),
        lambda place: gate.adopt(other if place % 2 else limits),
    ]
    for move, place in steps:
        moves[move](place)
        await asyncio.sleep(0 if place % 3 else 0.1)
        assert inside[0] <= gate.active <= 3
        assert not gate.waiting or gate.active >= gate.limit
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (gate.active, gate.waiting, inside[0]) == (0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.integers(0, 40)), max_size=40))
def test_nobody_waits_for_a_slot_that_is_free(steps: list[tuple[int, int]]) -> None:
    """Any order of coming, ending, leaving before or after its turn, and reloading."""
    in_virtual_time(pass_through, steps)


async def test_a_higher_limit_lets_all_in_that_it_holds() -> None:
    """At the reload, not one by one as others end."""
    async with open_fleet("a", limits={"max_concurrency": 1, "queue_wait": "60s"}) as house:
        house.upstream.at("a").reply(after_s=5).forever()
        await pour(house, 5, gap_s=0.1)
        config = {"providers": {n: provider() for n in "abc"}, "models": {"m": model("a")}, "cache": NO_SHARING}
        await house.gateway.adopt(settings_of(**config, limits={"max_concurrency": 4, "queue_wait": "60s"}))
        await asyncio.sleep(0.1)
        assert house.gateway.standing.gate.active == 4
        assert len(house.upstream.calls) == 4


# --- clocks that are set


async def story(clock: SteppingClock, step_s: float) -> list[tuple[Any, ...]]:
    """What clients see of a fleet that sickens, fills up and heals, while the wall clock steps."""
    providers = {"a": provider(concurrency=3), "b": provider(concurrency=2)}
    deployments = [deployment("a", region="eu"), deployment("b", region="us")]
    models = {"m": {"deployments": deployments, "regions": "fixed"}}
    async with open_fleet(providers=providers, models=models, clock=clock, limits={"max_queue": 4}) as house:
        since = house.now
        house.upstream.at("a").fail(429, retry_after=2).fail(503).times(3).reply(after_s=1).forever()
        house.upstream.at("b").reply(after_s=1).forever()
        for _ in range(4):
            await pour(house, 12, gap_s=0.2)
            clock.step(step_s)
            await pour(house, 12, gap_s=0.05)
            await asyncio.sleep(12)
        await house.rest()
        told = [
            (asking.status, asking.headers.get("x-penstock-deployment"), asking.headers.get("retry-after"))
            for asking in house.asked
        ]
        times = [round(ended_at(asking) - since, 6) for asking in house.asked]
        return list(zip(told, times, strict=True))


async def test_a_wall_clock_that_is_set_changes_nothing() -> None:
    """Two hours forward or back, in the middle of it all: the same answers at the same moments."""
    told = [await story(SteppingClock(EPOCH), step_s) for step_s in (0.0, 7200.0, -7200.0)]
    assert {status for (status, _, _), _ in told[0]} == {200, 503}
    assert told[1] == told[0]
    assert told[2] == told[0]
