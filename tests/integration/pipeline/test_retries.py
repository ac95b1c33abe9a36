"""When and where a failed call is made again: the schedule, the deadline, the budget, the first byte."""

import asyncio
import itertools
from typing import Any

import pytest

from penstock.core.retry import FLOOR
from penstock.errors import BadAnswer, ProviderTimeout, Reach
from penstock.providers.answers import Answer, events, whole
from penstock.providers.play import JSON, SSE, Pause, Play
from penstock.providers.scripted import ANSWERED, Asked
from tests.support.house import BASE, END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

TRANSIENT = (408, 429, 500, 502, 503, 504)
FINAL = (400, 401, 402, 403, 404, 422)


def gaps(house: House) -> list[float]:
    """Seconds from each call to the next."""
    at = [call.at for call in house.upstream.calls]
    return [later - earlier for earlier, later in itertools.pairwise(at)]


def no_capacity(asked: Asked) -> Play:
    """Cut off before it said anything, in one read."""
    said = Answer(("",), ANSWERED, finish="insufficient_system_resource")
    if asked.streamed:
        return Play((b"".join(events(said, asked.dialect, usage=True)),), headers=SSE)
    return Play((whole(said, asked.dialect),))


def failing(upstream: Any, how: str) -> Any:
    """The next reply is this fault."""
    if how == "refused":
        return upstream.refuse()
    if how == "reset before an answer":
        return upstream.reset()
    if how == "no capacity":
        return upstream.call(no_capacity)
    if how == "error inside":
        return upstream.error_inside()
    if how == "not JSON":
        return upstream.raw(b"<html>busy</html>")
    return upstream.fail(int(how))


CURABLE = [*map(str, TRANSIENT), "refused", "reset before an answer", "no capacity", "error inside", "not JSON"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", CURABLE)
async def test_another_deployment_is_asked_at_once(how: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """The client sees the second one's answer, and both calls are in the ledger."""
    async with open_house() as house:
        failing(house.upstream.at("one"), how)
        house.upstream.at("two").reply("well")
        asking = await house.answer(chat(model="duo", stream=stream))
        assert (asking.status, asking.text) == (200, "well")
        assert asking.headers["x-penstock-deployment"] == "two/m-2"
        assert asking.headers["x-penstock-attempts"] == "2"
        assert gaps(house) == [0]
        assert [attempt.outcome for attempt in house.attempts][1:] == ["ok"]
        assert house.attempts[0].outcome != "ok"


@pytest.mark.parametrize("how", CURABLE)
async def test_the_same_one_is_asked_after_one_two_and_four_seconds(how: str) -> None:
    """Give or take a fifth; four calls in all, then its error goes out."""
    async with open_house() as house:
        for _ in range(5):
            failing(house.upstream, how)
        asking = await house.answer(chat())
        assert asking.status in {429, 502, 503}
        assert len(house.upstream.calls) == 4
        for gap, wanted in zip(gaps(house), (1, 2, 4), strict=True):
            assert 0.8 * wanted <= gap <= 1.2 * wanted
        assert len(set(gaps(house))) == 3
        assert asking.headers["x-penstock-attempts"] == "4"
        assert len(house.attempts) == 4


async def test_waits_are_spread() -> None:
    """Two gateways do not wait alike."""
    waited = []
    for seed in (1, 2):
        async with open_house(seed=seed) as house:
            house.upstream.fail(503).reply()
            await house.answer(chat())
            waited += gaps(house)
    assert waited[0] != waited[1]


@pytest.mark.parametrize(("header", "wanted"), [("3", 3.0), ("0", 1.0), ("soon", 1.0)])
async def test_retry_after_is_honoured_where_it_is_longer(header: str, wanted: float) -> None:
    """The provider knows best when it may be asked again; a word that is no number is ignored."""
    async with open_house() as house:
        house.upstream.fail(429, retry_after=header).reply()
        assert (await house.answer(chat())).status == 200
        assert gaps(house) == [pytest.approx(wanted, rel=0.21)]


async def test_a_retry_after_beyond_the_deadline_ends_it_at_once() -> None:
    """Waiting would be in vain: the client hears now, and when to come back."""
    async with open_house(timeouts={"total": "30s", "first_byte": "10s", "between": "10s"}) as house:
        house.upstream.fail(429, retry_after=31)
        asking = await house.answer(chat())
        assert (asking.status, asking.headers["retry-after"]) == (429, "31")
        assert house.now == 0
        assert len(house.upstream.calls) == 1


async def test_no_call_begins_after_the_total_deadline() -> None:
    """What the waits do not leave room for is not tried."""
    async with open_house(timeouts={"total": "2500ms", "first_byte": "2s", "between": "2s"}) as house:
        house.upstream.fail(503).forever()
        asking = await house.answer(chat())
        assert asking.status == 503
        assert len(house.upstream.calls) == 2
        assert house.now <= 2.5


@pytest.mark.parametrize("status", FINAL)
async def test_a_refusal_is_not_repeated_on_the_same_account(status: int) -> None:
    """It would be refused again."""
    async with open_house() as house:
        house.upstream.fail(status).forever()
        asking = await house.answer(chat())
        assert len(house.upstream.calls) == 1
        assert asking.status == {401: 502, 403: 502}.get(status, status)
        assert house.now == 0


@pytest.mark.parametrize("status", FINAL)
async def test_another_account_may_cure_a_refusal(status: int) -> None:
    """At once, and once."""
    async with open_house() as house:
        house.upstream.at("one").fail(status)
        house.upstream.at("two").reply("well")
        assert (await house.answer(chat(model="duo"))).text == "well"
        assert [call.call.provider.name for call in house.upstream.calls] == ["one", "two"]


async def test_two_deployments_of_one_account_are_one_for_a_refusal() -> None:
    """A bad key is bad for every model behind it."""
    same = {"m": {"deployments": [{"provider": "one", "model": "a"}, {"provider": "one", "model": "b"}]}}
    async with open_house(models=same) as house:
        house.upstream.fail(401).forever()
        await house.answer(chat())
        assert len(house.upstream.calls) == 1


@pytest.mark.parametrize("how", ["reset", "cut", "error"])
async def test_nothing_is_repeated_after_the_first_byte(how: str) -> None:
    """The client has begun to read: it is told, in the stream, and asks again itself."""
    async with open_house() as house:
        if how == "reset":
            house.upstream.at("one").reset(["a", "b"])
        elif how == "cut":
            house.upstream.at("one").cut(["a", "b"])
        else:
            said = events(Answer(("a", "b")), "chat", usage=False)
            broken = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
            house.upstream.at("one").raw(*said[:3], broken, headers=SSE)
        asking = await house.answer(chat(model="duo", stream=True))
        assert asking.status == 200
        assert asking.complete
        assert asking.error["type"] == "server_error"
        assert b"[DONE]" not in asking.body
        assert len(house.upstream.calls) == 1
        assert house.attempts[0].estimated
        assert house.exchanges[0].outcome != "ok"


async def test_lack_of_capacity_before_the_first_byte_is_cured_in_a_stream_too() -> None:
    """The half answer never reaches the client."""
    async with open_house() as house:
        house.upstream.at("one").call(no_capacity)
        house.upstream.at("two").reply("well")
        asking = await house.answer(chat(model="duo", stream=True))
        assert asking.text == "well"
        assert b"insufficient" not in asking.body
        assert house.attempts[0].outcome == "provider_busy"
        assert house.attempts[0].charged_book_nano == 60_000


async def test_the_budget_keeps_retries_from_becoming_the_outage() -> None:
    """200 requests into an outage of a kind that opens no breaker: a fifth of them are called again."""
    async with open_house(cache={"exact": {"ttl": "0s"}, "join": False}, retry={"backoff": "100ms"}) as house:
        house.upstream.fail(501).forever()
        for number in range(200):
            house.ask(chat(str(number)))
        await house.rest()
        assert 200 < len(house.upstream.calls) <= 200 + 0.2 * 200


async def test_attempts_bounds_the_calls_over_all_deployments() -> None:
    """Two deployments do not make eight calls."""
    async with open_house(retry={"attempts": 3}) as house:
        house.upstream.fail(503).forever()
        await house.answer(chat(model="duo"))
        assert [call.call.provider.name for call in house.upstream.calls] == ["one", "two", "one"]


TWICE_FOLDED = {**BASE["models"]["duo"], "stream_upstream": True}


async def test_a_folded_answer_that_breaks_off_is_fetched_elsewhere() -> None:
    """No byte has gone out yet: ``stream_upstream`` is the gateway's own affair."""
    async with open_house(models={"folded": TWICE_FOLDED}) as house:
        house.upstream.reset(["a", "b"]).reply("whole")
        asking = await house.answer(chat(model="folded"))
        assert (asking.status, asking.text) == (200, "whole")
        assert [call.streamed for call in house.upstream.calls] == [True, True]
        assert [attempt.outcome for attempt in house.attempts] == ["provider_bad_answer", "ok"]
        assert [attempt.provider for attempt in house.attempts] == ["one", "two"]


async def test_an_answer_that_broke_off_is_paid_once_at_an_account() -> None:
    """The provider worked for it: asked again, it would bill both."""
    async with open_house() as house:
        house.upstream.reset(["a", "b"])
        asking = await house.answer(chat(model="folded"))
        assert asking.status == 502
        assert len(house.attempts) == 1
        assert house.attempts[0].estimated
        assert house.attempts[0].usage.output > 0


async def test_a_whole_answer_that_broke_off_is_charged_and_fetched_elsewhere() -> None:
    """Its head came, so its provider had accepted it: at least its prompt is billed."""
    async with open_house() as house:
        house.upstream.reset(["half of it"]).reply("whole")
        asking = await house.answer(chat(model="duo"))
        assert (asking.status, asking.text) == (200, "whole")
        assert [attempt.provider for attempt in house.attempts] == ["one", "two"]
        broken = house.attempts[0]
        assert broken.estimated
        assert broken.usage.prompt > 0


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_a_folded_answer_that_was_cut_is_fetched_again(dialect: str) -> None:
    """Wherever in its stream the provider ran out of capacity."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], gap_s=1, finish="insufficient_system_resource").reply("whole")
        body = chat(model="folded") if dialect == "chat" else message(model="folded")
        assert (await house.answer(body)).text == "whole"
        assert [attempt.outcome for attempt in house.attempts] == ["provider_busy", "ok"]
        assert house.attempts[0].usage == ANSWERED


async def test_an_answer_that_was_cut_never_stands_in_for_the_one_that_follows() -> None:
    """The cut one came whole, the good one as a stream: the good one is what is stored."""
    choice = {"index": 0, "message": {"content": "half"}, "finish_reason": "insufficient_system_resource"}
    async with open_house() as house:
        house.upstream.json({"choices": [choice]}).reply("good")
        assert (await house.answer(chat(stream=True))).text == "good"
        again = await house.answer(chat())
        assert (again.headers["x-penstock-cache"], again.text) == ("exact", "good")


async def test_who_left_is_not_waited_for_before_a_retry() -> None:
    """The call at a provider that completes fails after its client left: nobody wants another."""
    async with open_house() as house:
        house.upstream.raw(Pause(5), status=503)
        asking = house.ask(chat())
        await asyncio.sleep(1)
        asking.leave()
        await asking.done()
        assert house.now == 5
        assert len(house.upstream.calls) == 1
        assert house.exchanges[0].outcome == "client_gone"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_every_dialect_is_retried(dialect: str) -> None:
    """The rules do not know formats."""
    async with open_house() as house:
        house.upstream.fail(529).reply("well")
        body = chat() if dialect == "chat" else message()
        assert (await house.answer(body)).text == "well"


def test_the_house_has_two_accounts() -> None:
    """What the tests above rely on: the first completes, the second stops."""
    assert [entry["after_disconnect"] for entry in BASE["providers"].values()] == ["completes", "stops"]


async def test_every_failed_call_is_told_to_the_operator_once(caplog: pytest.LogCaptureFixture) -> None:
    """Which deployment, which kind, and our own words; never the provider's, which may repeat the prompt."""
    async with open_house() as house:
        house.upstream.fail(503, "your prompt was: SECRET").refuse().reply("well")
        await house.answer(chat(model="duo"))
        house.upstream.reset(["a"])
        await house.answer(chat("again", stream=True))
    warned = [record for record in caplog.records if record.message == "a call failed"]
    told = [[getattr(record, name) for name in ("deployment", "outcome", "status")] for record in warned]
    assert told == [
        ["one/m-1", "provider_busy", 503],
        ["two/m-2", "provider_unreachable", 0],
        ["one/m-1", "provider_bad_answer", 200],
    ]
    assert "SECRET" not in "".join(str(vars(record)) for record in warned)
    assert all(record.levelname == "WARNING" for record in warned)


# --- what broke, and what never went out

FLEET: dict[str, Any] = {
    "cache": {"exact": {"ttl": "0s"}, "join": False},
    "models": {
        **BASE["models"],
        "pair": {"deployments": [{"provider": "one", "model": "x"}, {"provider": "two", "model": "x"}]},
    },
}
MANY = 60
"""More in flight at each of two than the floor of the budget holds."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["before the head", "after the head"])
async def test_when_a_machine_dies_its_calls_are_made_elsewhere(how: str, *, stream: bool) -> None:
    """All that no client had a byte of, though they are more than ten seconds' retries; each once."""
    async with open_house(**FLEET) as house:
        broken = BadAnswer("cut", reach=Reach.BROKEN)
        dying, head = house.upstream.at("one"), SSE if stream else JSON
        dying = dying.reset(after_s=5) if how == "before the head" else dying.raw(Pause(5), broken, headers=head)
        dying.forever()
        house.upstream.at("two").reply("well", after_s=5).forever()
        askings = [house.ask(chat(str(number), model="pair", stream=stream)) for number in range(2 * MANY)]
        await house.rest()
        assert {(asking.status, asking.text) for asking in askings} == {(200, "well")}
        assert len(house.upstream.calls) == 3 * MANY


@pytest.mark.parametrize(("first", "calls"), [("broken", 2), ("refused by the provider", 1)])
async def test_a_call_is_moved_once(first: str, calls: int) -> None:
    """One whose second connection breaks too counts as any other retry, and so does one that was answered."""
    three = [{"provider": name, "model": "x"} for name in ("one", "two", "three")]
    providers = {**BASE["providers"], "three": BASE["providers"]["one"]}
    models = {**BASE["models"], "three": {"deployments": three}}
    async with open_house(**{**FLEET, "models": models, "providers": providers}) as house:
        budget, now = house.gateway.standing.budget, house.gateway.clock.monotonic()
        while budget.retry(now) is not None:
            pass
        (house.upstream.reset() if first == "broken" else house.upstream.fail(503)).reset()
        assert (await house.answer(chat(model="three"))).status in {502, 503}
        assert len(house.upstream.calls) == calls


async def test_what_never_went_out_is_not_taken_from_the_budget() -> None:
    """It cost its provider nothing: however many find nobody there, all are answered by the other."""
    async with open_house(**FLEET, retry={"budget": 0.0}) as house:
        gone = ProviderTimeout("not accepted", reach=Reach.NOWHERE)
        house.upstream.at("one").call(lambda _: Play(before=(Pause(1), gone))).forever()
        house.upstream.at("two").reply("well").forever()
        askings = [house.ask(chat(str(number), model="pair")) for number in range(2 * MANY)]
        await house.rest()
        assert {asking.status for asking in askings} == {200}
        assert sum(attempt.outcome == "provider_timeout" for attempt in house.attempts) == MANY
        assert {attempt.charged_nano for attempt in house.attempts if attempt.outcome != "ok"} == {0}


async def test_a_retry_that_is_not_made_is_not_taken_from_the_budget() -> None:
    """While it waited for its turn the account was refused: there is no seat."""
    async with open_house(**FLEET) as house:
        house.upstream.fail(503).times(5).fail(402)
        waiting = [house.ask(chat(str(number))) for number in range(5)]
        await asyncio.sleep(0.1)
        assert (await house.answer(chat("refused"))).status == 402
        await house.rest()
        assert {asking.status for asking in waiting} == {503}
        assert len(house.upstream.calls) == 6
        budget, now = house.gateway.standing.budget, house.gateway.clock.monotonic()
        assert sum(budget.retry(now) is not None for _ in range(2 * FLOOR)) == FLOOR
