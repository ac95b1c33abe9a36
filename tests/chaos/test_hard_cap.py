"""B02: a budget is a wall and no more than that: what fits is served, all of it, and nothing is overspent.

With the provider's tokenizer known and an answer as long as its cap, a hold is what the call will cost: exactly so many
calls are admitted as the budget is worth.
"""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.config.load import load
from penstock.providers.registry import KINDS
from tests.support.bill_provider import bill_provider
from tests.support.bill_provider_lines import MISS_NANO, OUTPUT_NANO, PRICES
from tests.support.bill_provider_scripted import say_as_asked, scripted_bill
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import END_S, chat, open_house
from tests.support.invariants import check_money
from tests.support.invariants_books import Books, stored_rows
from tests.support.kill_client import Question, ask
from tests.support.kill_loop import MortalGateway

CALLS = 50
CLIENTS = 1000
WORDS = 4
COST = 3 * MISS_NANO + WORDS * OUTPUT_NANO
"""Of a prompt of three words, and an answer as long as its cap."""
TEAMS, KEYS, TENANTS = 2, 6, 200


def money(calls: int) -> str:
    """A limit of exactly so many calls."""
    return f"{calls * COST / 1e9:.9f} CNY"


def limit(name: str, scope: str, calls: int, **more: Any) -> dict[str, Any]:
    """A budget for ever."""
    return {"name": name, "scope": scope, "limit": money(calls), "window": "total", **more}


def tokenizers() -> dict[str, Words]:
    """The scripted provider's tokens, known to the word."""
    return {"scripted": Words()}


def question(number: int, **fields: Any) -> dict[str, Any]:
    """One that costs ``COST``."""
    return chat(prompt_of(f"mk-{number}", say=WORDS, gap_ms=100), max_completion_tokens=WORDS, **fields)


@pytest.mark.looptime(end=END_S)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["m", "stopping"])
async def test_exactly_as_many_calls_as_the_budget_is_worth(model: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """A thousand at once, whole and streamed, at either kind of provider."""
    async with open_house(budgets=[limit("all", "global", CALLS)], tokenizers=tokenizers()) as house:
        house.upstream.call(say_as_asked).forever()
        asked = []
        for number in range(CLIENTS):
            tags = {"x-penstock-tags": f"marker=mk-{number}"}
            asked.append(house.ask(question(number, model=model, stream=stream), headers=tags))
        await house.rest()
        assert Counter(asking.status for asking in asked) == {200: CALLS, 429: CLIENTS - CALLS}
        figures = house.check(bill=scripted_bill(house.upstream.calls))
        assert (figures.exact, figures.charged_nano) == (CALLS, CALLS * COST)


@pytest.mark.looptime(end=END_S)
async def test_three_scopes_inside_each_other() -> None:
    """Key in team in all: as many as the tightest of them lets through, each team and key to its last call."""
    budgets = [
        limit("all", "global", 70),
        limit("per-team", "team", 40),
        limit("per-key", "key", 10, entries={"key-0": money(25), "key-1": money(25)}),
    ]
    async with open_house(budgets=budgets, tokenizers=tokenizers()) as house:
        house.upstream.call(say_as_asked).forever()
        keys = [await house.add_key(f"key-{number}", team=f"team-{number % TEAMS}") for number in range(KEYS)]
        asked: dict[int, list[Any]] = {number: [] for number in range(KEYS)}
        for number in range(40 * KEYS):
            asked[number % KEYS].append(house.ask(question(number), key=keys[number % KEYS]))
        await house.rest()
        served = {key: sum(asking.status == 200 for asking in those) for key, those in asked.items()}
        assert sum(served.values()) == 70
        assert all(served[key] <= (25 if key < 2 else 10) for key in served)
        for team in range(TEAMS):
            assert sum(served[key] for key in served if key % TEAMS == team) <= 40
        house.check()


@pytest.mark.looptime(end=END_S)
async def test_two_hundred_tenants_spend_all_of_their_own() -> None:
    """Each end user to the last call of a day of its own, whatever the others do."""
    budgets = [limit("per-user", "user", 3) | {"window": "day", "timezone": "Asia/Shanghai"}]
    async with open_house(budgets=budgets, tokenizers=tokenizers()) as house:
        house.upstream.call(say_as_asked).forever()
        asked = [
            (number % TENANTS, house.ask(question(number, user=f"user-{number % TENANTS}")))
            for number in range(5 * TENANTS)
        ]
        await house.rest()
        assert Counter(user for user, asking in asked if asking.status == 200) == dict.fromkeys(range(TENANTS), 3)
        house.check()


def test_a_real_gateway_admits_exactly_as_many(tmp_path: Path) -> None:
    """The same over sockets, with processes, a store on disk, and the oracle's bill."""
    with bill_provider(tmp_path / "bill.jsonl") as provider:
        gateway = MortalGateway(tmp_path)
        gateway.words = True
        deployment = {"provider": "oracle", "model": "completes"}
        oracle = {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "api_key": "sk-oracle"}
        gateway.configure(
            providers={"oracle": oracle},
            models={"completes": {"deployments": [deployment]}},
            budgets=[limit("all", "global", CALLS)],
            limits={"adaptive": False, "max_concurrency": CLIENTS},  # whom the budget refuses, not a busy loop
        )
        gateway.start()
        try:
            told = asyncio.run(_ask_all(gateway.port))
            _, total = gateway.spend("model")
            (shown,) = gateway.json("budgets", "show")["rows"]
            assert gateway.stop() == 0, gateway.stderr
        finally:
            gateway.kill()
        assert Counter(each.status for each in told) == {200: CALLS, 429: CLIENTS - CALLS}
        budgets = load(gateway.config, {}, registry=KINDS).budgets
        figures = check_money(Books(stored_rows(gateway.store), budgets, None, provider.calls()))
        assert (figures.exact, figures.estimated) == (CALLS, 0)
        assert figures.charged_nano == figures.billed_nano == CALLS * COST
        assert Decimal(total["cost"]) * 10**9 == Decimal(shown["used"]) * 10**9 == CALLS * COST
        assert Decimal(shown["remaining"]) == 0


async def _ask_all(port: int) -> list[Any]:
    cap = {"max_tokens": WORDS}
    asked = [
        Question(f"mk-{number}", streamed=number % 2 == 0, say=WORDS, gap_ms=5, fields=cap) for number in range(CLIENTS)
    ]
    return await asyncio.gather(*(ask(port, question) for question in asked))
