"""Regions: whose is first, where a request goes when it is out, and when it comes back."""

import asyncio
from typing import Any

import pytest

from penstock.errors import ConfigError
from penstock.pipeline.exchange import Asked, Exchange
from tests.support.fleet import ask_all, called, deployment, open_fleet, served, state
from tests.support.house import END_S, House, chat, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

HOLD_S = 30.0
"""How long a region that was out has to be well."""


def abroad(regions: str, **fields: Any) -> dict[str, Any]:
    """The model: ``a`` in eu, ``b`` in us, ``c`` in cn."""
    places = {"a": "eu", "b": "us", "c": "cn"}
    return {"m": {"deployments": [deployment(n, region=r) for n, r in places.items()], "regions": regions, **fields}}


def whereabouts(**sections: Any) -> dict[str, Any]:
    """Where callers are."""
    return {"models": abroad("caller"), "regions": sections, "watched": False}


async def no_body() -> bytes:
    """Of a request that is never run."""
    return b""


async def put_out(house: House, name: str, **how: Any) -> None:
    """Three failures, after which it answers well, if it is asked."""
    house.upstream.at(name).fail(503).times(3).reply().forever()
    while state(house, name).state != "open":
        await house.answer(chat(str(len(house.asked))), **how)


# --- the caller's


@pytest.mark.parametrize(("region", "home"), [("eu", "a"), ("us", "b"), ("cn", "c")])
async def test_a_caller_says_its_region(region: str, home: str) -> None:
    """By the header, and all its requests go there."""
    async with open_fleet(**whereabouts()) as house:
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-region": region}) for n in range(6)]
        assert served(asked) == {home: 6}


async def test_a_key_has_its_region() -> None:
    """By the key's name; the header comes before it."""
    async with open_fleet(**whereabouts(keys={"berlin": "eu", "austin": "us"})) as house:
        berlin, austin, other = [await house.add_key(name) for name in ("berlin", "austin", "other")]
        assert served([await house.answer(chat(str(n)), key=berlin) for n in range(3)]) == {"a": 3}
        assert served([await house.answer(chat(str(n)), key=austin) for n in range(3)]) == {"b": 3}
        assert served([await house.answer(chat(str(n)), key=other) for n in range(6)]) == {"a": 2, "b": 2, "c": 2}
        assert served([await house.answer(chat("us"), key=berlin, headers={"x-penstock-region": "us"})]) == {"b": 1}


async def test_a_network_has_its_region() -> None:
    """The narrowest counts, behind trusted proxies too; a key comes before it."""
    networks = {"198.51.100.0/24": "us", "198.51.100.128/25": "eu", "2001:db8::/32": "cn"}
    server = {"secret": "a-pepper-of-at-least-thirty-two-bytes", "trusted_proxies": ["10.0.0.1"]}
    async with open_fleet(**whereabouts(networks=networks, keys={"k": "cn"}), server=server) as house:
        assert served([await house.answer(chat("1"), peer="198.51.100.1")]) == {"b": 1}
        assert served([await house.answer(chat("2"), peer="198.51.100.200")]) == {"a": 1}
        assert served([await house.answer(chat("3"), peer="2001:db8::7")]) == {"c": 1}
        behind = {"x-forwarded-for": "198.51.100.200"}
        assert served([await house.answer(chat("4"), peer="10.0.0.1", headers=behind)]) == {"a": 1}
        key = await house.add_key("k")
        assert served([await house.answer(chat("5"), peer="198.51.100.200", key=key)]) == {"c": 1}


async def test_a_region_that_nothing_runs_in_changes_nothing() -> None:
    """All are alike then."""
    async with open_fleet(**whereabouts()) as house:
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-region": "mars"}) for n in range(6)]
        assert served(asked) == {"a": 2, "b": 2, "c": 2}


def test_a_network_that_is_none_is_a_mistake() -> None:
    """Named with its place."""
    with pytest.raises(ConfigError, match=r"regions.networks.somewhere: this name is no address or network"):
        settings_of(regions={"networks": {"somewhere": "eu"}})


def test_a_region_that_nothing_runs_in_is_warned_about() -> None:
    """It is a slip of the pen more often than not."""
    regions = {"keys": {"app": "shangai"}, "networks": {"10.0.0.0/8": "here", "10.1.0.0/16": "shangai"}}
    models = {"m": {"deployments": [{"provider": "one", "model": "m-1", "region": "here"}]}}
    settings = settings_of(models=models, regions=regions)
    assert [warning for warning in settings.warnings if "regions" in warning] == [
        "regions: nothing runs in 'shangai', so its callers have no region of their own"
    ]


# --- fail over, and back


async def test_a_call_that_fails_goes_to_another_region() -> None:
    """At once, and the client sees the answer."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        house.upstream.at("a").fail(503)
        assert served(await ask_all(house, 1)) == {"b": 1}
        assert called(house) == ["a", "b"]


async def test_a_region_is_failed_back_to_only_after_it_was_well_for_a_while() -> None:
    """Single requests find out that it is back; then it waits behind the rest for half a minute."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        await put_out(house, "a")
        assert served(await ask_all(house, 5)) == {"b": 5}
        await asyncio.sleep(1)
        assert served(await ask_all(house, 5)) == {"a": 3, "b": 2}
        assert state(house, "a").state == "closed"
        since = house.now
        while "b" in served(await ask_all(house, 1, gap_s=0.5)):
            pass
        assert HOLD_S <= house.now - since <= HOLD_S + 1.5
        assert served(await ask_all(house, 10)) == {"a": 10}


async def test_a_region_that_fails_again_is_not_come_back_to() -> None:
    """Half a minute of health, not half a minute of absence; no client notices its failing probes."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        house.upstream.at("a").fail(503).forever()
        answers = await ask_all(house, 400, gap_s=0.5)
        assert served(answers) == {"b": 400}
        assert called(house).count("a") <= 15


async def test_many_at_once_do_not_keep_a_region_out() -> None:
    """A request that finds out whether it is back is under way: that is no failure."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        await put_out(house, "a")
        house.upstream.at("a").reply(after_s=0.5).forever()
        await asyncio.sleep(1)
        answers = await ask_all(house, 800, gap_s=0.05)
        assert served(answers)["a"] >= 100
        assert served(answers[-50:]) == {"a": 50}


async def test_a_region_is_up_while_one_of_its_deployments_is() -> None:
    """Only that one is left out."""
    deployments = [deployment("a", region="eu"), deployment("b", region="eu"), deployment("c", region="us")]
    async with open_fleet(models={"m": {"deployments": deployments, "regions": "fixed"}}, watched=False) as house:
        await put_out(house, "a")
        assert served(await ask_all(house, 5)) == {"b": 5}


async def test_when_all_other_regions_fail_the_held_one_is_asked() -> None:
    """A region that may be unwell is better than none."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        await put_out(house, "a")
        await asyncio.sleep(1)
        await ask_all(house, 6)
        assert state(house, "a").state == "closed"
        house.upstream.at("b").fail(402).forever()
        house.upstream.at("c").fail(402).forever()
        assert served(await ask_all(house, 5)) == {"a": 5}


# --- order


async def test_a_fixed_order_is_that_of_the_file() -> None:
    """Whoever asks."""
    async with open_fleet(models=abroad("fixed"), watched=False) as house:
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-region": "us"}) for n in range(5)]
        assert served(asked) == {"a": 5}


async def test_priority_orders_within_a_region() -> None:
    """The caller's region first, whatever the priorities elsewhere."""
    deployments = [
        deployment("a", region="us", priority=1),
        deployment("b", region="us", priority=2),
        deployment("c", region="eu"),
    ]
    async with open_fleet(models={"m": {"deployments": deployments, "regions": "caller"}}, watched=False) as house:
        house.upstream.at("a").fail(402).forever()
        here = {"x-penstock-region": "us"}
        asked = [await house.answer(chat(str(n)), headers=here) for n in range(3)]
        assert served(asked) == {"b": 3}
        house.upstream.at("b").fail(402).forever()
        asked = [await house.answer(chat(str(n)), headers=here) for n in range(3, 6)]
        assert served(asked) == {"c": 3}


async def test_the_quickest_region_comes_first_when_it_has_been_for_a_while() -> None:
    """Each is measured now and then; a clear gain moves it ahead after ten seconds, a small or short one does not."""
    async with open_fleet(models=abroad("latency"), watched=False) as house:
        house.upstream.at("a").reply(after_s=0.5).forever()
        house.upstream.at("b").reply(after_s=0.45).forever()
        house.upstream.at("c").reply(after_s=0.2).forever()
        first = await ask_all(house, 40, gap_s=0.2, stream=True)
        assert served(first)["a"] >= 37
        assert served(first).keys() == {"a", "b", "c"}
        later = await ask_all(house, 40, gap_s=0.2, stream=True)
        assert served(later[20:])["c"] == 20
        house.upstream.at("c").reply(after_s=1.0).forever()
        await ask_all(house, 20, gap_s=0.2, stream=True)
        house.upstream.at("c").reply(after_s=0.2).forever()
        assert served(await ask_all(house, 20, gap_s=0.2, stream=True))["c"] >= 19


async def test_only_streams_measure_regions() -> None:
    """A whole answer takes as long as it is: it says nothing of the way."""
    async with open_fleet(models=abroad("latency"), watched=False) as house:
        assert served(await ask_all(house, 60, gap_s=0.5)) == {"a": 60}


async def test_who_looks_at_a_plan_takes_nobodys_turn_to_measure() -> None:
    """``/admin/plan`` explains; it does not explore."""
    async with open_fleet(models=abroad("latency"), watched=False) as house:
        asked = Exchange("plan", Asked("chat"), no_body, house.gateway.clock.now(), house.now)
        asked.requested = asked.model = house.gateway.settings.models["m"]
        asked.wants_stream = True
        for _ in range(3):
            assert next(each.id for each in house.gateway.preview(asked).candidates) == "a/x"
        assert served(await ask_all(house, 3, stream=True)) == {"a": 1, "b": 1, "c": 1}


async def test_without_an_order_regions_are_labels() -> None:
    """``regions: any``, the default."""
    async with open_fleet(models=abroad("any"), watched=False) as house:
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-region": "us"}) for n in range(6)]
        assert served(asked) == {"a": 2, "b": 2, "c": 2}
