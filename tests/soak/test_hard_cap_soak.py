"""B02 in full: ten thousand clients at once, two hundred tenants, three budgets inside each other. Prints its figures.

Each tenant is a team of two keys. In one half of the load the teams and keys are the walls, in the other the whole
house is; in both, exactly so many calls are admitted as the budgets are worth, and not one less.
"""

import time
from collections import Counter
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.support.asgi_client import Asking
from tests.support.bill_provider_lines import MISS_NANO, OUTPUT_NANO
from tests.support.bill_provider_scripted import say_as_asked, scripted_bill
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import END_S, House, chat, open_house

CLIENTS, TENANTS, KEYS_EACH = 10_000, 200, 2
WORDS = 4
COST = 3 * MISS_NANO + WORDS * OUTPUT_NANO
"""Of a prompt of three words, and an answer as long as its cap."""
PER_TEAM, EVEN_TEAM, PER_KEY, FIRST_KEY = 20, 16, 15, 3
"""Calls that a team, a team of an even number, a key, and the first key of a team is worth. Each key asks for 25."""
WHOLE = 1_500
"""Calls that the house is worth where it is the wall."""
ROOM = {"max_concurrency": CLIENTS, "max_queue": CLIENTS}


def limit(name: str, scope: str, calls: int, **more: Any) -> dict[str, Any]:
    """A budget of exactly so many calls, for ever."""
    return {"name": name, "scope": scope, "limit": _money(calls), "window": "total", **more}


def budgets(whole: int) -> list[dict[str, Any]]:
    """Key in team in all."""
    poor = {_key(tenant, 0): _money(FIRST_KEY) for tenant in range(TENANTS)}
    even = {f"team-{tenant}": _money(EVEN_TEAM) for tenant in range(0, TENANTS, 2)}
    return [
        limit("all", "global", whole),
        limit("per-team", "team", PER_TEAM, entries=even),
        limit("per-key", "key", PER_KEY, entries=poor),
    ]


async def ask_all(house: House) -> dict[tuple[int, int], list[Asking]]:
    """Every client at once: the requests of each tenant's keys, half of them streamed, at both kinds of provider."""
    house.upstream.call(say_as_asked).forever()
    keys = {
        (tenant, number): await house.add_key(_key(tenant, number), team=f"team-{tenant}")
        for tenant in range(TENANTS)
        for number in range(KEYS_EACH)
    }
    asked: dict[tuple[int, int], list[Asking]] = {name: [] for name in keys}
    for number in range(CLIENTS):
        name = (number % TENANTS, number // TENANTS % KEYS_EACH)
        marker = f"mk-{number}"
        prompt = prompt_of(marker, say=WORDS, gap_ms=100)
        model = "stopping" if number // TENANTS // KEYS_EACH % 2 else "m"
        body = chat(prompt, model=model, max_completion_tokens=WORDS, stream=number % 3 == 0)
        asked[name].append(house.ask(body, key=keys[name], headers={"x-penstock-tags": f"marker={marker}"}))
    await house.rest()
    return asked


def served(asked: list[Asking]) -> int:
    """How many were answered; the others were refused for the budget, and told so."""
    assert Counter(each.status for each in asked).keys() <= {200, 429}
    assert all(each.error["code"] == "budget_exceeded" for each in asked if each.status != 200)
    return sum(each.status == 200 for each in asked)


def check(house: House, admitted: int) -> Counter[str]:
    """Books, bank and bill agree on exactly so many calls; what each budget has posted."""
    made = house.check(bill=scripted_bill(house.upstream.calls))
    assert (made.exact, made.estimated, made.attempts) == (admitted, 0, admitted)
    assert made.charged_nano == made.billed_nano == admitted * COST
    assert not any(row.overrun for row in house.attempts)
    posted: Counter[str] = Counter()
    for each in house.gateway.treasury.standings():
        assert each.used <= each.limit
        posted[each.budget.name] += each.used
    assert posted == dict.fromkeys(("all", "per-team", "per-key"), admitted * COST)
    return posted


@pytest.mark.soak
@pytest.mark.looptime(end=END_S)
async def test_teams_and_keys_are_the_walls(capsys: pytest.CaptureFixture[str]) -> None:
    """Of odd tenants each key spends all of its own; of even ones both together what their team is worth."""
    since = time.perf_counter()
    async with open_house(budgets=budgets(CLIENTS), limits=ROOM, tokenizers={"scripted": Words()}) as house:
        asked = await ask_all(house)
        each = {name: served(those) for name, those in asked.items()}
        assert all(_within_keys(count, number) for (_, number), count in each.items())
        for tenant in range(TENANTS):
            both = [each[tenant, number] for number in range(KEYS_EACH)]
            assert both == [FIRST_KEY, PER_KEY] if tenant % 2 else sum(both) == EVEN_TEAM, f"team-{tenant}: {both}"
        worth = TENANTS // 2 * (FIRST_KEY + PER_KEY + EVEN_TEAM)
        check(house, worth)
        _show("the teams and keys are the walls", house, each, worth=worth, since=since, capsys=capsys)


@pytest.mark.soak
@pytest.mark.looptime(end=END_S)
async def test_the_house_is_the_wall(capsys: pytest.CaptureFixture[str]) -> None:
    """It spends all of its own, to the last call, and nobody more than its team or key holds."""
    since = time.perf_counter()
    async with open_house(budgets=budgets(WHOLE), limits=ROOM, tokenizers={"scripted": Words()}) as house:
        asked = await ask_all(house)
        each = {name: served(those) for name, those in asked.items()}
        assert sum(each.values()) == WHOLE
        assert all(_within_keys(count, number) for (_, number), count in each.items())
        for tenant in range(TENANTS):
            both = sum(each[tenant, number] for number in range(KEYS_EACH))
            assert both <= (PER_TEAM if tenant % 2 else EVEN_TEAM)
        check(house, WHOLE)
        _show("the house is the wall", house, each, worth=WHOLE, since=since, capsys=capsys)


def _money(calls: int) -> str:
    return f"{calls * COST / 1e9:.9f} CNY"


def _within_keys(count: int, number: int) -> bool:
    return count <= (PER_KEY if number else FIRST_KEY)


def _key(tenant: int, number: int) -> str:
    return f"key-{tenant}-{number}"


def _show(
    title: str,
    house: House,
    each: dict[tuple[int, int], int],
    *,
    worth: int,
    since: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The figures, for people."""
    admitted = sum(each.values())
    charged = sum(row.charged_book_nano or 0 for row in house.attempts)
    table = Table(f"B02: {title}", "")
    for name, value in {
        "clients at once": CLIENTS,
        "tenants, keys": f"{TENANTS}, {len(each)}",
        "calls that the budgets are worth": worth,
        "admitted": admitted,
        "refused falsely": worth - admitted,
        "charged, nano-units": charged,
        "overspent, nano-units": charged - worth * COST,
        "seconds": f"{time.perf_counter() - since:.0f}",
    }.items():
        table.add_row(name, str(value))
    with capsys.disabled():
        Console(width=100).print("", table)
