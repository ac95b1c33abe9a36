"""A sick deployment is out and comes back, and nobody is blamed for what is not its doing."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from penstock.clock import LoopClock
from penstock.providers.play import SSE, Pause
from penstock.providers.scripted import Script
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
from tests.support.house import END_S, EPOCH, House, chat, message, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

SHORT = {"connect": "1s", "first_byte": "2s", "between": "1s", "total": "60s"}

FAULTS: dict[str, Callable[[Script], Script]] = {
    "500": lambda script: script.fail(500),
    "503": lambda script: script.fail(503),
    "529": lambda script: script.fail(529),
    "unreachable": lambda script: script.refuse(),
    "late head": lambda script: script.hang("headers"),
    "late first byte": lambda script: script.hang("first_byte"),
    "error inside": lambda script: script.error_inside(),
    "not JSON": lambda script: script.raw(b"<html>busy</html>"),
    "empty body": lambda script: script.raw(b""),
    "no choices": lambda script: script.json({"choices": []}),
    "no model there": lambda script: script.fail(404),
}
MIDWAY: dict[str, Callable[[Script], Script]] = {
    "reset": lambda script: script.reset(["a", "b"]),
    "cut": lambda script: script.cut(["a", "b"]),
    "silence": lambda script: script.hang("chunk"),
}
STREAM_FAULTS: dict[str, Callable[[Script], Script]] = {
    **{name: fault for name, fault in FAULTS.items() if name not in {"not JSON", "empty body", "no choices"}},
    "no event": lambda script: script.raw(headers=SSE),
    "only [DONE]": lambda script: script.events(),
}


# --- out, and back


@pytest.mark.parametrize("how", FAULTS)
async def test_who_fails_three_times_in_a_row_is_out(how: str) -> None:
    """Every client is answered by the other, and after the third failure the sick one is not asked at all."""
    async with open_fleet("ab", timeouts=SHORT) as house:
        FAULTS[how](house.upstream.at("a")).forever()
        for _ in range(5):
            await ask_all(house, 1)
        assert state(house, "a").state == "open"
        answers = await ask_all(house, 6)
        assert served(answers) == {"b": 6}
        assert called(house).count("a") == 3
        assert served(house.asked) == {"b": 11}


@pytest.mark.parametrize("how", STREAM_FAULTS)
async def test_who_fails_before_a_stream_begins_is_out(how: str) -> None:
    """The same holds for streamed calls."""
    async with open_fleet("ab", timeouts=SHORT) as house:
        STREAM_FAULTS[how](house.upstream.at("a")).forever()
        for _ in range(5):
            await ask_all(house, 1, stream=True)
        assert state(house, "a").state == "open"
        assert called(house).count("a") == 3
        assert served(house.asked) == {"b": 5}


@pytest.mark.parametrize("how", MIDWAY)
async def test_who_breaks_streams_off_is_out(how: str) -> None:
    """Nobody can cure those streams, but no further one is sent there."""
    async with open_fleet("ab", timeouts=SHORT) as house:
        MIDWAY[how](house.upstream.at("a")).forever()
        for _ in range(6):
            await ask_all(house, 1, stream=True)
        assert state(house, "a").state == "open"
        assert called(house) == ["a", "b", "a", "b", "a", "b"]
        assert {asking.error["type"] for asking in house.asked[::2]} == {"server_error"}


async def test_half_of_many_is_too_much() -> None:
    """It answers every second call: never three failures in a row, and out all the same."""
    async with open_fleet("ab") as house:
        for _ in range(20):
            house.upstream.at("a").fail(503).reply()
        house.upstream.at("a").fail(503).forever()
        await ask_all(house, 40, gap_s=0.01)
        assert state(house, "a").state == "open"
        assert called(house).count("a") <= 11
        assert served(house.asked).keys() == {"a", "b"}


async def test_one_call_at_a_time_finds_out_whether_it_is_back() -> None:
    """After its open time one request goes there, the others do not; three good ones in a row, and it is in."""
    async with open_fleet("ab") as house:
        house.upstream.at("a").fail(503).times(3).reply(after_s=1).forever()
        while state(house, "a").state != "open":
            await ask_all(house, 1)
        await asyncio.sleep(1)
        assert state(house, "a").state == "half_open"
        for probe in range(3):
            before = called(house).count("a")
            answers = await ask_all(house, 6)
            assert called(house).count("a") == before + 1, probe
            assert served(answers) == {"a": 1, "b": 5}
        assert state(house, "a").state == "closed"
        assert served(await ask_all(house, 6)) == {"a": 3, "b": 3}


async def test_who_is_still_sick_is_left_alone_for_longer() -> None:
    """1 s, 2 s, 4 s to 30 s, a fifth less at most; no client notices."""
    async with open_fleet("ab") as house:
        house.upstream.at("a").fail(503).forever()
        await ask_all(house, 2000, gap_s=0.05)
        assert served(house.asked) == {"b": 2000}
        asked_at = [call.at for call in house.upstream.calls if call.call.provider.name == "a"]
        waits = [later - earlier for earlier, later in itertools.pairwise(asked_at[2:])]
        for wait_s, wanted_s in zip(waits, [1, 2, 4, 8, 16, 30], strict=False):
            assert 0.8 * wanted_s <= wait_s <= wanted_s + 0.15
        assert len(waits) >= 6


class CreepingClock(LoopClock):
    """One that has gone on each time it is read, as real clocks do."""

    reads = 0

    def monotonic(self) -> float:  # type: ignore[override] # it has a memory
        """A microsecond later at each look."""
        self.reads += 1
        return super().monotonic() + self.reads * 1e-6


@pytest.mark.parametrize("left", [False, True])
async def test_a_probe_gives_its_place_up_when_it_ends(left: bool) -> None:  # noqa: FBT001 - a parameter
    """However little time passes between two looks at the clock: the next probe need not wait until it is given up."""
    async with open_fleet("ab", clock=CreepingClock(EPOCH), watched=False) as house:
        house.upstream.at("a").fail(503).times(3).reply(after_s=1).forever()
        while state(house, "a").state != "open":
            await ask_all(house, 1)
        await asyncio.sleep(1.1)
        if left:
            probes = await pour(house, 2, gap_s=0.1)
            for probe in probes:
                probe.leave()
            await house.rest()
        for _ in range(6):
            await ask_all(house, 1)
        assert state(house, "a").state == "closed"
        assert house.now < 10


# --- slow


@pytest.mark.parametrize("healthy_s", [0.02, 0.3])
async def test_a_slow_one_is_out_within_two_seconds(healthy_s: float) -> None:
    """Twenty times as slow as the others: seen while its calls are silent, before the first of them has ended."""
    async with open_fleet("abc") as house:
        for name in "abc":
            house.upstream.at(name).reply(after_s=healthy_s).forever()
        await ask_all(house, 150, gap_s=0.02, stream=True)
        assert {state(house, name).state for name in "abc"} == {"closed"}
        house.upstream.at("a").reply(after_s=20 * healthy_s).forever()
        since = house.now
        await pour(house, 80, gap_s=0.025, stream=True)
        assert house.now - since <= 2.01
        assert state(house, "a").state in {"open", "half_open"}
        assert [state(house, name).state for name in "bc"] == ["closed", "closed"]
        assert called(house)[-8:].count("a") <= 1


async def test_a_late_beginning_counts_though_nobody_saw_it_being_late() -> None:
    """It began between two looks."""
    async with open_fleet("ab", watched=False) as house:
        house.upstream.reply(after_s=0.02).forever()
        await ask_all(house, 100, gap_s=0.02, stream=True)
        house.gateway.standing.fleet.watch()
        house.upstream.at("a").reply(after_s=0.4).forever()
        house.upstream.at("b").reply(after_s=0.02).forever()
        await ask_all(house, 40, gap_s=0.05, stream=True)
        assert state(house, "a").state != "closed"


async def test_a_slow_account_is_not_refused() -> None:
    """Slowness is a deployment's: the other models of its account go on."""
    models = {"m": model("a", "b", "c"), "n": {"deployments": [{"provider": "a", "model": "y"}]}}
    async with open_fleet(models=models) as house:
        for name in "abc":
            house.upstream.at(name).reply(after_s=0.02).forever()
        await ask_all(house, 150, gap_s=0.02, stream=True)
        house.upstream.at("a").reply(after_s=3).forever()
        await asyncio.sleep(15)
        await ask_all(house, 100, gap_s=0.02, stream=True)
        assert state(house, "a").state in {"open", "half_open"}
        assert (await house.answer(chat(model="n"))).status == 200


# --- accounts


@pytest.mark.parametrize("status", [401, 402])
async def test_a_refused_account_is_out_with_all_its_models(status: int) -> None:
    """At the first refusal, for all its models, until one call finds it good again."""
    models = {
        "m": model("a", "b"),
        "n": {"deployments": [{"provider": "a", "model": "y"}, {"provider": "b", "model": "y"}]},
    }
    async with open_fleet(models=models) as house:
        house.upstream.at("a").fail(status).reply().forever()
        assert served(await ask_all(house, 6)) == {"b": 6}
        assert served(await ask_all(house, 6, model="n")) == {"b/y": 6}
        assert called(house).count("a") == 1
        assert state(house, "a").state == "account_open"
        await asyncio.sleep(30)
        assert served(await ask_all(house, 1)) + served(await ask_all(house, 1)) == {"a": 1, "b": 1}
        assert state(house, "a").state == "closed"
        assert served(await ask_all(house, 4, model="n")) == {"a/y": 2, "b/y": 2}


async def test_other_credentials_are_another_chance() -> None:
    """An operator who replaces the key and reloads does not wait for the breaker; one who changes nothing does."""
    async with open_fleet("a") as house:
        house.upstream.at("a").fail(401).reply().forever()
        assert (await house.answer(chat())).status == 502
        same = {"providers": {name: provider() for name in "abc"}, "models": {"m": model("a")}, "cache": NO_SHARING}
        await house.gateway.adopt(settings_of(**same, limits={"max_queue": 5}))
        assert (await house.answer(chat("1"))).error["code"] == "no_deployment"
        keyed = {**same, "providers": {"a": provider(api_key="another")}}
        await house.gateway.adopt(settings_of(**keyed))
        assert (await house.answer(chat("2"))).status == 200


# --- 429


async def test_a_429_lowers_the_share_and_opens_nothing() -> None:
    """Of ten calls at once one is refused: nine are allowed from then on, and none is out."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        house.upstream.at("a").reply(after_s=1).times(9).fail(429, retry_after=5)
        assert served(await ask_all(house, 10)) == {"a": 9, "429": 1}
        assert (state(house, "a").state, state(house, "a").limit) == ("closed", 9)
        await asyncio.sleep(3.5)
        assert state(house, "a").limit == 9
        await asyncio.sleep(30)
        assert state(house, "a").limit > 9


async def test_429s_alone_never_open() -> None:
    """However many: the account is asked, pair after pair, and held to one call at a time by then."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        house.upstream.at("a").raw(Pause(0.1), status=429).times(100).reply().forever()
        for _ in range(50):
            await ask_all(house, 2)
        assert served(house.asked) == {"429": 100}
        assert (state(house, "a").state, state(house, "a").limit) == ("closed", 1)
        assert (await house.answer(chat("again"))).status == 200


@pytest.mark.parametrize("retry_after", [None, 5])
async def test_a_429_to_one_call_by_itself_holds_up_nobody_for_long(retry_after: int | None) -> None:
    """It is about a rate: ten at once are asked at once when the provider's own wait is over."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        house.upstream.at("a").fail(429, retry_after=retry_after).reply(after_s=1).forever()
        assert served(await ask_all(house, 1)) == {"429": 1}
        assert (state(house, "a").limit == 1) == (retry_after is not None)
        await asyncio.sleep(retry_after or 0)
        since = house.now
        assert served(await ask_all(house, 10)) == {"a": 10}
        assert house.now - since == 1


@pytest.mark.parametrize("retry_after", [None, 30])
async def test_who_has_nothing_left_to_refuse_with_is_out(retry_after: int | None) -> None:
    """A rate that is used up is no matter of calls at once: the other serves all, and no client sees a 429."""
    async with open_fleet("ab") as house:
        house.upstream.at("a").fail(429, retry_after=retry_after).forever()
        house.upstream.at("b").reply(after_s=0.5).forever()
        assert served(await ask_all(house, 600, gap_s=0.05)) == {"b": 600}
        assert called(house).count("a") <= 10


async def test_one_round_of_429s_puts_nobody_out() -> None:
    """Twenty of forty at once are refused: that is one lesson, and the share has learned it."""
    async with open_fleet("ab", retry={"budget": 0.9}) as house:
        house.upstream.at("b").reply(after_s=1).forever()
        house.upstream.at("a").raw(Pause(0.5), status=429).times(20).reply(after_s=1).forever()
        answers = await ask_all(house, 40)
        assert served(answers).keys() <= {"a", "b"}
        assert state(house, "a").state == "closed"


# --- nobody's fault


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_clients_do_wrong_is_no_failure(status: int) -> None:
    """A hundred bad requests put nobody out."""
    async with open_fleet("ab") as house:
        house.upstream.fail(status).forever()
        await ask_all(house, 100, gap_s=0.01)
        assert {state(house, name).state for name in "ab"} == {"closed"}


async def test_clients_that_leave_blame_nobody() -> None:
    """Before an answer or within one."""
    async with open_fleet("a") as house:
        house.upstream.stream(["a"] * 5, after_s=1, gap_s=1).forever()
        for wait_s in (0.5, 2.5) * 15:
            asking = house.ask(chat(str(len(house.asked)), stream=True))
            await asyncio.sleep(wait_s)
            asking.leave()
            await asking.done()
        assert state(house, "a").state == "closed"
        assert called(house) == ["a"] * 30


@pytest.mark.parametrize("stream", [False, True])
async def test_the_time_that_a_client_allows_itself_blames_nobody(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """It wanted an answer within a second; the deployment may take two minutes."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        house.upstream.hang("first_byte").forever()
        for number in range(30):
            asking = await house.answer(chat(str(number), stream=stream), headers={"timeout": "1"})
            assert asking.status == 504
        assert state(house, "a").state == "closed"


async def test_our_own_total_deadline_blames_nobody() -> None:
    """A long answer is no sick deployment."""
    times = {"first_byte": "20s", "between": "20s", "total": "5s"}
    async with open_fleet("a", timeouts=times, retry={"attempts": 1}) as house:
        house.upstream.stream(["a"] * 100, gap_s=1).forever()
        await ask_all(house, 30, stream=True)
        assert state(house, "a").state == "closed"


async def test_a_missing_token_counter_blames_nobody() -> None:
    """Providers need not count tokens."""
    async with open_fleet("a") as house:
        house.upstream.fail(404).forever()
        for number in range(30):
            asking = await house.answer(message(str(number)), "/v1/messages/count_tokens")
            assert asking.status == 200
        assert state(house, "a").state == "closed"


# --- all out


async def test_when_all_are_out_clients_are_told_why_and_until_when() -> None:
    """At once, with no call made: 503, each deployment by name, and the seconds until the first is asked again."""
    async with open_fleet("ab", retry={"attempts": 1}) as house:
        house.upstream.fail(503).forever()
        await ask_all(house, 46, gap_s=0.001)
        calls = len(house.upstream.calls)
        asking = await house.answer(chat("refused"))
        assert (asking.status, asking.error["code"]) == (503, "no_deployment")
        assert "a/x is out; it is asked again in" in asking.error["message"]
        assert "b/x is out; it is asked again in" in asking.error["message"]
        assert asking.headers["retry-after"] == "1"
        assert "x-should-retry" not in asking.headers
        assert len(house.upstream.calls) == calls
        await asyncio.sleep(1)
        await house.answer(chat("asked"))
        assert len(house.upstream.calls) == calls + 1


async def test_while_a_probe_is_out_the_others_come_back_soon() -> None:
    """Not after as long as a probe may take at most."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        house.upstream.fail(503).times(20).reply(after_s=3).forever()
        await ask_all(house, 20, gap_s=0.001)
        await asyncio.sleep(1)
        probe, other = await pour(house, 2, gap_s=0.1)
        await other.done()
        assert (other.status, other.headers["retry-after"]) == (503, "1")
        assert "is being asked again" in other.error["message"]
        assert (await probe.done()).status == 200
        assert state(house, "a").state == "closed"


async def test_one_alone_serves_on_while_half_its_calls_fail() -> None:
    """Some answers are better than none: it is left alone only when twenty in a row have failed."""
    async with open_fleet("a", retry={"attempts": 1}) as house:
        for _ in range(50):
            house.upstream.fail(503).reply()
        await ask_all(house, 100, gap_s=0.01)
        assert served(house.asked) == {"a": 50, "503": 50}
        house.upstream.fail(503).forever()
        await ask_all(house, 30, gap_s=0.01)
        assert called(house) == ["a"] * 120


async def told(house: House, *, gap_s: float, count: int, **fields: Any) -> list[Asking]:
    """What each of so many clients was told that ask in turn, so long apart."""
    askings = []
    for _ in range(count):
        askings += await ask_all(house, 1, **fields)
        await asyncio.sleep(gap_s)
    return askings


@pytest.mark.parametrize("attempts", [1, 4])
async def test_one_alone_that_is_not_there_is_told_of_with_a_time(attempts: int) -> None:
    """At a request in two seconds no more than two clients hear of a bad gateway; the others until when it is out."""
    async with open_fleet("a", retry={"attempts": attempts}) as house:
        house.upstream.refuse().forever()
        askings = await told(house, gap_s=2, count=20)
        statuses = [asking.status for asking in askings]
        assert statuses == [502] * statuses.count(502) + [503] * statuses.count(503)
        assert statuses.count(502) <= 2
        for asking in askings[2:]:
            assert asking.error["code"] == "no_deployment"
            assert 1 <= int(asking.headers["retry-after"]) <= 5
        house.upstream.reply().forever()
        assert [asking.status for asking in await told(house, gap_s=1, count=7)][-2:] == [200, 200]


async def test_one_alone_that_is_not_there_is_bridged_by_what_is_stored() -> None:
    """Whoever asks what was asked before gets it, marked, from the first on."""
    cache = {"exact": {"ttl": "1s", "stale": "1h", "stale_on_error": True}}
    async with open_fleet("a", cache=cache) as house:
        await house.answer(chat("q"))
        await asyncio.sleep(60)
        house.upstream.refuse().forever()
        for _ in range(10):
            asking = await house.answer(chat("q"))
            assert (asking.status, asking.headers["x-penstock-degraded"]) == (200, "stale")
            await asyncio.sleep(2)


async def test_two_that_are_not_there_are_out_one_after_the_other() -> None:
    """The second is alone by then."""
    async with open_fleet("ab") as house:
        house.upstream.refuse().forever()
        askings = await told(house, gap_s=1, count=12)
        assert [asking.status for asking in askings][-6:] == [503] * 6
        assert {state(house, name).state for name in "ab"} <= {"open", "half_open"}


async def test_the_last_one_standing_is_treated_as_alone() -> None:
    """The other's account is refused, so nobody could take over."""
    async with open_fleet("ab", retry={"attempts": 1}) as house:
        house.upstream.at("b").fail(402)
        house.upstream.at("a").reply()
        await ask_all(house, 2)
        assert state(house, "b").state == "account_open"
        for _ in range(20):
            house.upstream.at("a").fail(503).reply()
        await ask_all(house, 40, gap_s=0.01)
        assert called(house).count("a") == 41


async def test_who_is_left_alone_while_its_calls_are_under_way_is_judged_as_such() -> None:
    """When they were planned another could have taken them; when they fail it is out."""
    async with open_fleet("ab", retry={"attempts": 1}) as house:
        house.upstream.at("a").raw(Pause(0.5), status=402).forever()
        house.upstream.at("b").raw(Pause(1), status=503).forever()
        await ask_all(house, 8, gap_s=0.01)
        assert (state(house, "a").state, state(house, "b").state) == ("account_open", "closed")


# --- what outlives, what is given back


async def test_a_reload_keeps_what_is_known() -> None:
    """Who was out is out, and its calls are still counted; a limit that the file changes holds at once."""
    config: dict[str, Any] = {"models": {"m": model("a", "b")}, "cache": NO_SHARING}
    async with open_fleet(**config) as house:
        house.upstream.at("a").fail(503).forever()
        house.upstream.at("b").reply(after_s=10).forever()
        await pour(house, 6, gap_s=0.01)
        assert state(house, "a").state == "open"
        providers = {"a": provider(), "b": provider(concurrency=7)}
        await house.gateway.adopt(settings_of(**config, providers=providers))
        late = house.ask(chat("late"))
        await asyncio.sleep(0.1)
        assert state(house, "a").state == "open"
        assert (state(house, "b").in_flight, state(house, "b").limit) == (7, 7)
        await late.done()
        assert served([late]) == {"b": 1}


async def test_what_the_config_names_no_more_is_forgotten_once_nobody_is_there() -> None:
    """Members, accounts and lines of a hundred reloads are those of the last; what was shed stays counted."""
    async with open_fleet("ab") as house:
        fleet = house.gateway.standing.fleet
        house.upstream.reply(after_s=10).forever()
        for number in range(100):
            providers = {f"p{number}": provider(concurrency=1)}
            models = {"m": {"deployments": [{"provider": f"p{number}", "model": "x"}]}}
            await house.gateway.adopt(settings_of(providers=providers, models=models, cache=NO_SHARING))
            await pour(house, 2, gap_s=0.01)
        assert len(fleet.states()) > 1, "calls are under way there"
        await house.rest()
        await asyncio.sleep(1)
        assert [each.id for each in fleet.states()] == ["p99/x"]
        assert (len(vars(fleet)["_accounts"]), len(vars(fleet)["_seekers"])) == (1, 1)
        assert sum(fleet.shed.values()) == sum(asking.status == 503 for asking in house.asked)


async def test_two_models_that_name_one_deployment_do_not_pull_at_it() -> None:
    """The first says what it is, whichever asked last."""
    models = {name: {"deployments": [deployment("a", region=region)]} for name, region in (("m", "eu"), ("n", "cn"))}
    async with open_fleet(models=models) as house:
        for name in "mnmn":
            await ask_all(house, 1, model=name)
            assert [each.region for each in house.gateway.standing.fleet.states()] == ["eu"]


async def test_a_call_of_before_a_reload_does_not_undo_it() -> None:
    """It goes on by its own settings; what is known goes by the new ones: a replaced key stays replaced."""
    config: dict[str, Any] = {"models": {"m": model("a")}, "cache": NO_SHARING}
    async with open_fleet(**config) as house:
        house.upstream.at("a").fail(503).fail(401).reply(after_s=1).forever()
        before = house.ask(chat("before"))
        await asyncio.sleep(0.1)
        await house.gateway.adopt(settings_of(**config, providers={"a": provider(api_key="new", concurrency=5)}))
        refused = await house.answer(chat("refused"))
        assert (refused.status, state(house, "a").state) == (502, "account_open")
        await before.done()
        assert (state(house, "a").state, state(house, "a").limit) == ("account_open", 5)


async def test_a_budget_that_refuses_gives_the_seat_back() -> None:
    """No call was made: nobody is blamed, and the probe's place is free."""
    budget = {"name": "all", "limit": "0.05 CNY", "window": "total"}
    async with open_fleet("ab", budgets=[budget], budget_wait="1s") as house:
        house.upstream.at("a").fail(503).times(3).reply().forever()
        while state(house, "a").state != "open":
            await ask_all(house, 1, max_tokens=10)
        await asyncio.sleep(1)
        for _ in range(4):
            refused = (await ask_all(house, 1, max_tokens=100_000))[0]
        assert refused.status in {200, 429}
        assert {state(house, name).in_flight for name in "ab"} == {0}
        for _ in range(6):
            await ask_all(house, 1, max_tokens=10)
        assert state(house, "a").state == "closed"


async def test_a_seat_is_given_back_whatever_ends_the_call() -> None:
    """Answers, failures, retries, clients that leave at any moment, reloads: the house checks that none is left."""
    async with open_fleet("ab", timeouts=SHORT) as house:
        for name in "ab":
            script = house.upstream.at(name)
            for fault in (*FAULTS.values(), *MIDWAY.values()):
                fault(script).reply(after_s=0.3)
        for number in range(60):
            asking = house.ask(chat(str(number), stream=number % 2 == 0))
            await asyncio.sleep(0.07)
            if number % 5 == 0:
                asking.leave()
        await house.rest()
        assert {state(house, name).in_flight for name in "ab"} == {0}
