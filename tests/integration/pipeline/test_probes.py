"""Active probes: what is out is asked for its models, so that no request has to find out; off by default."""

from typing import Any

import pytest

from tests.support.house import BASE, END_S, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)


def config(probe: str) -> dict[str, Any]:
    """Two deployments of equal weight, and no cache."""
    providers = {name: section | {"probe": probe} for name, section in BASE["providers"].items()}
    pair = {"deployments": [{"provider": "one", "model": "m-1"}, {"provider": "two", "model": "m-2"}]}
    cache = {"exact": {"ttl": "0s"}, "join": False}
    return {"providers": providers, "models": {"pair": pair}, "cache": cache}


async def break_the_first(house: House) -> None:
    """Its failures open its breaker."""
    house.upstream.at("one").fail(500).forever()
    for number in range(12):
        assert (await house.answer(chat(f"q {number}", model="pair"))).status == 200
    assert not house.gateway.standing.fleet.is_up(house.gateway.settings.models["pair"].deployments[0])


async def probe(house: House) -> int:
    """Let the prober look each second for five minutes; how many questions that made."""
    before = len(house.upstream.calls)
    for _ in range(300):
        await house.gateway.clock.sleep(1)
        await house.gateway.probe()
    return len(house.upstream.calls) - before


async def test_it_is_asked_until_it_is_back() -> None:
    """Three good answers close its breaker; then nothing is asked any more."""
    async with open_house(**config("5s")) as house:
        await break_the_first(house)
        assert await probe(house) > 3
        house.upstream.at("one").json({"data": []}).forever()
        assert await probe(house) == 3
        assert house.gateway.standing.fleet.is_well(house.gateway.settings.models["pair"].deployments[0])
        asked = [call.call for call in house.upstream.calls if call.call.method == "GET"]
        assert {call.url for call in asked} == {"http://scripted.invalid/v1/models"}
        assert {call.provider.name for call in asked} == {"one"}


async def test_it_is_off_by_default() -> None:
    """Real requests find out."""
    async with open_house(**config("0s")) as house:
        await break_the_first(house)
        assert await probe(house) == 0


async def test_what_is_well_is_never_asked() -> None:
    """There is nothing to find out."""
    async with open_house(**config("1s")) as house:
        house.upstream.reply("fine").forever()
        await house.answer(chat("q", model="pair"))
        assert await probe(house) == 0


async def test_an_account_that_is_refused_is_asked_too() -> None:
    """Until it is paid again."""
    async with open_house(**config("5s")) as house:
        house.upstream.at("one").fail(402).forever()
        await house.answer(chat("q", model="pair"))
        await house.answer(chat("r", model="pair"))
        house.upstream.at("one").json({"data": []}).forever()
        assert await probe(house) >= 1
        assert house.gateway.standing.fleet.is_well(house.gateway.settings.models["pair"].deployments[0])


async def test_a_probe_that_hangs_ends() -> None:
    """Its deadline is its own."""
    async with open_house(**config("5s")) as house:
        await break_the_first(house)
        house.upstream.at("one").hang().forever()
        assert 0 < await probe(house) <= 60
