"""What the admin plane says of the fleet: deployments as they are, and why a request would go where."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.core.fleet_report import FleetReport
from penstock.errors import PenstockError, ProviderAccount, ProviderBusy, Saturated, Unreachable
from penstock.server.admin_api import admin_app
from penstock.server.gauges import watch
from penstock.server.health import Phase
from tests.support.house import BASE, PRICES, House, chat, open_house
from tests.support.metrics_text import samples
from tests.support.small_gateway import SmallGateway, small_gateway, small_settings

LOCAL = "http://127.0.0.1:8788"
PROVIDERS = {
    **BASE["providers"],
    "home": {"kind": "scripted", "prices": PRICES, "private": True},
}
MODELS: dict[str, dict[str, Any]] = {
    "m": {
        "balance": "round_robin",
        "regions": "caller",
        "aliases": {"same": {}},
        "deployments": [
            {"provider": "one", "model": "m-1", "region": "eu"},
            {"provider": "two", "model": "m-2", "region": "cn"},
            {"provider": "home", "model": "m-3", "region": "cn", "priority": 1},
        ],
    },
    "other": {"deployments": [{"provider": "one", "model": "m-1", "region": "eu"}]},
}
FLEET: dict[str, Any] = {"providers": PROVIDERS, "models": MODELS}


@asynccontextmanager
async def asked(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of its admin plane."""
    app: Any = admin_app(house.gateway, Phase(), lambda: house.gateway.settings)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=LOCAL) as client:
        yield client


async def plan(client: httpx2.AsyncClient, **wanted: str) -> list[dict[str, Any]]:
    """The rows of one."""
    answer = await client.get("/admin/plan", params={"model": "m", **wanted})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


def failed(house: House, model: str, place: int, error: PenstockError) -> None:
    """One call there ends so."""
    deployments = house.gateway.settings.models[model].deployments
    seat = house.gateway.standing.fleet.take(deployments[place], deployments)
    assert seat is not None
    seat.send(streamed=False)
    seat.end(error)


@pytest.mark.looptime
async def test_a_plan_is_explained_for_each_caller() -> None:
    """The caller's region first, priorities within it; nobody's turn is taken, and nothing waits."""
    async with open_house(**FLEET) as house, asked(house) as client:
        for _ in range(3):
            rows = await plan(client, region="eu")
            assert [(row["place"], row["deployment"]) for row in rows] == [
                (1, "one/m-1"),
                (2, "two/m-2"),
                (3, "home/m-3"),
            ]
        assert [row["deployment"] for row in await plan(client, region="cn")] == ["two/m-2", "home/m-3", "one/m-1"]
        first = (await plan(client, region="cn"))[0]
        assert {
            "region": "cn",
            "region_rank": 0,
            "priority": 0,
            "state": "closed",
            "in_flight": 0,
        }.items() <= first.items()
        assert (first["latency_s"], first["reason"]) == (None, "")
        total = (await client.get("/admin/plan?model=same")).json()["total"]
        assert total == {"model": "same", "balance": "round_robin", "regions": "caller"}


@pytest.mark.looptime
async def test_who_is_dropped_is_explained() -> None:
    """Out, of another dialect, or not private for what is sensitive."""
    async with (
        open_house(**FLEET, sensitive={"keys": ["secret"], "tags": ["pii=yes"]}) as house,
        asked(house) as client,
    ):
        for _ in range(3):
            failed(house, "m", 1, Unreachable("no connection"))
        rows = {row["deployment"]: row for row in await plan(client)}
        assert (rows["two/m-2"]["place"], rows["two/m-2"]["state"]) == (0, "open")
        assert rows["two/m-2"]["reason"].startswith("is out; it is asked again in ")
        rows = {row["deployment"]: row for row in await plan(client, tags="pii=yes")}
        assert rows["one/m-1"]["reason"] == "is not private, and this request is sensitive"
        assert rows["home/m-3"]["place"] == 1


@pytest.mark.looptime
async def test_a_plan_goes_by_the_key() -> None:
    """By its name: what it may use, and whether it is sensitive; a key that is not there is a mistake."""
    server = {**BASE["server"], "admin_token": "t"}
    async with open_house(**FLEET, server=server, sensitive={"keys": ["secret"]}) as house, asked(house) as client:
        client.headers["authorization"] = "Bearer t"
        await house.add_key("secret")
        await house.add_key("narrow", models=("other",))
        assert [row["deployment"] for row in await plan(client, key="secret") if row["place"]] == ["home/m-3"]
        assert (await client.get("/admin/plan?model=m&key=narrow")).status_code == 403
        assert (await client.get("/admin/plan?model=other&key=narrow")).status_code == 200
        answer = await client.get("/admin/plan?model=m&key=nobody")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "key")


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("", 400, "model"), ("model=", 400, "model"), ("model=nothing", 404, "model"),
        ("model=m&dialect=morse", 400, "dialect"), ("model=m&address=home", 400, "address"),
        ("model=m&tags=x", 400, None), ("model=m&region=a%20b", 400, None), ("model=m&colour=red", 400, None),
    ],
)  # fmt: skip
async def test_a_plan_says_which_parameter_is_wrong(query: str, status: int, param: str | None) -> None:
    """In the shape of any other error."""
    async with open_house(**FLEET) as house, asked(house) as client:
        answer = await client.get(f"/admin/plan?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        assert (await client.get("/admin/fleet?colour=red")).status_code == 400


@pytest.mark.looptime
async def test_a_plan_without_a_model_says_what_is_missing() -> None:
    """And which models there are."""
    async with open_house(**FLEET) as house, asked(house) as client:
        message = (await client.get("/admin/plan")).json()["error"]["message"]
        assert message == "say which model: ?model= one of m, same, other"


@pytest.mark.looptime
@pytest.mark.parametrize("balance", ["weighted", "least_busy", "ip_hash", "prefix", "latency"])
async def test_every_balancer_can_be_asked_without_a_prompt(balance: str) -> None:
    """A plan has a first place, for every dialect that the deployments speak."""
    models = {"m": MODELS["m"] | {"balance": balance}}
    async with open_house(providers=PROVIDERS, models=models) as house, asked(house) as client:
        for dialect in ("chat", "completions", "embeddings", "messages", "count_tokens"):
            rows = await plan(client, dialect=dialect, address="192.0.2.7", session="s", user="u")
            assert any(row["place"] == 1 for row in rows) or all("does not speak" in row["reason"] for row in rows)


@pytest.mark.looptime
async def test_the_fleet_shows_every_deployment_and_what_was_done() -> None:
    """Once each, whoever uses it, planned or not; calls, failures and shares of the last seconds."""
    async with open_house(**FLEET) as house, asked(house) as client:
        house.gateway.metrics.note(house.now)
        house.upstream.reply(after_s=1).forever()
        await house.answer(chat("a"))
        await house.answer(chat("a"))
        failed(house, "m", 0, ProviderAccount("no money", status=402))
        report = report_of(await client.get("/admin/fleet"))
    rows = {each.deployment: each for each in report.rows}
    assert list(rows) == ["one/m-1", "two/m-2", "home/m-3"]
    assert rows["one/m-1"].models == ("m", "other")
    assert (rows["one/m-1"].state, rows["two/m-2"].state, rows["home/m-3"].state) == (
        "account_open",
        "closed",
        "closed",
    )
    assert rows["one/m-1"].back_in_s is not None
    assert sum(each.calls for each in report.rows) == 1
    assert [each.share for each in report.rows if each.calls] == [1.0]
    last = report.total.last
    assert (last.seconds, last.requests_per_s, last.hit_rate) == (1.0, 2.0, 0.5)
    assert last.cost_per_hour != last.saved_per_hour or last.cost_per_hour != "0.000000000"
    assert (report.total.active, report.total.serving, report.total.waiting, report.total.shed) == (0, 0, 0, {})


def report_of(answer: httpx2.Response) -> FleetReport:
    """The answer, as commands read it: every field has its type."""
    assert answer.headers["cache-control"] == "no-store"
    return msgspec.json.decode(answer.content, type=FleetReport)


# --- the gauges


async def shown(gateway: SmallGateway) -> dict[str, float]:
    """The metrics of the fleet, by name and first label."""
    text = (await gateway.metrics.scrape()).decode()
    return {":".join((name, *(value for _, value in labels))): value for (name, labels), value in samples(text).items()}


async def test_gauges_follow_the_breakers() -> None:
    """A deployment is down while it is out, whatever its last call said, and what is under way there is counted."""
    gateway = await small_gateway(small_settings())
    watch(gateway)
    deployments = gateway.settings.models["sim-chat"].deployments
    name, fleet = deployments[0].id, gateway.standing.fleet
    assert (await shown(gateway))[f"penstock_deployment_up:{name}"] == 1
    seats = [fleet.take(deployments[0], deployments) for _ in range(21)]
    seen = await shown(gateway)
    assert seen[f"penstock_deployment_in_flight:{name}"] == 21
    assert seen[f"penstock_deployment_limit:{name}"] >= 21
    for place, seat in enumerate(seats):
        assert seat is not None
        seat.end(ProviderBusy("busy", status=503))
        up = (await shown(gateway))[f"penstock_deployment_up:{name}"]
        assert up == (place < 20), "alone it serves on until twenty failed in a row and nothing is under way"
    assert (await shown(gateway))["penstock_deployment_up:sim/sim-embed"] == 1
    await gateway.close()


async def test_gauges_tell_how_much_there_is_to_do() -> None:
    """Slots, those who wait, requests per second; what lines sent away, by why."""
    settings = small_settings()
    gateway = await small_gateway(replace(settings, limits=replace(settings.limits, max_concurrency=1, max_queue=1)))
    watch(gateway)
    seen = await shown(gateway)
    assert (seen["penstock_concurrency_limit"], seen["penstock_queue_depth"]) == (1, 0)
    assert seen["penstock_requests_per_second"] == 0
    gate = gateway.standing.gate
    await gate.enter("a", batch=False)
    waiting = asyncio.create_task(gate.enter("a", batch=False))
    await asyncio.sleep(0)
    with pytest.raises(Saturated):
        await gate.enter("a", batch=False)
    seen = await shown(gateway)
    assert (seen["penstock_queue_depth"], seen["penstock_shed_total:queue_full"]) == (1, 1)
    gate.leave()
    await waiting
    assert (await shown(gateway))["penstock_queue_depth"] == 0
    await gateway.close()
