"""Budgets that are deleted, come back, or change their limit while calls hold them and others wait for them."""

import asyncio
from typing import Any

import pytest

from penstock.core.usage import Usage
from tests.support.bill_provider_scripted import ignore_the_cap
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import END_S, House, chat, open_house, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

USAGE = Usage(11, output=13)


def limited(limit: str) -> list[dict[str, Any]]:
    """One budget over everything, for ever."""
    return [{"name": "all", "scope": "global", "limit": limit, "window": "total"}]


async def change(house: House, limit: str | None) -> None:
    """To another limit; None deletes it."""
    await house.gateway.adopt(settings_of() if limit is None else settings_of(budgets=limited(limit)))


def posted(house: House) -> int:
    """What the account of the one budget holds."""
    (standing,) = house.gateway.treasury.standings()
    return standing.used


@pytest.mark.parametrize("comes_back", ["before it ends", "after it ended"])
async def test_a_budget_that_is_deleted_while_held_comes_back_with_what_was_spent(comes_back: str) -> None:
    """Each call once: what the bank knew, the ledger tells, and is settled meanwhile is the same spending."""
    async with open_house(budgets=limited("9000 tokens")) as house:
        house.upstream.reply(usage=USAGE).reply(after_s=10, usage=USAGE)
        await house.answer(chat("before"))
        held = house.ask(chat("held"))
        await asyncio.sleep(1)
        await change(house, None)
        if comes_back == "after it ended":
            await held.done()
        await change(house, "9000 tokens")
        assert (await held.done()).status == 200
        assert posted(house) == 2 * USAGE.total


async def test_who_waits_for_a_deleted_budget_goes_on() -> None:
    """At once; and when it comes back, nobody stands in its line who is gone."""
    async with open_house(budgets=limited("1500 tokens")) as house:
        house.upstream.reply(after_s=3, usage=USAGE).forever()
        asked = [house.ask(chat(text, max_completion_tokens=1000)) for text in "abc"]
        await asyncio.sleep(1)
        assert len(house.upstream.calls) == 1
        await change(house, None)
        await asyncio.sleep(0.1)
        assert len(house.upstream.calls) == 3
        await house.rest()
        assert {each.status for each in asked} == {200}
        await change(house, "1500 tokens")
        assert (await house.answer(chat("d", max_completion_tokens=1000))).status == 200
        assert house.now == pytest.approx(7, abs=0.2)


async def test_who_waits_must_fit_a_budget_that_comes_meanwhile() -> None:
    """It is a wall for them too: nothing is dispatched that it does not hold."""
    async with open_house(budgets=limited("1500 tokens")) as house:
        house.upstream.reply(after_s=3, usage=USAGE).forever()
        held, waiting = (house.ask(chat(text, max_completion_tokens=1000)) for text in "ab")
        await asyncio.sleep(1)
        small = {"name": "small", "scope": "user", "limit": "500 tokens", "window": "day", "timezone": "UTC"}
        await house.gateway.adopt(settings_of(budgets=[*limited("1500 tokens"), small]))
        assert (await waiting.done()).status == 429
        assert waiting.error["budget"]["budget"] == "small"
        assert (await held.done()).status == 200
        assert len(house.upstream.calls) == 1


@pytest.mark.parametrize("model", ["m", "stopping"])
async def test_an_answer_whose_budget_is_deleted_is_not_cut(model: str) -> None:
    """Nothing limits it any more; what it said beyond its hold is charged and flagged."""
    async with open_house(budgets=limited("9000 tokens"), tokenizers={"scripted": Words()}) as house:
        house.upstream.call(ignore_the_cap).forever()
        prompt = prompt_of("mk-1", say=60, gap_ms=100)
        asking = house.ask(chat(prompt, model=model, stream=True, max_completion_tokens=20))
        await asyncio.sleep(1)
        await change(house, None)
        await asking.done()
        assert len(asking.text.split()) == 60
        assert house.attempts[0].overrun


@pytest.mark.parametrize("limit", ["0 tokens", "20 tokens"])
async def test_a_limit_lowered_below_what_is_held_lets_nothing_more_through(limit: str) -> None:
    """What is under way ends and is paid; who waits is refused, as is who comes."""
    async with open_house(budgets=limited("1500 tokens")) as house:
        house.upstream.reply(after_s=3, usage=USAGE).forever()
        held, waiting = (house.ask(chat(text, max_completion_tokens=1000)) for text in "ab")
        await asyncio.sleep(1)
        await change(house, limit)
        assert (await waiting.done()).status == 429
        assert (await house.answer(chat("c", max_completion_tokens=10))).status == 429
        assert (await held.done()).status == 200
        assert len(house.upstream.calls) == 1
        assert posted(house) == USAGE.total
        await change(house, "9000 tokens")
