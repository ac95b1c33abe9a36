"""B08: a client leaves at every moment of its answer; the ledger agrees with the bill of either kind of provider."""

from math import ceil
from typing import Any

import pytest

from penstock.core.tokens import estimate_tokens
from penstock.pipeline.settlement import JOURNAL_MARGIN_TOKENS
from tests.support.bill_provider_scripted import say_as_asked, scripted_bill
from tests.support.bill_provider_words import prompt_of
from tests.support.house import END_S, House, chat, open_house

pytestmark = pytest.mark.alone

pytestmark = pytest.mark.looptime(end=END_S)

WORDS = 12
GAP_S = 0.25
PARTS = WORDS + 3
"""Role, words, finish with usage, and the end."""
BUDGET = {"name": "all", "scope": "global", "limit": "1000 CNY", "window": "total"}
RELEASED_WITHIN_S = 1.0


def question(marker: str, model: str, *, stream: bool, **fields: Any) -> dict[str, Any]:
    """One that takes three seconds to answer."""
    prompt = prompt_of(marker, say=WORDS, gap_ms=int(GAP_S * 1000))
    return chat(prompt, model=model, stream=stream, **fields)


async def leave_after(house: House, model: str, parts: int, **fields: Any) -> float:
    """Ask, take so many parts of the stream, leave; when that was."""
    marker = f"mk-{parts}"
    asking = house.ask(question(marker, model, stream=True, **fields), headers={"x-penstock-tags": f"marker={marker}"})
    await asking.begun(parts)
    asking.leave()
    return house.now


@pytest.mark.parametrize("budgets", [[], [BUDGET]], ids=["free", "budget"])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 20}], ids=["chat", "messages"])
@pytest.mark.parametrize("model", ["m", "stopping"])
async def test_who_leaves_a_stream_owes_what_is_billed(model: str, fields: Any, budgets: Any) -> None:
    """At every chunk: exact where the call ran to its end, covered and flagged where it was stopped."""
    async with open_house(budgets=budgets) as house:
        house.upstream.call(say_as_asked).forever()
        left = [await leave_after(house, model, parts, **fields) for parts in range(PARTS)]
        await house.rest()
        figures = house.check(bill=scripted_bill(house.upstream.calls))
        assert figures.attempts == len(house.upstream.calls) == PARTS
        assert figures.exact == PARTS if model == "m" else 0 < figures.exact < PARTS
        if model == "stopping":
            ends = [asked.ended_at for asked in house.upstream.calls if asked.ended_at is not None]
            assert all(end - at <= RELEASED_WITHIN_S for end, at in zip(ends, left, strict=True))


@pytest.mark.parametrize("model", ["m", "stopping"])
async def test_who_leaves_a_whole_answer_owes_what_is_billed(model: str) -> None:
    """Nothing has been said when it is cut off, and the provider has worked all the same."""
    async with open_house(budgets=[BUDGET]) as house:
        house.upstream.call(say_as_asked).forever()
        for tenth in range(int(WORDS * GAP_S * 10) + 1):
            marker = f"mk-{tenth}"
            tags = {"x-penstock-tags": f"marker={marker}"}
            asking = house.ask(question(marker, model, stream=False, max_tokens=20), headers=tags)
            await house.gateway.clock.sleep(tenth / 10)
            asking.leave()
        await house.rest()
        figures = house.check(bill=scripted_bill(house.upstream.calls))
        assert figures.exact + figures.estimated == len(house.upstream.calls)
        assert (figures.estimated == 0) == (model == "m")


async def test_what_was_under_way_is_covered() -> None:
    """A provider has said more than was read of it when we leave: a second's worth is charged beyond our count."""
    async with open_house(budgets=[BUDGET]) as house:
        house.upstream.call(say_as_asked).forever()
        await leave_after(house, "stopping", 5, max_tokens=100)
        await leave_after(house, "stopping", 6, max_tokens=10)
        await leave_after(house, "stopping", 2, max_tokens=100)
        await house.rest()
        roomy, tight, silent = (row.usage.output for row in house.attempts)
        heard, more, nothing = (estimate_tokens(asking.text) for asking in house.asked)
        assert roomy == heard + ceil(heard / (3 * GAP_S)) + JOURNAL_MARGIN_TOKENS
        assert tight == max(10, more) < more + JOURNAL_MARGIN_TOKENS
        assert (silent, nothing) == (100, 0)
