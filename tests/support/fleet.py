"""A house with a fleet: providers ``a``, ``b``, ``c`` and what the tests of balance, health and regions ask of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from penstock.background.ticker import Ticker
from penstock.pipeline.fleet import WATCH_S, MemberState
from tests.support.asgi_client import Asking
from tests.support.house import PRICES, House, chat, open_house

NO_SHARING: Final[Mapping[str, Any]] = {"exact": {"ttl": "0s"}, "join": False}


def provider(**fields: Any) -> dict[str, Any]:
    """One that plays what it is told."""
    return {"kind": "scripted", "prices": PRICES, "after_disconnect": "stops", **fields}


def deployment(name: str, **fields: Any) -> dict[str, Any]:
    """The model ``x`` at the provider of that name."""
    return {"provider": name, "model": "x", **fields}


def model(*names: str, **fields: Any) -> dict[str, Any]:
    """A model that is deployed at each of these providers."""
    return {"deployments": [deployment(name) for name in names], **fields}


def served(askings: Iterable[Asking]) -> Counter[str]:
    """How many each provider answered; those that got no answer under their status."""
    return Counter(
        asking.headers.get("x-penstock-deployment", "").removesuffix("/x")
        if asking.status == 200
        else str(asking.status)
        for asking in askings
    )


def called(house: House) -> list[str]:
    """The provider of every call, in order."""
    return [call.call.provider.name for call in house.upstream.calls]


def state(house: House, name: str) -> MemberState:
    """The deployment of that provider as it does now."""
    configured = (each for model in house.gateway.settings.models.values() for each in model.deployments)
    return house.gateway.standing.fleet.state(next(each for each in configured if each.id == f"{name}/x"))


async def ask_all(house: House, count: int, *, gap_s: float = 0.0, **fields: Any) -> list[Asking]:
    """So many different requests, one every ``gap_s``, and their answers."""
    askings = await pour(house, count, gap_s=gap_s, **fields)
    for asking in askings:
        await asking.done()
    return askings


async def pour(house: House, count: int, *, gap_s: float, **fields: Any) -> list[Asking]:
    """So many different requests, one every ``gap_s``, whether or not those before are answered."""
    askings = []
    for _ in range(count):
        askings.append(house.ask(chat(str(len(house.asked)), **fields)))
        await asyncio.sleep(gap_s)
    return askings


@asynccontextmanager
async def open_fleet(
    names: Sequence[str] | None = None, *, watched: bool = True, **config: Any
) -> AsyncIterator[House]:
    """A house whose model ``m`` is deployed at each of ``names``, with no cache. ``watched``: as one that runs."""
    config.setdefault("providers", {name: provider() for name in "abc"})
    if names is not None:
        config.setdefault("models", {"m": model(*names)})
    config.setdefault("cache", NO_SHARING)
    async with open_house(**config) as house:
        ticker = Ticker(house.gateway.clock, WATCH_S, lambda: _watch(house), "watch the fleet")
        if watched:
            ticker.start()
        yield house
        await house.rest()
        await ticker.stop()


async def _watch(house: House) -> None:
    house.gateway.standing.fleet.watch()
