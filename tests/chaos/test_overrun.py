"""B04: providers that ignore their cap, say nothing or nonsense of what they used, or have no price.

A stream is cut within one chunk of its reservation; what no price covers is refused under a budget, before anything is
sent; what was billed beyond a hold is posted in full and said, request by request.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from penstock.cli.exchange_view import view
from penstock.core.records import OPEN, AttemptRow
from penstock.core.usage import Usage
from penstock.providers.answers import Answer, events, usage_fields, whole
from penstock.providers.play import JSON, SSE, Play
from penstock.providers.scripted import Asked
from tests.support.bill_provider_lines import HIT_NANO, MISS_NANO, OUTPUT_NANO
from tests.support.bill_provider_scripted import ignore_the_cap, scripted_bill
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import BASE, END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

CAP, SAY = 20, 400
MONEY = {"name": "money", "scope": "global", "limit": "100 CNY", "window": "total"}
TOKENS = {"name": "tokens", "scope": "global", "limit": "1000000 tokens", "window": "total"}
UNPRICED = {"kind": "scripted", "after_disconnect": "completes"}
MARK = Usage(1, output=1)
"""What a report is put in the place of."""
_encode = msgspec.json.encode
DIALECTS = ("chat", "messages", "completions")


def question(dialect: str, number: int, model: str) -> dict[str, Any]:
    """A stream of ``CAP`` tokens, to one that will say ``SAY``."""
    text = prompt_of(f"mk-{number}", say=SAY, gap_ms=100)
    if dialect == "messages":
        return message(text, model=model, stream=True) | {"max_tokens": CAP}
    if dialect == "completions":
        return {"model": model, "prompt": text, "stream": True, "max_tokens": CAP}
    return chat(text, model=model, stream=True, max_completion_tokens=CAP)


def posted(house: House) -> dict[str, int]:
    """What each budget's account holds."""
    return {each.budget.name: each.used for each in house.gateway.treasury.standings()}


# --- the cap is ignored, and no usage comes


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("model", ["m", "stopping", "duo"])
async def test_a_stream_is_cut_within_one_chunk_of_its_reservation(model: str, dialect: str) -> None:
    """A chunk is a token here; the client is told why, and the provider hears no more of us."""
    async with open_house(budgets=[MONEY, TOKENS], tokenizers={"scripted": Words()}) as house:
        house.upstream.call(ignore_the_cap).forever()
        asking = await house.answer(question(dialect, 1, model))
        assert "does not keep to the cap it was given" in asking.error["message"]
        assert CAP <= len(asking.text.split()) <= CAP + 1
        (call,) = house.upstream.calls
        assert (call.ended_at or END_S) - call.at <= (CAP + 1) * 0.1 + 0.01
        (attempt,) = house.attempts
        assert attempt.estimated
        assert attempt.usage.output == CAP + 1
        assert attempt.overrun


@pytest.mark.parametrize("model", ["m", "stopping"])
async def test_a_whole_answer_that_outgrew_its_hold_says_so(model: str) -> None:
    """Longer than any tokenizer makes of so few tokens, and without usage: charged for what it surely said."""
    async with open_house(budgets=[MONEY, TOKENS]) as house:
        house.upstream.call(ignore_the_cap).forever()
        asking = await house.answer(question("chat", 1, model) | {"stream": False})
        assert len(asking.text.split()) == SAY
        (attempt,) = house.attempts
        assert (attempt.estimated, attempt.overrun) == (True, True)
        assert attempt.usage.output > CAP


async def test_one_that_is_fetched_as_a_stream_is_cut_too() -> None:
    """Nothing of it has gone out: a refusal, which SDKs do not repeat, and no second call."""
    async with open_house(budgets=[MONEY], tokenizers={"scripted": Words()}) as house:
        house.upstream.call(ignore_the_cap).forever()
        body = question("chat", 1, "folded") | {"stream": False}
        asking = await house.answer(body)
        assert (asking.status, asking.error["code"]) == (429, "budget_exceeded")
        assert asking.headers["x-should-retry"] == "false"
        assert len(house.upstream.calls) == 1
        assert house.attempts[0].charged_nano == 3 * MISS_NANO + (CAP + 1) * OUTPUT_NANO
        assert house.attempts[0].overrun


async def test_without_its_tokenizer_a_stream_is_cut_where_it_is_sure() -> None:
    """No honest answer is cut: only what no tokenizer makes of so few tokens."""
    async with open_house(budgets=[MONEY]) as house:
        house.upstream.call(ignore_the_cap).forever()
        asking = await house.answer(question("chat", 1, "m"))
        assert asking.error["code"] == "budget_exceeded"
        assert CAP < len(asking.text.split()) <= 16 * CAP // len("answers ") + 2


@pytest.mark.parametrize("others", [0, 3])
async def test_what_is_cut_at_one_that_stops_is_what_it_bills(others: int) -> None:
    """Its bill ends with the cut; ours is the same, and says that it is an overrun, of one chunk."""
    async with open_house(budgets=[MONEY, TOKENS], tokenizers={"scripted": Words()}) as house:
        house.upstream.call(ignore_the_cap).forever()
        tags = [{"x-penstock-tags": f"marker=mk-{number}"} for number in range(others + 1)]
        asked = [house.ask(question("chat", number, "stopping"), headers=tag) for number, tag in enumerate(tags)]
        await house.rest()
        assert all(asking.error["code"] == "budget_exceeded" for asking in asked)
        bill = scripted_bill(house.upstream.calls, honours_cap=False)
        for call, attempt in zip(bill, house.attempts, strict=True):
            assert call.why == "left"
            assert call.output == CAP + 1
            assert call.cost_nano == attempt.charged_nano
            assert attempt.overrun
        house.check(bill=bill)
        assert posted(house) == {
            "money": sum(row.charged_nano or 0 for row in house.attempts),
            "tokens": sum(row.usage.total for row in house.attempts),
        }


# --- no price


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("scope", ["global", "team", "key", "user", "model"])
async def test_what_has_no_price_is_refused_before_anything_is_sent(scope: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Whichever scope the budget of money has: nobody is called, nothing is held, the row says why."""
    budget = MONEY | {"scope": scope}
    async with open_house(budgets=[budget], providers={"one": UNPRICED}, models={"m": BASE["models"]["m"]}) as house:
        key = await house.add_key("k", team="red")
        asking = await house.answer(chat(stream=stream, user="alice"), key=key)
        assert (asking.status, asking.error["code"]) == (400, "cost_unbounded")
        assert "no price is known for one/m-1" in asking.error["message"]
        assert house.upstream.calls == []
        assert house.attempts == []
        (row,) = house.exchanges
        assert (row.outcome, row.cost_nano) == ("cost_unbounded", 0)


async def test_fail_over_does_not_reach_what_has_no_price() -> None:
    """The first deployment fails; the second has no price, so it is not called, and the failure is the answer."""
    providers = {"one": BASE["providers"]["one"], "two": UNPRICED}
    async with open_house(budgets=[MONEY], providers=providers) as house:
        house.upstream.at("one").fail(503).forever()
        assert (await house.answer(chat(model="duo"))).status == 503
        assert {call.call.provider.name for call in house.upstream.calls} == {"one"}


@pytest.mark.parametrize("budgets", [[], [TOKENS], [MONEY | {"hard": False}]])
async def test_without_a_hard_budget_of_money_it_is_served_and_unpriced(budgets: list[dict[str, Any]]) -> None:
    """Tokens can be held without a price, and who only watches refuses nothing; unpriced is not free."""
    providers = {"one": UNPRICED}
    async with open_house(budgets=budgets, providers=providers, models={"m": BASE["models"]["m"]}) as house:
        house.upstream.reply(usage=Usage(11, output=13))
        assert (await house.answer(chat())).status == 200
        (attempt,) = house.attempts
        assert (attempt.charged_nano, attempt.held_nano, attempt.overrun) == (None, None, False)
        assert posted(house).get("tokens", 24) == 24


# --- odd usage


@dataclass(frozen=True)
class Report:
    """What a provider says it used, and what that comes to."""

    says: Any
    used: Usage | None
    """None = our own count, marked as such."""
    nano: int = 0
    overrun: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def _object(prompt: Any = 11, output: Any = 13, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": output, **more}


PLAIN = Usage(11, output=13)
PLAIN_NANO = 11 * MISS_NANO + 13 * OUTPUT_NANO
REPORTS = {
    "plain": Report(_object(), PLAIN, PLAIN_NANO),
    "cached": Report(
        _object(prompt_tokens_details={"cached_tokens": 4}),
        Usage(7, 4, output=13),
        7 * MISS_NANO + 4 * HIT_NANO + 13 * OUTPUT_NANO,
    ),
    "more cached than there is": Report(
        _object(prompt_cache_hit_tokens=99), Usage(0, 11, output=13), 11 * HIT_NANO + 13 * OUTPUT_NANO
    ),
    "reasoning, a part of output": Report(
        _object(completion_tokens_details={"reasoning_tokens": 9}), PLAIN._replace(reasoning=9), PLAIN_NANO
    ),
    "more reasoning than output": Report(
        _object(completion_tokens_details={"reasoning_tokens": 99}), PLAIN._replace(reasoning=13), PLAIN_NANO
    ),
    "audio, counted already": Report(
        _object(
            prompt_tokens_details={"audio_tokens": 5, "image_tokens": 2, "text_tokens": 4},
            completion_tokens_details={"audio_tokens": 6, "accepted_prediction_tokens": 3},
        ),
        PLAIN,
        PLAIN_NANO,
    ),
    "a tier": Report(_object(service_tier="priority"), PLAIN, PLAIN_NANO, extra={"service_tier": "priority"}),
    "a wrong total": Report(_object(total_tokens=1), PLAIN, PLAIN_NANO),
    "null": Report(None, None),
    "nothing": Report({}, None),
    "text": Report("a lot", None),
    "nulls": Report(_object(None, None), None),
    "negative": Report(_object(-5, -3), None),
    "a negative prompt": Report(_object(-5), None),
    "beyond all numbers": Report(_object(10**12), None),
    "larger than the hold": Report(
        _object(output=5000), Usage(11, output=5000), 11 * MISS_NANO + 5000 * OUTPUT_NANO, overrun=True
    ),
    "a prompt larger than the hold": Report(
        _object(90_000), Usage(90_000, output=13), 90_000 * MISS_NANO + 13 * OUTPUT_NANO, overrun=True
    ),
    "one token more than the cap": Report(
        _object(11, CAP + 1), Usage(11, output=CAP + 1), 11 * MISS_NANO + (CAP + 1) * OUTPUT_NANO
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REPORTS)
async def test_odd_usage_is_what_it_says_or_our_own_count(name: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """What can be is believed, in full, on every budget; what cannot be is no report; each overrun is flagged."""
    report = REPORTS[name]
    async with open_house(budgets=[MONEY, TOKENS]) as house:
        house.upstream.call(lambda asked: _reporting(asked, [report.says], report.extra))
        assert (await house.answer(chat("odd", stream=stream, max_completion_tokens=CAP))).status == 200
        (attempt,) = house.attempts
        if report.used is None:
            assert attempt.estimated
            assert 0 < attempt.usage.output <= CAP
            assert 0 < (attempt.charged_nano or 0) <= (attempt.held_nano or 0)
        else:
            assert (attempt.usage, attempt.charged_nano, attempt.estimated) == (report.used, report.nano, False)
        assert attempt.overrun == report.overrun
        assert posted(house) == {"money": attempt.charged_nano, "tokens": attempt.usage.total}


@pytest.mark.parametrize(
    ("says", "used"),
    [
        ([_object(), _object()], PLAIN),
        ([_object(output=5), _object()], PLAIN),
        ([_object(), None], PLAIN),
        ([_object(), {}], PLAIN),
        ([_object(), _object(output=5000)], Usage(11, output=5000)),
    ],
)
async def test_usage_that_comes_twice_counts_once(says: list[Any], used: Usage) -> None:
    """The last that says something; never the sum, and never nothing after something."""
    async with open_house(budgets=[MONEY, TOKENS]) as house:
        house.upstream.call(lambda asked: _reporting(asked, says, {}))
        await house.answer(chat("twice", stream=True, max_completion_tokens=CAP))
        (attempt,) = house.attempts
        assert (attempt.usage, attempt.estimated) == (used, False)
        assert posted(house)["tokens"] == used.total


# --- an over-run is reported


async def test_an_overrun_is_reported_for_its_request_and_on_every_budget() -> None:
    """Flagged in its row and in what ``spend show`` prints; the budgets are beyond their limit, and closed."""
    small = [MONEY | {"limit": "0.01 CNY"}, TOKENS | {"limit": "2000 tokens"}]
    async with open_house(budgets=small) as house:
        house.upstream.reply(usage=Usage(50, output=5000))
        assert (await house.answer(chat("a", max_completion_tokens=300))).status == 200
        (attempt,) = house.attempts
        assert attempt.overrun
        shown = [(line["field"], line["value"]) for line in view(await _stored(house)) if line["row"] == "attempt"]
        assert ("overrun", "yes") in shown
        held = next(value for name, value in shown if name == "held")
        assert str(held).endswith(" CNY")
        assert posted(house) == {"money": 50 * MISS_NANO + 5000 * OUTPUT_NANO, "tokens": 5050}
        assert all(each.used > each.limit for each in house.gateway.treasury.standings())
        assert (await house.answer(chat("b", max_completion_tokens=300))).status == 429
        assert len(house.upstream.calls) == 1


async def test_an_overrun_takes_nothing_from_what_others_hold() -> None:
    """Calls under way keep their holds and are settled; who waits is refused rather than let past the limit."""
    async with open_house(budgets=[TOKENS | {"limit": "3000 tokens"}]) as house:
        house.upstream.reply(usage=Usage(50, output=5000), after_s=1).reply(usage=PLAIN, after_s=2).reply()
        bodies = [chat(text, max_completion_tokens=1200) for text in "abc"]
        asked = [house.ask(body) for body in bodies]
        await house.rest()
        assert [asking.status for asking in asked] == [200, 200, 429]
        assert posted(house)["tokens"] == 5050 + PLAIN.total
        opened = [row for row in house.ledger.rows if isinstance(row, AttemptRow) and row.outcome == OPEN]
        assert len(opened) == 2


async def _stored(house: House) -> Any:
    return await house.gateway.stores.reader.exchange(house.exchanges[0].id)


def _reporting(asked: Asked, says: list[Any], extra: dict[str, Any]) -> Play:
    """An answer of one word with these usage objects, each in a chunk of its own."""
    answer = Answer(("odd ",), MARK, extra=extra)
    if not asked.streamed:
        return Play((_with(whole(answer, asked.dialect), says[0]),), headers=JSON)
    *before, usage, done = events(answer, asked.dialect, usage=True)
    return Play([*before, *(_with(usage, each) for each in says), done], headers=SSE)


def _with(said: bytes, usage: Any) -> bytes:
    assert said.count(_encode(usage_fields(MARK))) == 1
    return said.replace(_encode(usage_fields(MARK)), _encode(usage))
