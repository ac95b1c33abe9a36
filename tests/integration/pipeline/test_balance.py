"""Each balancer through the gateway: its shares, and what it is named for."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.asgi_client import Asking
from tests.support.fleet import ask_all, called, deployment, model, open_fleet, pour, served, state
from tests.support.house import END_S, House, chat

pytestmark = pytest.mark.looptime(end=END_S)

WEIGHTS = {"a": 3, "b": 1, "c": 0}


def weighted(balance: str, **fields: Any) -> dict[str, Any]:
    """Three parts, one part, and one that stands by."""
    deployments = [deployment(name, weight=weight) for name, weight in WEIGHTS.items()]
    return {"m": {"deployments": deployments, "balance": balance, **fields}}


async def homes(house: House, names: list[str], *, header: str, **how: Any) -> list[str]:
    """Which deployment each of these callers comes to, named by that header; the same one each time."""
    found = []
    for name in names:
        answers = [
            await house.answer(chat(f"{name} {turn} {len(house.asked)}"), headers={header: name}, **how)
            for turn in range(3)
        ]
        (home,) = served(answers)
        found.append(home)
    return found


# --- shares


@pytest.mark.parametrize("balance", ["weighted", "least_busy", "prefix"])
async def test_each_gets_its_weight(balance: str) -> None:
    """Of 400 requests one after the other, within 2 % of its part; who has weight 0 gets none."""
    async with open_fleet(models=weighted(balance), watched=False) as house:
        shares = served(await ask_all(house, 400))
        assert shares["a"] == pytest.approx(300, rel=0.02)
        assert shares["b"] == pytest.approx(100, rel=0.02)
        assert shares["c"] == 0


async def test_round_robin_knows_no_weights() -> None:
    """But 0."""
    async with open_fleet(models=weighted("round_robin"), watched=False) as house:
        assert served(await ask_all(house, 100)) == {"a": 50, "b": 50}


async def test_what_chance_decides_comes_near_the_weights() -> None:
    """``latency`` draws: equally fast, within 2 % of all requests."""
    async with open_fleet(models=weighted("latency"), watched=False) as house:
        shares = served(await ask_all(house, 2000))
        assert shares["a"] / 2000 == pytest.approx(0.75, abs=0.02)
        assert shares["c"] == 0


async def test_hashed_callers_come_near_the_weights() -> None:
    """Of 2000 sessions, within 2 % of all."""
    async with open_fleet(models=weighted("ip_hash", hash_by="session"), watched=False) as house:
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-session": f"s{n}"}) for n in range(2000)]
        assert served(asked)["a"] / 2000 == pytest.approx(0.75, abs=0.02)
        assert served(asked)["c"] == 0


async def test_requests_at_the_same_moment_see_each_other() -> None:
    """Forty at once are spread as forty one after the other."""
    async with open_fleet(models={"m": model(*"ab", balance="least_busy")}) as house:
        house.upstream.reply(after_s=5).forever()
        assert served(await ask_all(house, 40)) == {"a": 20, "b": 20}


async def test_an_alias_takes_turns_with_its_model() -> None:
    """Both names together keep to the weights."""
    models = weighted("weighted", aliases={"other": {}})
    async with open_fleet(models=models, watched=False) as house:
        asked = [await house.answer(chat(str(n), model="m" if n % 4 else "other")) for n in range(40)]
        assert served(asked) == {"a": 30, "b": 10}


# --- least_busy, latency, prefix


async def test_least_busy_avoids_who_is_busy() -> None:
    """One that answers slowly has its calls under way, and is given no more than the other has."""
    async with open_fleet(models={"m": model(*"ab", balance="least_busy")}) as house:
        house.upstream.at("a").reply(after_s=60).forever()
        house.upstream.at("b").reply(after_s=0.1).forever()
        await ask_all(house, 100, gap_s=0.2)
        assert served(house.asked)["b"] >= 95


async def test_latency_prefers_the_quick() -> None:
    """Once both are known, the slow one gets little; quick again, it gets its part again."""
    async with open_fleet(models={"m": model(*"ab", balance="latency")}, watched=False) as house:
        house.upstream.at("a").reply(after_s=0.6).forever()
        house.upstream.at("b").reply(after_s=0.3).forever()
        await ask_all(house, 20, gap_s=0.1, stream=True)
        assert served(await ask_all(house, 100, gap_s=0.1, stream=True))["b"] >= 90
        house.upstream.at("a").reply(after_s=0.3).forever()
        await asyncio.sleep(61)  # what nobody saw for long is not known any more
        await ask_all(house, 20, gap_s=0.1, stream=True)
        assert served(await ask_all(house, 100, gap_s=0.1, stream=True))["a"] >= 35


async def test_prefix_keeps_conversations_where_they_began() -> None:
    """Twenty conversations of five turns, all mixed: each stays at its deployment, and both have as much to do."""
    async with open_fleet(models={"m": model(*"ab", balance="prefix")}, watched=False) as house:
        talks: list[list[dict[str, str]]] = [[{"role": "user", "content": f"I am {n}."}] for n in range(20)]
        at: list[set[str]] = [set() for _ in talks]
        for turn in range(5):
            for number, talk in enumerate(talks):
                asking = await house.answer({"model": "m", "messages": talk})
                at[number] |= set(served([asking]))
                talk += [{"role": "assistant", "content": asking.text}, {"role": "user", "content": f"and {turn}?"}]
        assert sum(len(each) == 1 for each in at) >= 18
        assert max(served(house.asked).values()) <= 53


# --- ip_hash


async def test_addresses_are_told_apart_behind_trusted_proxies() -> None:
    """Each comes to its own one, always; 200 of them to both."""
    server = {"secret": "a-pepper-of-at-least-thirty-two-bytes", "trusted_proxies": ["10.0.0.0/8", "192.0.2.7"]}
    async with open_fleet(models={"m": model(*"ab", balance="ip_hash")}, server=server, watched=False) as house:
        callers = [f"198.51.100.{n}" for n in range(60)]
        behind_one = await homes(house, callers, header="x-forwarded-for", peer="10.1.2.3")
        assert min(Counter(behind_one).values()) > 15
        behind_two = [f"203.0.113.9, {caller}, 192.0.2.7" for caller in callers]
        assert await homes(house, behind_two, header="x-forwarded-for", peer="10.1.2.3") == behind_one


async def test_what_strangers_say_of_themselves_is_not_believed() -> None:
    """Without a trusted proxy the connection's own address counts, whatever the header says."""
    async with open_fleet(models={"m": model(*"ab", balance="ip_hash")}, watched=False) as house:
        callers = [f"198.51.100.{n}" for n in range(20)]
        assert len(set(await homes(house, callers, header="x-forwarded-for", peer="203.0.113.1"))) == 1
        peers = [served([await house.answer(chat(str(n)), peer=f"203.0.113.{n}")]) for n in range(30)]
        assert min(sum(peers, Counter()).values()) > 5


async def test_a_key_comes_to_its_own_one() -> None:
    """An office shares one address; its keys are told apart."""
    async with open_fleet(models={"m": model(*"ab", balance="ip_hash", hash_by="key")}, watched=False) as house:
        keys = [await house.add_key(f"k{n}") for n in range(20)]
        found = []
        for key in keys:
            (home,) = served([await house.answer(chat(str(n)), key=key) for n in range(3)])
            found.append(home)
        assert set(found) == {"a", "b"}


async def test_a_session_comes_to_its_own_one() -> None:
    """Named by the header, else by the request's user; who names neither is told apart by key."""
    async with open_fleet(models={"m": model(*"ab", balance="ip_hash", hash_by="session")}, watched=False) as house:
        names = [f"s{n}" for n in range(20)]
        by_header = await homes(house, names, header="x-penstock-session")
        assert set(by_header) == {"a", "b"}
        by_user = [served([await house.answer(chat(user=name))]).popitem()[0] for name in names]
        assert by_user == by_header
        assert len(served([await house.answer(chat(str(n))) for n in range(10)])) == 1


async def test_who_is_out_keeps_its_callers() -> None:
    """Meanwhile they are spread over the rest; nobody else moves, and they come back."""
    async with open_fleet(models={"m": model(*"abc", balance="ip_hash", hash_by="session")}, watched=False) as house:
        names = [f"s{n}" for n in range(40)]
        before = await homes(house, names, header="x-penstock-session")
        house.upstream.at("a").fail(503).times(3).reply().forever()
        while state(house, "a").state != "open":
            await house.answer(chat(str(len(house.asked))), headers={"x-penstock-session": names[before.index("a")]})
        meanwhile: list[Asking] = []
        for name in names:
            asking = await house.answer(chat(f"again {name}"), headers={"x-penstock-session": name})
            meanwhile.append(asking)
        during = [served([asking]).popitem()[0] for asking in meanwhile]
        moved = Counter(now for home, now in zip(before, during, strict=True) if home == "a")
        assert [now for home, now in zip(before, during, strict=True) if home != "a"] == [
            home for home in before if home != "a"
        ]
        assert abs(moved["b"] - moved["c"]) <= 1
        await asyncio.sleep(1)
        for _ in range(3):
            await house.answer(chat(str(len(house.asked))), headers={"x-penstock-session": names[before.index("a")]})
        assert await homes(house, names, header="x-penstock-session") == before


async def test_a_hash_is_over_those_that_share_the_traffic() -> None:
    """In its region a caller has its own deployment, though the model is deployed elsewhere too."""
    models = {
        "m": {
            "deployments": [deployment("c", region="us"), deployment("a", region="eu"), deployment("b", region="eu")],
            "balance": "ip_hash",
            "hash_by": "session",
            "regions": "caller",
        }
    }
    async with open_fleet(models=models, regions={"networks": {"127.0.0.0/8": "eu"}}, watched=False) as house:
        found = await homes(house, [f"s{n}" for n in range(30)], header="x-penstock-session")
        assert set(found) == {"a", "b"}


# --- weight 0 and priority


@pytest.mark.parametrize("standby", [{"weight": 0}, {"priority": 1}])
@pytest.mark.parametrize("balance", ["round_robin", "weighted", "least_busy", "ip_hash", "prefix", "latency"])
async def test_who_stands_by_serves_only_on_failure(balance: str, standby: dict[str, int]) -> None:
    """A failed call goes there, and everything while the first is out; then nothing again."""
    models = {"m": {"deployments": [deployment("b", **standby), deployment("a")], "balance": balance}}
    async with open_fleet(models=models, watched=False) as house:
        assert served(await ask_all(house, 20)) == {"a": 20}
        house.upstream.at("a").fail(503).times(3).reply().forever()
        assert served(await ask_all(house, 8)) == {"b": 8}
        assert called(house)[20:] == [*"ababab", *"bbbbb"]
        await asyncio.sleep(1)
        assert served(await ask_all(house, 20)) == {"a": 20}


async def test_priorities_go_down_one_after_the_other() -> None:
    """The third is asked while the first two are out."""
    models = {"m": {"deployments": [deployment(name, priority=n) for n, name in enumerate("abc")]}}
    async with open_fleet(models=models, watched=False) as house:
        house.upstream.at("a").fail(402).forever()
        house.upstream.at("b").fail(402).forever()
        assert served(await ask_all(house, 5)) == {"c": 5}
        assert called(house) == [*"abc", *"cccc"]


async def test_who_is_full_hands_on_to_the_next_priority() -> None:
    """Requests go on rather than wait."""
    providers = {"a": {"kind": "scripted", "concurrency": 2}, "b": {"kind": "scripted"}}
    models = {"m": {"deployments": [deployment("a"), deployment("b", priority=1)]}}
    async with open_fleet(models=models, providers=providers) as house:
        house.upstream.reply(after_s=1).forever()
        await pour(house, 6, gap_s=0.01)
        assert called(house) == [*"aabbbb"]
