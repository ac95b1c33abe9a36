"""What is charged, to whom, in which currency, when clients leave, calls fail, and providers say nothing or zero."""

import asyncio
import json
from typing import Any

import pytest

from penstock.core.usage import NO_USAGE, Usage
from penstock.ports.ledger import SpendQuery
from penstock.providers.play import Play
from tests.support.house import BASE, END_S, EPOCH, PRICES, URLS, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

PIECES = ["a", "b", "c", "d"]
USAGE = Usage(input_miss=11, output=13)
COST = 11 * 2000 + 13 * 8000


async def spent(house: House, by: str = "model") -> dict[str, int]:
    """The report's total."""
    _, total = await house.gateway.stores.reader.spend(SpendQuery(by, EPOCH - 10, EPOCH + 10**6, "UTC"))
    return {name: getattr(total, name) for name in ("cost_nano", "wasted_nano", "unpriced", "errors", "saved_nano")}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("model", ["m", "stopping"])
@pytest.mark.parametrize("after", range(8))
async def test_a_client_may_leave_at_any_chunk(after: int, model: str, dialect: str) -> None:
    """At a provider that completes: the exact bill. At one that stops: what was said until then, estimated."""
    async with open_house() as house:
        house.upstream.stream(PIECES, after_s=1, gap_s=1, usage=USAGE)
        body = chat(model=model, stream=True) if dialect == "chat" else message(model=model, stream=True)
        asking = house.ask(body)
        if after:
            await asking.begun(after)
        else:
            await asyncio.sleep(0.5)
        left_at = house.now
        over = asking.complete
        asking.leave()
        await asking.done()
        row, attempt = house.exchanges[0], house.attempts[0]
        assert row.cost_nano == attempt.charged_nano
        if model == "m" or row.outcome == "ok":
            assert (attempt.usage.total, attempt.estimated) == (USAGE.total, False)
            assert row.cost_nano == COST
        else:
            assert not over
            assert row.outcome == "client_gone"
            assert house.upstream.calls[0].ended_at == left_at
            assert attempt.usage.prompt > 0
            assert attempt.usage.output <= len(PIECES)
            assert attempt.estimated


async def test_what_a_stopping_provider_said_is_counted() -> None:
    """More said, more charged."""
    async with open_house() as house:
        house.upstream.stream(["word " * 20] * 4, gap_s=1).times(3)
        for after in (1, 2, 4):
            asking = await house.ask(chat(str(after), model="stopping", stream=True)).begun(after)
            asking.leave()
            await asking.done()
        outputs = [attempt.usage.output for attempt in house.attempts]
        assert outputs == sorted(set(outputs))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_explicit_zero_of_nothing_stays_zero(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """The provider says that it was free, and nothing came: that is no reason to guess."""
    async with open_house() as house:
        house.upstream.reply("", usage=NO_USAGE)
        await house.answer(chat(stream=stream))
        assert house.attempts[0].usage == NO_USAGE
        assert not house.attempts[0].estimated
        assert house.exchanges[0].cost_nano == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_zeros_are_no_report_of_an_answer(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """No answer was ever made of no tokens: a relay that says so has lost the count."""
    async with open_house() as house:
        house.upstream.reply("an answer", usage=NO_USAGE)
        await house.answer(chat(stream=stream))
        assert house.attempts[0].estimated
        assert house.attempts[0].usage.prompt > 0
        assert house.attempts[0].usage.output > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_zeros_at_the_end_take_no_prompt_back(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Relays of the messages dialect repeat the prompt's counts as zeros in the last event."""
    start: dict[str, Any] = {
        "type": "message_start",
        "message": {"id": "msg_1", "usage": {"input_tokens": 1000, "output_tokens": 1}},
    }
    text: dict[str, Any] = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    last = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 7}
    end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    events = [start, text, end, {"type": "message_stop"}]
    async with open_house() as house:
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
        house.upstream.raw(*lines, headers={"content-type": "text/event-stream"})
        await house.answer(message(model="m" if stream else "folded", stream=stream))
        assert house.attempts[0].usage == Usage(input_miss=1000, output=7)
        assert house.exchanges[0].cost_nano == 1000 * 2000 + 7 * 8000


async def test_a_cut_messages_stream_is_charged_for_what_it_said() -> None:
    """Its first event reports one output token: that is where it began, not what it said."""
    async with open_house() as house:
        house.upstream.reset(["word " * 50, "word " * 50])
        asking = await house.answer(message(stream=True))
        assert "error" in asking.chunks[-1]
        attempt = house.attempts[0]
        assert attempt.estimated
        assert attempt.usage.output >= 100


async def test_a_whole_answer_that_ends_within_its_json_is_charged_as_one_that_was_cut() -> None:
    """The provider worked and bills it, so its whole hold is charged, and no second call goes to the same account."""
    budget = {"name": "all", "scope": "global", "limit": "1 CNY", "window": "total"}
    async with open_house(budgets=[budget]) as house:
        house.upstream.cut(["half"])
        assert (await house.answer(chat(max_tokens=100))).status >= 500
        (cut,) = house.attempts
        assert cut.estimated
        assert cut.charged_book_nano == cut.held_nano


async def test_a_retry_that_was_billed_is_wasted() -> None:
    """It is part of what the exchange cost, and of no saving."""
    async with open_house() as house:
        house.upstream.reply("", finish="insufficient_system_resource", usage=USAGE).reply(usage=USAGE)
        await house.answer(chat())
        row = house.exchanges[0]
        assert (row.cost_nano, row.baseline_nano, row.attempts) == (2 * COST, COST, 2)
        assert await spent(house) == {
            "cost_nano": 2 * COST, "wasted_nano": COST, "unpriced": 0, "errors": 0, "saved_nano": -COST,
        }  # fmt: skip


async def test_what_no_price_covers_is_unpriced_and_never_free() -> None:
    """Counted as such, without a cost header; a hit on it saves nothing that anyone could name."""
    providers = {"one": {"kind": "scripted"}}
    async with open_house(providers=providers, models={"m": BASE["models"]["m"]}) as house:
        asking, again = await house.answer(chat()), await house.answer(chat())
        assert "x-penstock-cost" not in asking.headers
        assert "x-penstock-saved" not in again.headers
        assert [row.cost_nano for row in house.exchanges] == [None, 0]
        assert [row.baseline_nano for row in house.exchanges] == [None, None]
        assert (await spent(house))["unpriced"] == 2


async def test_other_currencies_are_kept_beside_the_books() -> None:
    """Both amounts and the rate; the book's is what counts."""
    providers = {"one": {"kind": "scripted", "prices": {**PRICES, "currency": "USD"}}}
    async with open_house(providers=providers, models={"m": BASE["models"]["m"]}, fx={"USD": 7.1}) as house:
        house.upstream.reply(usage=USAGE)
        asking = await house.answer(chat())
        attempt = house.attempts[0]
        assert (attempt.charged_nano, attempt.currency, attempt.fx_rate) == (COST, "USD", "7.1")
        assert attempt.charged_book_nano == house.exchanges[0].cost_nano == COST * 71 // 10
        assert asking.headers["x-penstock-cost"].endswith(" CNY")


async def test_the_baseline_is_the_model_that_was_asked_for() -> None:
    """Served elsewhere, the first deployment's price is what it is measured against."""
    dear = {"kind": "scripted", "prices": {**PRICES, "input": 20, "output": 80}}
    async with open_house(providers={"one": dear, "two": BASE["providers"]["two"]}) as house:
        house.upstream.at("one").fail(503)
        house.upstream.at("two").reply(usage=USAGE)
        await house.answer(chat(model="duo"))
        assert house.exchanges[0].cost_nano == COST
        assert house.exchanges[0].baseline_nano == 10 * COST


async def test_an_aliass_fields_go_out_unless_the_client_set_them() -> None:
    """And are part of the request in every way; the answer's own ``model`` stays the provider's."""
    alias = {"quick": {"temperature": 0, "thinking": {"type": "disabled"}}}
    async with open_house(models={"m": {**BASE["models"]["m"], "aliases": alias}}) as house:
        asking = await house.answer(chat(model="quick", temperature=0.7))
        sent = house.upstream.calls[0].json
        assert sent["model"] == "m-1"
        assert (sent["temperature"], sent["thinking"]) == (0.7, {"type": "disabled"})
        assert asking.json["model"] == "scripted"
        assert house.exchanges[0].model == "quick"


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_a_whole_answer_may_be_fetched_as_a_stream(dialect: str) -> None:
    """``stream_upstream``: nothing but the wire is different; length alone never times out."""
    body = {"chat": chat(), "completions": {"model": "m", "prompt": "hi"}, "messages": message()}[dialect]
    tight = {"first_byte": "2s", "between": "2s", "total": "900s"}
    async with open_house(timeouts=tight) as house:
        house.upstream.stream(["x"] * 20, gap_s=1, usage=USAGE)
        asking = await house.answer({**body, "model": "folded"})
        assert (asking.status, asking.text) == (200, "x" * 20)
        assert asking.headers["content-type"] == "application/json"
        assert asking.headers["x-penstock-cost"]
        assert house.upstream.calls[0].streamed
        assert house.exchanges[0].usage == USAGE
        assert not house.exchanges[0].streamed


async def test_tokens_are_counted_for_free() -> None:
    """By the provider where it counts; no usage, no cost."""
    async with open_house() as house:
        house.upstream.reply(usage=Usage(input_miss=42))
        asking = await house.answer(message(), URLS["count_tokens"])
        assert asking.json == {"input_tokens": 42}
        assert house.upstream.calls[0].call.url.endswith("/messages/count_tokens")
        assert (house.exchanges[0].usage, house.exchanges[0].cost_nano) == (NO_USAGE, 0)
        assert house.exchanges[0].endpoint == "count_tokens"


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_where_a_provider_does_not_count_we_do(status: int) -> None:
    """Clients such as Claude Code need an answer, and an estimate is one."""
    async with open_house() as house:
        house.upstream.call(lambda _: Play((b"not found",), status)).forever()
        asking = await house.answer(message("x" * 100), URLS["count_tokens"])
        assert asking.status == 200
        assert 20 < asking.json["input_tokens"] < 50
        assert house.exchanges[0].outcome == "ok"


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_other_errors_of_a_count_go_out(status: int) -> None:
    """They say something about the request, the account, the hour."""
    async with open_house(retry={"attempts": 1}) as house:
        house.upstream.fail(status)
        assert (await house.answer(message(), URLS["count_tokens"])).status >= 400


async def test_every_refusal_has_its_row() -> None:
    """Whatever stage refuses: one row, no cost, the status that the client got."""
    async with open_house(limits={"max_concurrency": 1, "max_queue": 0}) as house:
        key = await house.add_key("k", models=("m",), rpm=3)
        house.upstream.reply(after_s=5).fail(400)
        statuses = [
            (await house.answer(chat())).status,
            (await house.answer(b"{", key=key)).status,
            (await house.answer(chat(model="none"), key=key)).status,
            (await house.answer(chat(model="duo"), key=key)).status,
        ]
        held = house.ask(chat("held"), key=key)
        await asyncio.sleep(1)
        statuses.append((await house.answer(chat("2"), key=key)).status)
        statuses.append((await held.done()).status)
        statuses.append((await house.answer(chat("3"), key=key)).status)
        statuses.append((await house.answer(chat("4"), key=key)).status)
        assert statuses == [401, 400, 404, 403, 503, 200, 400, 429]
        assert [row.status for row in house.exchanges] == statuses
        assert (await spent(house))["errors"] == 7
