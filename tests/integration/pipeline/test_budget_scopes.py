"""Whose account a request falls under, and holds by what was learned of a model."""

from typing import Any

import pytest

from penstock.core.calibration import ENOUGH
from penstock.core.records import OPEN, AttemptRow
from penstock.core.usage import Usage
from tests.support.gateway_with_failpoints import Words
from tests.support.house import BASE, END_S, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

USAGE = Usage(11, output=13)
USUAL = 600


def budget(scope: str, limit: str = "100000 tokens", **more: Any) -> dict[str, Any]:
    """For ever."""
    return {"name": "b", "scope": scope, "limit": limit, "window": "total", **more}


def posted(house: House) -> dict[str, int]:
    """By scope value."""
    return {each.value: each.used for each in house.gateway.treasury.standings()}


def held(house: House) -> list[int]:
    """Tokens that each call held, in order."""
    return [row.held_tokens for row in house.ledger.rows if isinstance(row, AttemptRow) and row.outcome == OPEN]


async def test_each_tag_has_its_account_and_all_of_them_must_admit() -> None:
    """Who has two is counted on both; who has none is under none."""
    async with open_house(budgets=[budget("tag", entries={"env=test": "0 tokens"})]) as house:
        house.upstream.reply(usage=USAGE).forever()
        statuses = [
            (await house.answer(chat(str(number)), headers={"x-penstock-tags": tags} if tags else {})).status
            for number, tags in enumerate(("feature=search,env=prod", "env=prod", "feature=chat,env=test", ""))
        ]
        assert statuses == [200, 200, 429, 200]
        assert posted(house) == {"feature=search": USAGE.total, "env=prod": 2 * USAGE.total, "env=test": 0}


async def test_a_model_is_counted_under_the_name_that_was_asked_for() -> None:
    """An alias is a model of its own to those who pay."""
    models = {**BASE["models"], "m": {**BASE["models"]["m"], "aliases": {"quick": {"temperature": 0}}}}
    async with open_house(budgets=[budget("model", entries={"stopping": "0 tokens"})], models=models) as house:
        house.upstream.reply(usage=USAGE).forever()
        names = ("m", "quick", "duo", "stopping")
        assert [(await house.answer(chat(model=name))).status for name in names] == [200, 200, 200, 429]
        assert posted(house) == {"m": USAGE.total, "quick": USAGE.total, "duo": USAGE.total, "stopping": 0}


async def test_those_without_a_user_or_a_team_share_one_account() -> None:
    """An absent value is a value."""
    async with open_house(budgets=[budget("user"), budget("team") | {"name": "c"}]) as house:
        house.upstream.reply(usage=USAGE).forever()
        for number, fields in enumerate(({}, {"user": ""}, {"user": "alice"})):
            await house.answer(chat(str(number), **fields))
        accounts = [(each.budget.name, each.value, each.used) for each in house.gateway.treasury.standings()]
        assert sorted(accounts) == [("b", "", 2 * USAGE.total), ("b", "alice", USAGE.total), ("c", "", 3 * USAGE.total)]


async def test_an_answer_is_not_capped_below_what_its_model_usually_says() -> None:
    """Once that is known: it would be paid for and cut. Of a model that nobody has asked yet nothing is known."""
    limit = ENOUGH * (1 + USUAL) + 1 + 400
    async with open_house(budgets=[budget("global", f"{limit} tokens")], tokenizers={"scripted": Words()}) as house:
        house.upstream.reply(usage=Usage(1, output=USUAL)).times(ENOUGH).reply(usage=Usage(1, output=10))
        for number in range(ENOUGH):
            assert (await house.answer(chat(str(number), max_completion_tokens=USUAL))).status == 200
        assert (await house.answer(chat("once", max_completion_tokens=5000))).status == 429
        assert len(house.upstream.calls) == ENOUGH
        assert (await house.answer(chat("more", model="stopping", max_completion_tokens=5000))).status == 200
        assert house.upstream.calls[-1].json["max_completion_tokens"] == 400


@pytest.mark.parametrize("bound", ["bytes", "calibrated"])
async def test_a_calibrated_bound_holds_prompts_by_what_was_seen(bound: str) -> None:
    """Closer to what is billed, once enough was seen; the one of bytes stays as it was, and no hold is too low."""
    async with open_house(budgets=[budget("global", "1000000 tokens")], bound=bound) as house:
        house.upstream.reply(usage=USAGE).forever()
        for number in range(100, 100 + ENOUGH + 1):
            await house.answer(chat(str(number), max_completion_tokens=13))
        first, *_, last = held(house)
        assert last < first / 3 if bound == "calibrated" else last == first
        assert last >= USAGE.total
        assert not any(row.overrun for row in house.attempts)
