"""The number of series is bounded, whatever clients send and whatever goes wrong at once."""

from collections import Counter
from collections.abc import Iterator
from itertools import cycle, product
from typing import Any, Final

import pytest

from penstock.core.usage import Usage
from penstock.errors import PenstockError
from penstock.observe.exposition import Format
from penstock.observe.metrics import MOST_SERIES
from penstock.server.gauges import watch
from tests.support.fleet import provider
from tests.support.house import END_S, House, chat, open_house
from tests.support.ledger_rows import attempt_row, exchange_row, share_row
from tests.support.metrics_text import open_metrics

pytestmark = pytest.mark.looptime(end=END_S)

MOST: Final = 15_000
PROVIDERS: Final = [f"p{number}" for number in range(10)]
MODELS: Final = [f"m{number}" for number in range(50)]
STRANGERS: Final = 50_000
ASKING: Final = 300
"""Of them, those that ask in full: the others are counted as their rows would be."""
CACHES: Final = ("exact", "joined", "miss", "off")
LEVERS: Final = ("exact", "joined", "similar", "prefix", "routing", "compression", "off-peak", "packing", "hedging")
SCOPES: Final = ("global", "team", "key", "user", "model", "tag")
NOT_NAMES: Final = frozenset({"le", "version", "python"})
OURS: Final = frozenset(
    {
        *MODELS, *PROVIDERS, *SCOPES, *CACHES, *LEVERS, *(f"{each}/{model}" for each in PROVIDERS for model in MODELS),
        "other", "input_miss", "input_hit", "cache_write", "output", "CNY", "hit", "miss", "join", "configured",
        "sent", "dropped", "refused",
    }
)  # fmt: skip
"""Of the config, and our own."""
LARGEST: Final[dict[str, Any]] = {
    "providers": {name: provider() for name in PROVIDERS},
    "models": {name: {"deployments": [{"provider": each, "model": name} for each in PROVIDERS]} for name in MODELS},
    "budgets": [
        {"name": scope, "scope": scope, "limit": "1 CNY", "window": "day", "timezone": "Asia/Shanghai"}
        for scope in SCOPES
    ],
    "limits": {"capacity": 100},
    "alerts": {"tokens_per_day": 1},
}


def outcomes() -> list[str]:
    """Every way in which anything may end, of which many cannot end every exchange or call."""

    def kinds(error: type[PenstockError]) -> Iterator[str]:
        yield error.kind
        for each in error.__subclasses__():
            yield from kinds(each)

    return ["ok", *dict.fromkeys(kinds(PenstockError))]


def go_through_everything(house: House) -> None:
    """Every model and deployment ends in every way, out of every cache, and saves by every lever."""
    metrics, levers = house.gateway.metrics, cycle(LEVERS)
    for each in (each for model in house.gateway.settings.models.values() for each in model.deployments):
        house.gateway.standing.fleet.member(each).began(0.1, 1, house.gateway.clock.monotonic())
    for model, outcome, cache in product(MODELS, outcomes(), CACHES):
        calls = [f"{name}/{model}" for name in PROVIDERS] if cache == "miss" else []
        usage = Usage(1, 2, 3, 4, 1)
        attempts = [
            attempt_row("at", "ex", deployment=id_, outcome=outcome, usage=usage, overrun=True) for id_ in calls
        ]
        row = exchange_row(
            "req_0123456789abcdef0123456789abcdef", model=model, outcome=outcome, cache=cache, streamed=True,
            first_byte_s=0.1, cost_nano=1, baseline_nano=9, avoided_nano=1,
        )  # fmt: skip
        metrics.observe(row, attempts, [share_row("at", "ex", 1, next(levers))], "4bf92f3577b34da6a3ce929d0e0e4736")


def name_of(number: int) -> str:
    """What a stranger calls himself, his key and his model; one in a hundred takes long."""
    return f'n{number}"\\\n# TYPE x counter' + "x" * (10_000 if number % 100 == 0 else 0)


async def ask(house: House, number: int) -> None:
    """As a stranger, under names of his own: once for a model that there is not, once for one that there is."""
    name = name_of(number)
    tags = {"x-penstock-tags": f"t{number}=v{number}", "x-penstock-session": f"s{number}", "user-agent": f"u{number}"}
    await house.answer(chat(model=name, user=name), key=f"sk-{number}", headers=tags)
    await house.answer(chat(model=MODELS[number % 50], user=name), key=f"sk-{number}", headers=tags)


def stand_by(house: House, number: int) -> None:
    """Be counted as who has asked."""
    name = name_of(number)
    row = exchange_row(f"req_{number:032x}", model=name, user=name, key_name=name, team=name, tags={name: name})
    house.gateway.metrics.observe(row, [attempt_row("at", "ex", deployment=name)], [])


async def test_series_are_bounded_whatever_clients_send_and_whatever_goes_wrong() -> None:
    """Fifty models of ten deployments that have failed in every way, and fifty thousand strangers under odd names."""
    async with open_house(**LARGEST) as house:
        watch(house.gateway)
        go_through_everything(house)
        for number in range(ASKING):
            await ask(house, number)
        for number in range(ASKING, STRANGERS):
            stand_by(house, number)
        await house.gateway.today.look()
        text = (await house.gateway.metrics.scrape(Format.OPENMETRICS)).decode()
    series = [sample for family in open_metrics(text) for sample in family.samples]
    assert 13_000 < len(series) < MOST
    counted = Counter(sample.name for sample in series)
    assert all(counted[name] >= most for name, most in MOST_SERIES.items())
    assert counted["penstock_deployment_first_byte_seconds"] == 500
    assert (counted["penstock_tokens_today"], counted["penstock_tokens_per_day_limit"]) == (4, 1)
    shown = {value for sample in series for label, value in sample.labels.items() if label not in NOT_NAMES}
    assert shown <= OURS | set(outcomes())
