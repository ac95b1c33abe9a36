"""Budgets are walls: what fits is served, what does not is refused before it is sent, and nothing is overspent."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from penstock.core.budget import Payer
from penstock.core.records import OPEN, AttemptRow, ExchangeRow
from penstock.core.usage import Usage
from penstock.pipeline.exchange import Exchange
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.memory_ledger import MemoryLedger
from tests.support.asgi_client import Asking
from tests.support.house import BASE, END_S, House, KeptLedger, chat, message, open_house, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

USAGE = Usage(input_miss=11, output=13)
COST = 11 * 2000 + 13 * 8000


def budget(limit: str, **more: Any) -> dict[str, Any]:
    """One budget over everything, for ever."""
    return {"name": "all", "scope": "global", "limit": limit, "window": "total", **more}


class Counted:
    """A provider that counts words: its prompt and its answer are known to the token."""

    def prompt(self, exchange: Exchange) -> int:
        """What ``USAGE`` says."""
        assert exchange.fields
        return USAGE.input_miss

    def said(self, text: str) -> int:
        """A word is a token."""
        return len(text.split())


def posted(house: House, name: str = "all", value: str = "") -> int:
    """What a budget's account holds."""
    return next(
        each.used for each in house.gateway.treasury.standings() if (each.budget.name, each.value) == (name, value)
    )


def served(askings: list[Asking]) -> int:
    """How many got their answer."""
    return sum(asking.status == 200 for asking in askings)


async def test_a_thousand_at_once_spend_exactly_what_is_there() -> None:
    """Fifty calls' worth: fifty are served, nobody is refused who would have fitted, and nothing is overspent."""
    async with open_house(budgets=[budget(f"{50 * COST / 1e9:.9f} CNY")], tokenizers={"scripted": Counted()}) as house:
        house.upstream.reply(after_s=1, usage=USAGE).forever()
        askings = [house.ask(chat(str(number), max_tokens=13)) for number in range(1000)]
        await house.rest()
        assert served(askings) == 50
        assert posted(house) == 50 * COST
        assert len(house.upstream.calls) == 50
        assert {asking.status for asking in askings} == {200, 429}


async def test_a_refusal_says_everything() -> None:
    """Which budget, how much of what, until when, when to come back, and that asking again will not help."""
    daily = budget("1000 tokens", name="daily", scope="user", window="day", timezone="Asia/Shanghai")
    async with open_house(budgets=[daily]) as house:
        house.upstream.reply(usage=Usage(900, 0, 0, 90)).forever()
        assert (await house.answer(chat(max_completion_tokens=90, user="alice"))).status == 200
        refused = await house.answer(chat("again", max_completion_tokens=90, user="alice"))
        assert refused.status == 429
        assert refused.error["code"] == "budget_exceeded"
        told = refused.error["budget"]
        assert (told["budget"], told["scope"], told["value"]) == ("daily", "user", "alice")
        assert (told["used"], told["limit"], told["unit"]) == ("990", "1000", "tokens")
        assert told["resets_at"].endswith("+08:00")
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert refused.headers["x-should-retry"] == "false"
        assert (await house.answer(chat("again", max_completion_tokens=90, user="bob"))).status == 200
        row = house.exchanges[1]
        assert row.avoided_nano
        assert row.cost_nano == 0


async def test_who_fits_beside_what_is_spent_waits_in_order() -> None:
    """Two calls hold all there is: a third waits until they end, and is served in its turn."""
    async with open_house(budgets=[budget("3000 tokens")]) as house:
        house.upstream.reply(after_s=2, usage=USAGE).forever()
        askings = [house.ask(chat(str(number), max_tokens=1000)) for number in range(4)]
        await house.rest()
        assert served(askings) == 4
        assert house.now == pytest.approx(4, abs=0.01)
        assert posted(house) == 4 * USAGE.total


async def test_waiting_ends_with_a_refusal() -> None:
    """After ``budget_wait``, and without a call."""
    async with open_house(budgets=[budget("1500 tokens")], budget_wait="3s") as house:
        house.upstream.reply(after_s=60, usage=USAGE).forever()
        first, second = (
            house.ask(chat("a", max_completion_tokens=1000)),
            house.ask(chat("b", max_completion_tokens=1000)),
        )
        assert (await second.done()).status == 429
        assert house.now == pytest.approx(3, abs=0.01)
        assert (await first.done()).status == 200


async def test_nobody_waits_longer_than_its_own_time() -> None:
    """A request that allows itself a second is not kept for five."""
    async with open_house(budgets=[budget("1500 tokens")]) as house:
        house.upstream.reply(after_s=60, usage=USAGE).forever()
        first = house.ask(chat("a", max_completion_tokens=1000))
        second = house.ask(chat("b", max_completion_tokens=1000), headers={"timeout": "1"})
        assert (await second.done()).status == 429
        assert house.now == pytest.approx(1, abs=0.01)
        assert (await first.done()).status == 200


async def test_one_who_waits_may_leave() -> None:
    """The line closes up behind it."""
    async with open_house(budgets=[budget("1500 tokens")]) as house:
        house.upstream.reply(after_s=2, usage=USAGE).forever()
        askings = [house.ask(chat(str(number), max_tokens=1000)) for number in range(3)]
        await asyncio.sleep(1)
        askings[1].leave()
        await house.rest()
        assert [asking.status for asking in askings] == [200, 0, 200]
        assert house.now == pytest.approx(4, abs=0.01)


async def test_the_cap_is_lowered_to_what_is_left() -> None:
    """And sent: no provider can spend more than was held."""
    async with open_house(budgets=[budget("1000 tokens")]) as house:
        house.upstream.reply(usage=USAGE).forever()
        await house.answer(chat(max_completion_tokens=5000))
        cap = house.upstream.calls[0].json["max_completion_tokens"]
        assert 256 <= cap < 1000
        held = next(row for row in house.ledger.rows if isinstance(row, AttemptRow) and row.outcome == OPEN)
        assert held.held_tokens <= 1000


async def test_without_a_budget_nothing_is_injected() -> None:
    """Not even where a soft one watches."""
    async with open_house(budgets=[budget("1 tokens", hard=False)]) as house:
        await house.answer(chat())
        assert "max_tokens" not in house.upstream.calls[0].json
        assert posted(house) > 1


async def test_a_client_without_a_cap_gets_the_models() -> None:
    """``default_output``, under the name that the provider reads."""
    async with open_house(budgets=[budget("100000 tokens")]) as house:
        await house.answer(chat())
        assert house.upstream.calls[0].json["max_tokens"] == 8192


async def test_every_billed_attempt_is_charged_and_each_holds_for_itself() -> None:
    """A retry is a second call, and a second hold."""
    async with open_house(budgets=[budget("100 CNY")]) as house:
        house.upstream.reply("", finish="insufficient_system_resource", usage=USAGE).reply(usage=USAGE)
        await house.answer(chat())
        assert posted(house) == 2 * COST == sum(row.charged_book_nano or 0 for row in house.attempts)
        opened = [row for row in house.ledger.rows if isinstance(row, AttemptRow) and row.outcome == OPEN]
        assert len(opened) == 2
        assert all((row.held_nano or 0) >= COST for row in opened)


async def test_a_further_call_that_does_not_fit_is_not_made() -> None:
    """The client gets the failure of the one that was."""
    async with open_house(budgets=[budget("1000 tokens")], budget_wait="0s") as house:
        house.upstream.reply("", finish="insufficient_system_resource", usage=Usage(500, 0, 0, 400)).reply()
        asking = await house.answer(chat(max_completion_tokens=600))
        assert asking.status == 503
        assert len(house.upstream.calls) == 1


async def test_hits_and_joined_answers_cost_no_budget() -> None:
    """Also when there is nothing left."""
    async with open_house(budgets=[budget("1000 tokens")]) as house:
        house.upstream.reply(usage=Usage(500, 0, 0, 500), after_s=1)
        askings = [house.ask(chat(max_completion_tokens=500)) for _ in range(5)]
        await house.rest()
        assert served(askings) == 5
        assert (await house.answer(chat(max_completion_tokens=500))).headers["x-penstock-cache"] == "exact"
        assert (await house.answer(chat("new", max_completion_tokens=500))).status == 429
        assert posted(house) == 1000


async def test_what_has_no_price_or_no_bound_is_refused_under_a_budget() -> None:
    """Nobody could say that it fits; without a budget it is served."""
    part = {"type": "file", "file": {"file_id": "file-1"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    unpriced = {"one": {"kind": "scripted"}}
    async with open_house(budgets=[budget("1000000 tokens")]) as house:
        asking = await house.answer(body)
        assert (asking.status, asking.error["code"]) == (400, "cost_unbounded")
    async with open_house(budgets=[budget("1 CNY")], providers=unpriced, models={"m": BASE["models"]["m"]}) as house:
        asking = await house.answer(chat())
        assert (asking.status, asking.error["code"]) == (400, "cost_unbounded")
    async with open_house(
        budgets=[budget("1000000 tokens")], providers=unpriced, models={"m": BASE["models"]["m"]}
    ) as house:
        assert (await house.answer(chat())).status == 200


async def test_usage_above_its_hold_is_posted_in_full_and_flagged() -> None:
    """A provider that does not keep to its cap is paid, and known."""
    async with open_house(budgets=[budget("100000 tokens")]) as house:
        house.upstream.reply(usage=Usage(50, 0, 0, 5000))
        await house.answer(chat(max_completion_tokens=10))
        assert house.attempts[0].overrun
        assert posted(house) == 5050


async def test_a_stream_at_a_provider_that_stops_holds_a_slice_and_tops_up() -> None:
    """A worst-case hold would starve the budget; the slice grows ahead of the answer."""
    async with open_house(budgets=[budget("100000 tokens")]) as house:
        house.upstream.stream(["word " * 100] * 20, gap_s=1, usage=Usage(11, 0, 0, 2000))
        asking = await house.ask(chat(model="stopping", stream=True)).begun(1)
        early = next(each.pending for each in house.gateway.treasury.standings())
        assert early < 2000
        await asking.done()
        assert asking.status == 200
        assert not house.attempts[0].overrun
        assert posted(house) == 2011


async def test_a_stream_is_cut_where_no_slice_fits_any_more() -> None:
    """Of two that grow together one ends with an error event, charged for what it said; its provider stops."""
    async with open_house(budgets=[budget("3400 tokens")]) as house:
        house.upstream.stream(["word " * 100] * 6, gap_s=1, usage=None).times(2)
        askings = [house.ask(chat("a", model="stopping", stream=True))]
        await asyncio.sleep(0.5)
        askings.append(house.ask(chat("b", model="stopping", stream=True)))
        await house.rest()
        cut = [asking for asking in askings if b"budget_exceeded" in asking.body]
        assert len(cut) == 1
        assert cut[0].error["code"] == "budget_exceeded"
        assert sum(len(asking.text.split()) for asking in askings) < 1200
        assert 0 < posted(house) <= 3400


async def test_a_provider_that_ignores_its_cap_is_cut() -> None:
    """Counted by its own tokenizer: within one chunk of the hold."""
    async with open_house(budgets=[budget("10000 tokens")], tokenizers={"scripted": Counted()}) as house:
        house.upstream.stream(["word " * 10] * 50, gap_s=1)
        asking = await house.answer(chat(stream=True, max_completion_tokens=100))
        assert asking.error["code"] == "budget_exceeded"
        assert len(asking.text.split()) <= 110


async def test_several_budgets_must_all_admit() -> None:
    """The whole house, the team, the user; refused spend is on none of them."""
    budgets = [
        budget("100000 tokens"),
        budget("5000 tokens", name="team", scope="team"),
        budget("2000 tokens", name="user", scope="user", entries={"vip": "4000 tokens"}),
    ]
    async with open_house(budgets=budgets) as house:
        house.upstream.reply(usage=Usage(900, 0, 0, 700)).forever()
        key = await house.add_key("k", team="red")
        for user, expected in (("u", [200, 429]), ("vip", [200, 200]), ("w", [429])):
            got = [
                (await house.answer(chat(f"{user}{number}", max_completion_tokens=1000, user=user), key=key)).status
                for number in range(len(expected))
            ]
            assert got == expected, user
        assert posted(house, "team", "red") == 4800


async def test_those_who_name_nobody_share_the_entry_of_the_empty_name() -> None:
    """Held, shown and refused by it, whoever they are; who has a name is not concerned."""
    entries = {"": "1000 tokens"}
    async with open_house(budgets=[budget("5000 tokens", scope="user", unlisted="deny", entries=entries)]) as house:
        house.upstream.reply(usage=Usage(300, 0, 0, 400)).forever()
        assert house.gateway.treasury.standings()[0].limit == 1000
        bodies = [chat("a", max_completion_tokens=500), chat("b", max_completion_tokens=500, user="")]
        first, refused = [await house.answer(body) for body in bodies]
        assert (first.status, refused.status) == (200, 429)
        assert posted(house) == 700
        assert "the budget 'all' of those without a user is used up" in refused.error["message"]
        assert (refused.error["budget"]["value"], refused.error["budget"]["limit"]) == ("", "1000")
        assert (await house.answer(chat("c", max_completion_tokens=300, user="ann"))).status == 429
    async with open_house(budgets=[budget("5000 tokens", scope="user", entries={"": "0 tokens"})]) as house:
        assert (await house.answer(chat("a"))).status == 429
        assert (await house.answer(chat("a", max_completion_tokens=300, user="ann"))).status == 200


async def test_the_unlisted_may_be_denied() -> None:
    """Only who has an entry may spend."""
    async with open_house(
        budgets=[budget("5000 tokens", scope="user", unlisted="deny", entries={"a": "5000 tokens"})]
    ) as house:
        assert (await house.answer(chat(max_completion_tokens=300, user="a"))).status == 200
        assert (await house.answer(chat("x", max_completion_tokens=300, user="b"))).status == 429


async def test_the_ladder_steps_down_before_it_refuses() -> None:
    """A stale answer, then no thinking, then a cheaper model: each named in a header and in the ledger."""
    ladder = {"stale": 0.1, "thinking_off": 0.3, "cheaper": 0.5, "refuse": 0.9}
    models = {**BASE["models"], "m": {**BASE["models"]["m"], "cheaper": "stopping"}}
    cache = {"exact": {"ttl": "10s", "stale": "1h"}}
    async with open_house(budgets=[budget("10000 tokens", ladder=ladder)], models=models, cache=cache) as house:
        house.upstream.reply(usage=Usage(1000, 0, 0, 1000)).forever()
        asked = 0

        async def ask(text: str = "") -> Asking:
            nonlocal asked
            asked += 1
            return await house.answer(chat(text or str(asked), max_tokens=1000))

        assert "x-penstock-degraded" not in (await ask("first")).headers
        await house.gateway.clock.sleep(60)
        stale = await ask("first")
        assert (stale.headers["x-penstock-cache"], stale.headers["x-penstock-degraded"]) == ("exact", "stale")
        await ask()
        calm = await ask()
        assert calm.headers["x-penstock-degraded"] == "thinking_off"
        assert house.upstream.calls[-1].json["thinking"] == {"type": "disabled"}
        cheap = await ask()
        assert cheap.headers["x-penstock-degraded"] == "thinking_off,cheaper"
        assert cheap.headers["x-penstock-deployment"] == "two/m-2"
        await ask()
        refused = await ask()
        assert refused.status == 429
        rows = [row for row in house.ledger.rows if isinstance(row, ExchangeRow) and row.outcome != OPEN]
        assert [row.degraded for row in rows[-2:]] == ["thinking_off,cheaper", "thinking_off,cheaper,refuse"]
        assert {row.model for row in rows} == {"m"}


async def test_a_client_that_leaves_frees_what_it_held() -> None:
    """At a provider that stops: what was said is posted, the rest is free at once."""
    async with open_house(budgets=[budget("3000 tokens")]) as house:
        house.upstream.stream(["word "] * 50, gap_s=1).reply()
        asking = await house.ask(chat(model="stopping", stream=True, max_completion_tokens=500)).begun(5)
        asking.leave()
        await asking.done()
        standing = house.gateway.treasury.standings()[0]
        assert standing.pending == 0
        assert 0 < standing.used < 500
        assert (await house.answer(message(max_tokens=1000))).status == 200


async def test_a_refusal_names_the_budget_that_is_in_the_way() -> None:
    """Not the one that is fullest: its reset is what the client should wait for."""
    budgets = [
        budget("10000 tokens"),
        budget("300 tokens", name="mine", scope="user", window="day"),
    ]
    async with open_house(budgets=budgets) as house:
        house.upstream.reply(usage=Usage(900, 0, 0, 100))
        posted_before = await house.answer(chat(max_completion_tokens=1000, user=""))
        assert posted_before.status == 429
        assert posted_before.error["budget"]["budget"] == "mine"


async def test_alerts_are_about_what_is_spent(caplog: pytest.LogCaptureFixture) -> None:
    """Once per fraction; a hold, which may fill the budget, is no alert."""
    async with open_house(budgets=[budget("2000 tokens", alerts=[0.4, 0.8])]) as house:
        house.upstream.reply(usage=USAGE, after_s=1).reply(usage=Usage(800, 0, 0, 100)).reply(usage=Usage(10, 0, 0, 1))
        for text in "abc":
            await house.answer(chat(text, max_completion_tokens=700))
        told = [record.alert for record in caplog.records if record.message == "a budget nears its limit"]  # type: ignore[attr-defined] # our extra
        assert told == [0.4]


async def test_changing_a_limit_takes_effect_at_once() -> None:
    """For the next request, and for who waits; what was spent stays spent."""
    async with open_house(budgets=[budget("1500 tokens")]) as house:
        house.upstream.reply(after_s=30, usage=USAGE).forever()
        first = house.ask(chat("a", max_completion_tokens=1000))
        await asyncio.sleep(1)
        waiting = house.ask(chat("b", max_completion_tokens=1000))
        await asyncio.sleep(1)
        await house.gateway.adopt(settings_of(budgets=[budget("9000 tokens")]))
        await asyncio.sleep(1)
        assert len(house.upstream.calls) == 2
        await house.rest()
        assert served([first, waiting]) == 2
        await house.gateway.adopt(settings_of(budgets=[budget("10 tokens")]))
        assert (await house.answer(chat("c"))).status == 429
        await house.gateway.adopt(settings_of())
        assert (await house.answer(chat("c"))).status == 200


async def test_a_new_budget_knows_what_was_spent_before_it() -> None:
    """From the ledger, once, also of calls that are under way when it comes; one that is deleted while held is gone."""
    async with open_house() as house:
        house.upstream.reply(usage=USAGE).reply(after_s=10, usage=USAGE)
        await house.answer(chat("before"))
        under_way = house.ask(chat("under way"))
        await asyncio.sleep(1)
        await house.gateway.adopt(settings_of(budgets=[budget("9000 tokens")]))
        assert posted(house) == USAGE.total
        await under_way.done()
        assert posted(house) == 2 * USAGE.total
        held = house.ask(chat("held"))
        await asyncio.sleep(1)
        await house.gateway.adopt(settings_of())
        assert (await held.done()).status == 200
        assert house.gateway.treasury.standings() == []


class SlowLedger(KeptLedger):
    """It takes its time to say what was posted."""

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """Two seconds later."""
        await asyncio.sleep(2)
        return await super().posted(queries, excluding=excluding)


async def test_what_is_left_of_a_new_budget_is_known_before_it_is_measured() -> None:
    """Who asks while its history is read waits: what has been spent already is no room."""
    async with open_house(kept=SlowLedger(MemoryLedger())) as house:
        house.upstream.reply(usage=Usage(400, 0, 0, 300)).forever()
        await house.answer(chat("before"))
        treasury, before = house.gateway.treasury, house.now
        adopting = asyncio.create_task(house.gateway.adopt(settings_of(budgets=[budget("1500 tokens")])))
        await asyncio.sleep(1)
        assert treasury.room(Payer()) == (None, 1500)
        await treasury.ready()
        assert treasury.room(Payer()) == (None, 800)
        assert house.now - before == pytest.approx(2)
        await adopting
        await treasury.ready()
        assert house.now - before == pytest.approx(2)


async def test_counting_tokens_is_free() -> None:
    """Whatever the budget holds."""
    async with open_house(budgets=[budget("0 tokens")]) as house:
        house.upstream.json({"input_tokens": 7})
        asking = await house.answer(message(), "/v1/messages/count_tokens")
        assert (asking.status, asking.json) == (200, {"input_tokens": 7})
        assert (await house.answer(message())).status == 429
