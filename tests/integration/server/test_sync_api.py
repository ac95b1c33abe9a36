"""What a centre hands to its edges: to whom, and of whom."""

from typing import Any

import msgspec
import pytest

from penstock.core.offer import Offer, Offered, PurgesPage
from tests.support.house import END_S, PRICES, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

SERVER = {"secret": "a-pepper-of-at-least-thirty-two-bytes", "edges": ["eu", "us"]}


async def get(house: House, name: str, key: str = "", query: str = "", method: str = "GET") -> Any:
    """One document, or its refusal."""
    return await house.answer(b"", f"/v1/edge/{name}", key=key, method=method, query=query.encode())


async def test_nobody_but_an_edge_is_handed_anything() -> None:
    """Not in open mode, not a stranger, not a key that the config does not name, not another method."""
    async with open_house(server={**SERVER, "edges": ["anonymous"]}) as house:
        assert (await get(house, "offer", "any")).status == 401
    async with open_house(server=SERVER) as house:
        eu, web = await house.add_key("eu"), await house.add_key("web")
        for name in ("offer", "purges", "answers"):
            assert [(await get(house, name, key)).status for key in ("", "psk-wrong", web, eu)] == [401, 401, 401, 200]
        assert (await get(house, "offer", eu, method="POST")).status == 405
        assert (await get(house, "nothing", eu)).status == 404
        assert [(await get(house, "purges", eu, query)).status for query in ("since=x", "until=1", "%", "since")] == [
            400
        ] * 4


async def test_an_offer_names_what_the_key_may_use_and_how_it_is_priced() -> None:
    """Its prices from the config, or the list and the name in it; and every list as it stands in its file."""
    providers = {"listed": {"kind": "deepseek", "api_key": "sk-1"}, "own": {"kind": "scripted", "prices": PRICES}}
    models = {
        "flash": {"deployments": [{"provider": "listed", "model": "deepseek-flash"}], "aliases": {"quick": {}}},
        "own": {"deployments": [{"provider": "own"}], "default_output": 77},
        "hidden": {"deployments": [{"provider": "own", "model": "x"}]},
    }
    async with open_house(server=SERVER, providers=providers, models=models) as house:
        eu = await house.add_key("eu", models=("flash", "quick", "own"))
        offer = msgspec.json.decode((await get(house, "offer", eu)).body, type=Offer)
        offered = {each.name: each for each in offer.models}
        assert list(offered) == ["flash", "quick", "own"]
        flash, own = offered["flash"], offered["own"]
        assert (flash.book, flash.priced_as, flash.currency) == ("deepseek", "deepseek-flash", "CNY")
        assert ([str(price) for price in own.flat or () if price is not None], own.default_output) == (
            ["2", "0.5", "8"],
            77,
        )
        assert "deepseek-flash" in offer.prices["deepseek"]


async def test_what_our_own_centre_says_is_handed_on() -> None:
    """An edge of an edge measures by the same price, from the same list."""
    centre = {"kind": "penstock", "base_url": "http://centre.test/v1", "api_key": "psk-1"}
    async with open_house(server=SERVER, providers={"centre": centre}, models={}) as house:
        eu = await house.add_key("eu")
        told = Offered(name="far", book="deepseek", priced_as="deepseek-flash", currency="CNY")
        given = Offer(models=(told,), prices={"deepseek": "theirs"})
        house.gateway.catalogue.offers = {"centre": given}
        await house.gateway.adopt(house.gateway.settings)
        offer = msgspec.json.decode((await get(house, "offer", eu)).body, type=Offer)
        assert (offer.models, offer.prices["deepseek"]) == (given.models, "theirs")
        assert len(offer.prices) > 1


async def test_a_purge_is_told_to_those_whom_it_concerns() -> None:
    """Of a tenant to its edge, under its own name there; of an edge, of a model, of a tag and of everything to all."""
    async with open_house(server=SERVER) as house:
        eu, us = await house.add_key("eu"), await house.add_key("us")
        named = {record.name: record.id for record in await house.gateway.stores.keys.list()}
        answers = house.gateway.stores.answers
        await answers.purge(tenant=f"{named['eu']}/key_web", tag="a=b")
        await answers.purge(tenant=named["us"])
        await answers.purge(tenant="key_other")
        await answers.purge(model="m")
        notes = [
            [(note.models, note.tenant, note.tag) for note in (await purges(house, key)).notes] for key in (eu, us)
        ]
        assert notes == [
            [((), "key_web", "a=b"), (("m",), None, None)],
            [((), None, None), (("m",), None, None)],
        ]


async def test_a_model_is_purged_under_the_names_that_step_down_to_it() -> None:
    """An edge keeps an answer under the name that it asked for."""
    models = {
        "dear": {"deployments": [{"provider": "one", "model": "m-1"}], "cheaper": "m"},
        "m": {"deployments": [{"provider": "two", "model": "m-2"}]},
    }
    async with open_house(server=SERVER, models=models) as house:
        eu = await house.add_key("eu")
        await house.gateway.stores.answers.purge(model="m")
        assert (await purges(house, eu)).notes[0].models == ("m", "dear")


async def test_the_data_plane_has_its_models_and_paths_as_before() -> None:
    """A list of models for a key, and no endpoint for what is none."""
    async with open_house(server=SERVER) as house:
        key = await house.add_key("web")
        assert (await house.answer(b"", "/v1/models", key=key, method="GET")).json["data"][0]["id"] == "m"
        assert (await house.answer(chat(), "/v1/nothing", key=key)).status == 404


async def purges(house: House, key: str) -> PurgesPage:
    """The page from the beginning."""
    return msgspec.json.decode((await get(house, "purges", key)).body, type=PurgesPage)
