"""What is read of a whole gateway when somebody scrapes."""

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from penstock.clock import LoopClock
from penstock.pipeline.treasury import Treasury
from penstock.server.gauges import watch
from tests.support.fleet import deployment, provider
from tests.support.house import END_S, EPOCH, House, chat, open_house, settings_of
from tests.support.metrics_text import Sample, samples

pytestmark = pytest.mark.looptime(end=END_S)

DAY_S = 86400
FLEET: dict[str, Any] = {
    "providers": {
        "a": provider(),
        "b": provider(prices={"input": 1, "cached_input": 0.25, "output": 2, "currency": "USD"}),
    },
    "models": {
        "both": {"deployments": [deployment("a"), deployment("b")], "aliases": {"other-name": {}}},
        "dear": {"deployments": [{"provider": "b", "model": "y"}]},
    },
    "fx": {"USD": 7.1},
    "retry": {"attempts": 1},
}
SIM: dict[str, Any] = {
    "providers": {"sim": {"kind": "sim"}},
    "models": {"s": {"deployments": [{"provider": "sim", "model": "sim-chat"}]}},
}


async def scraped(house: House) -> dict[Sample, float]:
    """Every sample."""
    watch(house.gateway)
    return samples((await house.gateway.metrics.scrape()).decode())


def of(found: dict[Sample, float], name: str) -> dict[str, float]:
    """The values of a metric by that of its only label, or of its last."""
    return {labels[-1][1]: value for (each, labels), value in found.items() if each == f"penstock_{name}"}


async def test_a_model_is_up_while_one_of_its_deployments_is() -> None:
    """Aliases are not told. An account that is refused takes all its deployments along."""
    async with open_house(**FLEET) as house:
        assert of(await scraped(house), "model_up") == {"both": 1, "dear": 1}
        house.upstream.fail(401)
        await house.answer(chat(model="dear"))
        found = await scraped(house)
        assert of(found, "model_up") == {"both": 1, "dear": 0}
        assert of(found, "deployment_up") == {"a/x": 1, "b/x": 0, "b/y": 0}


def pairs(found: dict[Sample, float]) -> set[tuple[str, str]]:
    """Which deployments serve which models; each is told as 1."""
    told = {labels: value for (name, labels), value in found.items() if name == "penstock_deployment_info"}
    assert set(told.values()) == {1}
    return {(dict(labels)["model"], dict(labels)["deployment"]) for labels in told}


async def test_which_deployments_serve_a_model_is_told_as_the_config_has_it() -> None:
    """Aliases are left out; after a reload there is nothing of what it left out, though a call had gone there."""
    shared = {**FLEET["models"], "dear": {"deployments": [{"provider": "b", "model": "x"}]}}
    async with open_house(**FLEET) as house:
        await house.answer(chat(model="dear"))
        assert pairs(await scraped(house)) == {("both", "a/x"), ("both", "b/x"), ("dear", "b/y")}
        await house.gateway.adopt(settings_of(**{**FLEET, "models": shared}))
        assert pairs(await scraped(house)) == {("both", "a/x"), ("both", "b/x"), ("dear", "b/x")}
        await house.gateway.adopt(settings_of(**{**FLEET, "models": {"dear": shared["dear"]}}))
        found = await scraped(house)
        assert pairs(found) == {("dear", "b/x")}
        assert of(found, "deployment_up").keys() == {"b/x"}


async def test_first_bytes_are_told_of_streams_alone() -> None:
    """No series where nobody has asked for one."""
    async with open_house(**FLEET) as house:
        house.upstream.stream(["a", "b"], after_s=2.0)
        await house.answer({**chat("hi", stream=True), "model": "dear"})
        assert of(await scraped(house), "deployment_first_byte_seconds") == {"b/y": pytest.approx(2.0)}


async def test_what_it_can_take_is_configured_or_learned() -> None:
    """Each where it is known: the slots by how long requests have them."""
    async with open_house() as house:
        assert of(await scraped(house), "capacity_requests_per_second") == {}
    async with open_house(limits={"capacity": 250, "max_concurrency": 10}) as house:
        house.upstream.reply(after_s=0.5)
        await house.answer(chat("hi"))
        found = of(await scraped(house), "capacity_requests_per_second")
        assert found == {"configured": 250, "learned": pytest.approx(10 / 0.5)}


async def test_what_a_hit_in_the_providers_cache_is_worth_is_told_in_the_book_currency() -> None:
    """At the first deployment; of a price list in another currency at its rate."""
    async with open_house(**FLEET) as house:
        found = {
            dict(labels)["model"]: (value, dict(labels)["currency"])
            for (name, labels), value in (await scraped(house)).items()
            if name == "penstock_prefix_hit_value_per_mtok"
        }
        assert found == {"both": (1.5, "CNY"), "dear": (pytest.approx(0.75 * 7.1), "CNY")}


async def test_the_age_of_prices_is_told_where_they_are_the_books() -> None:
    """By the day on which the entry was confirmed; own prices have none."""
    async with open_house(**FLEET) as house:
        assert of(await scraped(house), "price_age_seconds") == {}
    async with open_house(clock=LoopClock(EPOCH + 400 * DAY_S), **SIM) as house:
        entry = house.gateway.book.tariff("sim", "sim-chat", "CNY", house.gateway.clock.now()).entry
        age_s = EPOCH + 400 * DAY_S - datetime.fromisoformat(f"{entry.date}T00:00Z").timestamp()
        assert of(await scraped(house), "price_age_seconds") == {"sim": pytest.approx(age_s, abs=DAY_S / 24)}


async def test_how_long_the_ledger_waits_is_told() -> None:
    """0 while nothing waits."""
    async with open_house() as house:
        assert (await scraped(house))["penstock_ledger_oldest_unwritten_seconds", ()] == 0
        house.gateway.stores.unwritten_since = lambda: EPOCH - 90
        assert (await scraped(house))["penstock_ledger_oldest_unwritten_seconds", ()] == pytest.approx(90, abs=1)


BUDGETS = [
    {"name": "per-user", "scope": "user", "limit": "1 CNY", "window": "day", "timezone": "Asia/Shanghai"},
    {"name": "all", "scope": "global", "limit": "1000000 tokens", "window": "total", "timezone": "Asia/Shanghai"},
]


async def test_budgets_tell_their_fullest_account_and_how_much_of_the_window_is_gone() -> None:
    """Used and elapsed can be held against each other; ``total`` goes by for ever."""
    async with open_house(budgets=BUDGETS) as house:
        assert of(await scraped(house), "budget_used_ratio") == {"all": 0}
        for number in range(3):
            await house.answer({**chat("hi"), "user": "alice" if number else "bob", "seed": number})
        found = await scraped(house)
        used = of(found, "budget_used_ratio")
        assert used == pytest.approx(_highest(house.gateway.treasury))
        assert all(0 < ratio < 1 for ratio in used.values())
        assert of(found, "budget_window_elapsed_ratio").keys() == {"per-user"}
        assert 0 < of(found, "budget_window_elapsed_ratio")["per-user"] < 1


async def test_a_crowd_of_accounts_is_looked_through_one_at_a_time() -> None:
    """So that no scrape holds the loop up for longer than a moment."""
    async with open_house(budgets=BUDGETS) as house:
        for number in range(5):
            await house.answer({**chat("hi"), "user": f"user-{number}", "seed": number})
        steps = list(house.gateway.treasury.fullest())
        assert Counter(step is None for step in steps) == {True: 5 + 1, False: 2}


def _highest(treasury: Treasury) -> dict[str, float]:
    found = sorted(treasury.standings(), key=lambda each: each.ratio)
    return {each.budget.name: each.ratio for each in found}
