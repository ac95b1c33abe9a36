"""Hedging: a second call elsewhere when the first is late to begin; who begins first answers, both are paid for."""

from typing import Any

import pytest

from tests.support.asgi_client import Asking
from tests.support.house import BASE, END_S, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

PAIR = {"deployments": [{"provider": "one", "model": "m-1"}, {"provider": "two", "model": "m-2", "weight": 0}]}
CONFIG: dict[str, Any] = {
    "cache": {"exact": {"ttl": "0s"}, "join": False},
    "models": {
        **BASE["models"],
        "hedged": PAIR | {"hedge": True},
        "unhedged": PAIR,
        "hedged-folded": PAIR | {"hedge": True, "stream_upstream": True},
    },
}


async def learn(house: House, *, first_byte_s: float = 0.1) -> None:
    """What is usual: 30 streams that begin after so long."""
    house.upstream.stream(["a", "b"], after_s=first_byte_s).forever()
    for number in range(30):
        await house.answer(chat(f"learn {number}", model="unhedged", stream=True))
    house.gateway.standing.fleet.watch()


def asked(house: House) -> list[str]:
    """Which providers were asked since it was learned, in order."""
    return [call.call.provider.name for call in house.upstream.calls[30:]]


async def late_first(house: House, **body: Any) -> Asking:
    """One request whose first deployment is far later than usual."""
    await learn(house)
    house.upstream.at("one").stream(["late"], after_s=10, gap_s=1)
    house.upstream.at("two").stream(["soon", "er"], after_s=0.2)
    return await house.answer(chat("now", **body))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_second_answers_when_the_first_is_late(*, stream: bool) -> None:
    """At the usual P95 plus what the second takes; the answer, its deployment and its usage are the second's."""
    async with open_house(**CONFIG) as house:
        model = "hedged" if stream else "hedged-folded"
        asking = await late_first(house, model=model, stream=stream)
        assert asking.status == 200
        assert b"soon" in asking.body
        assert b"late" not in asking.body
        assert asking.headers["x-penstock-deployment"] == "two/m-2"
        assert asked(house) == ["one", "two"]
        assert house.exchanges[-1].duration_s < 1


async def test_both_are_metered_and_the_loser_is_named() -> None:
    """The loser at a provider that completes is charged what it may come to, to the lever hedging."""
    async with open_house(**CONFIG) as house:
        await late_first(house, model="hedged", stream=True)
        lost, won = sorted(house.attempts[-2:], key=lambda attempt: attempt.outcome)
        assert (lost.outcome, lost.deployment, lost.estimated) == ("hedge_lost", "one/m-1", True)
        assert (won.outcome, won.deployment) == ("ok", "two/m-2")
        assert house.exchanges[-1].cost_nano == (lost.charged_book_nano or 0) + (won.charged_book_nano or 0)
        levers = {share.attempt_id: share.lever for share in house.shares[-2:]}
        assert levers.get(lost.id, "hedging") == "hedging"


async def test_no_second_call_when_the_first_begins_in_time() -> None:
    """As usual is not late."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        for number in range(10):
            await house.answer(chat(f"q {number}", model="hedged", stream=True))
        assert asked(house) == ["one"] * 10


async def test_without_it_nothing_is_hedged() -> None:
    """Off by default."""
    async with open_house(**CONFIG) as house:
        asking = await late_first(house, model="unhedged", stream=True)
        assert asking.headers["x-penstock-deployment"] == "one/m-1"
        assert asked(house) == ["one"]


async def test_before_anything_is_learned_nothing_is_hedged() -> None:
    """There is no usual to be later than."""
    async with open_house(**CONFIG) as house:
        house.upstream.stream(["a"], after_s=30)
        assert (await house.answer(chat("q", model="hedged", stream=True))).status == 200
        assert len(house.upstream.calls) == 1


async def test_the_first_answers_when_it_begins_before_the_second() -> None:
    """The hedge is cancelled, and metered."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["first"], after_s=0.5)
        house.upstream.at("two").stream(["second"], after_s=5)
        asking = await house.answer(chat("q", model="hedged", stream=True))
        assert asking.headers["x-penstock-deployment"] == "one/m-1"
        assert sorted(attempt.outcome for attempt in house.attempts[-2:]) == ["hedge_lost", "ok"]
        assert asked(house) == ["one", "two"]


async def test_one_failure_leaves_the_other_running() -> None:
    """The hedge fails, the late first still answers."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["at last"], after_s=3)
        house.upstream.at("two").fail(500)
        asking = await house.answer(chat("q", model="hedged", stream=True))
        assert (asking.status, asking.headers["x-penstock-deployment"]) == (200, "one/m-1")


async def test_when_both_fail_the_error_is_told() -> None:
    """And no third deployment exists."""
    async with open_house(retry={"attempts": 2}, **CONFIG) as house:
        await learn(house)
        house.upstream.at("one").hang("headers")
        house.upstream.at("two").fail(503)
        asking = await house.answer(chat("q", model="hedged-folded"))
        assert asking.status >= 500
        assert asked(house) == ["one", "two"]


async def test_what_may_run_on_is_asked_of_neither_again() -> None:
    """Both ran into our deadline: either account may still work on it, and bill it twice."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").hang("headers")
        house.upstream.at("two").hang("headers")
        asking = await house.answer(chat("q", model="hedged-folded"))
        assert asking.status == 504
        assert asked(house) == ["one", "two"]


async def test_an_error_is_held_against_the_call_that_had_it() -> None:
    """The hedge, ahead already, breaks off: it was worked for and is not asked again; nor is the one that lost."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["late"], after_s=10)
        house.upstream.at("two").cut(["soon", "er"], gap_s=0.1)
        asking = await house.answer(chat("q", model="hedged-folded"))
        assert asking.status == 502
        assert asked(house) == ["one", "two"]


async def test_a_busy_hedge_may_be_asked_again() -> None:
    """The first ran into its deadline; the hedge was only refused, and is asked again after a while."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").hang("headers")
        house.upstream.at("two").fail(503)
        asking = await house.answer(chat("q", model="hedged-folded"))
        assert (asking.status, asking.headers["x-penstock-attempts"]) == (200, "3")
        assert asked(house) == ["one", "two", "two"]


async def test_a_hedge_is_one_of_the_calls_that_are_allowed() -> None:
    """``retry.attempts`` counts it: where one call is allowed, none is hedged."""
    async with open_house(retry={"attempts": 1}, **CONFIG) as house:
        asking = await late_first(house, model="hedged", stream=True)
        assert asking.headers["x-penstock-deployment"] == "one/m-1"
        assert asked(house) == ["one"]


async def test_a_request_is_hedged_once() -> None:
    """The next call, though late too, has none beside it."""
    others = [{"provider": each, "model": "m", "weight": 0} for each in ("three", "four")]
    plan = {"deployments": [*PAIR["deployments"], *others], "hedge": True, "stream_upstream": True}
    known = {"deployments": [{"provider": "three", "model": "m"}]}
    changes = {
        "providers": BASE["providers"] | {each["provider"]: BASE["providers"]["two"] for each in others},
        "models": CONFIG["models"] | {"hedged-folded": plan, "unhedged": known},
    }
    async with open_house(**CONFIG | changes) as house:
        await learn(house)
        for number in range(30):
            await house.answer(chat(f"one too {number}", model="m", stream=True))
        house.gateway.standing.fleet.watch()
        house.upstream.at("one").hang("headers")
        house.upstream.at("two").fail(503)
        house.upstream.at("three").stream(["at last"], after_s=5)
        asking = await house.answer(chat("q", model="hedged-folded"))
        assert asking.headers["x-penstock-deployment"] == "three/m"
        assert asked(house)[30:] == ["one", "two", "three"]


@pytest.mark.parametrize("after_s", [0.05, 0.12, 0.3])
async def test_a_client_that_leaves_ends_both(after_s: float) -> None:
    """Before, at and after the hedge; ``open_house`` checks that nothing is left."""
    async with open_house(**CONFIG) as house:
        await learn(house)
        house.upstream.at("one").stream(["late"], after_s=10)
        house.upstream.at("two").stream(["late too"], after_s=10)
        asking = house.ask(chat("q", model="hedged", stream=True))
        await house.gateway.clock.sleep(after_s)
        asking.leave()
        await house.rest()
        assert asking.status == 0


async def test_hedges_stay_within_the_retry_budget() -> None:
    """When all are late, at most half of the retry budget's share is hedged."""
    async with open_house(retry={"budget": 0.2}, **CONFIG) as house:
        await learn(house)
        house.upstream.stream(["late"], after_s=1.5).forever()
        for number in range(100):
            house.ask(chat(f"q {number}", model="hedged", stream=True))
        await house.rest()
        assert 100 < len(asked(house)) <= 100 + 0.1 * 130 + 1
