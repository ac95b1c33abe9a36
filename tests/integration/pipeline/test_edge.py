"""An edge and its centre in one process and virtual time: what passes along, what is believed, what is charged."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from penstock.core.offer import Offer, Offered
from tests.support.asgi_transport import AsgiTransport
from tests.support.house import END_S, PRICES, House, chat, message, open_house, settings_of
from tests.support.otlp import KeptCollector, values

pytestmark = pytest.mark.looptime(end=END_S)

EDGE = "edge-eu"
NO_RETRY_LIMIT = {"attempts": 4, "budget": 1}
NO_CACHE = {"exact": {"ttl": "0s"}, "join": False}


class Two(NamedTuple):
    """A house that asks, a house that is asked, and the wire between them."""

    edge: House
    centre: House
    wire: AsgiTransport


@asynccontextmanager
async def two_houses(
    *,
    edges: tuple[str, ...] = (EDGE,),
    key: Mapping[str, Any] | None = None,
    private: bool = False,
    edge: Mapping[str, Any] | None = None,
    **centre: Any,
) -> AsyncIterator[Two]:
    """``edges``: whom the centre believes; ``key``: fields of the edge's key there; ``edge``, ``centre``: sections."""
    server = {"secret": "a-pepper-of-at-least-thirty-two-bytes", "edges": [*edges]}
    async with open_house(server=server, **centre) as above:
        credential = await above.add_key(EDGE, **(key or {}))
        wire = AsgiTransport(above.app)
        provider = {
            "kind": "penstock", "base_url": "http://centre.test/v1", "api_key": credential, "private": private,
            "prices": PRICES,
        }  # fmt: skip
        sections = {
            "providers": {"centre": provider},
            "models": {name: {"deployments": [{"provider": "centre"}]} for name in ("m", "duo", "stopping")},
            "retry": NO_RETRY_LIMIT,
            **(edge or {}),
        }
        async with open_house(transports={"penstock": wire}, **sections) as below:
            yield Two(below, above, wire)


# --- one request


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [chat(user="alice"), message(metadata={"user_id": "alice"})])
async def test_ids_tenant_and_tags_stand_in_both_ledgers(*, stream: bool, body: dict[str, Any]) -> None:
    """Whichever way it is asked; the edge is charged nothing, the centre what its provider bills."""
    async with two_houses() as two:
        web = await two.edge.add_key("web", team="shop")
        headers = {"x-penstock-tags": "feature=search,env=prod"}
        answer = await two.edge.answer({**body, "stream": stream}, key=web, headers=headers)
        assert answer.status == 200, answer.body
        (here,), (there,), (attempt,) = two.edge.exchanges, two.centre.exchanges, two.edge.attempts
        assert (there.parent, attempt.upstream_id) == (here.id, there.id)
        assert (there.key_name, there.team, there.user, there.tags) == (f"{EDGE}/web", "shop", "alice", here.tags)
        assert there.key_id.endswith(f"/{here.key_id}")
        assert (here.cost_nano, here.baseline_nano, attempt.held_nano) == (0, 0, 0)
        assert attempt.price_source == "charged at the centre"
        assert there.cost_nano
        assert here.usage == there.usage


async def test_what_the_centre_says_of_its_answer_is_seen_at_the_edge() -> None:
    """Its cache, its cost and its id, on whole answers; the cost of the edge itself is nothing."""
    async with two_houses() as two:
        answer = await two.edge.answer(chat())
        told = {name: value for name, value in answer.headers.items() if name.startswith("x-penstock-")}
        cost = two.centre.exchanges[0].cost_nano
        assert cost is not None
        assert told["x-penstock-upstream-cost"] == f"{cost / 1e9:.6f} CNY"
        assert told["x-penstock-upstream-cache"] == "miss"
        assert told["x-penstock-upstream-request-id"] == two.centre.exchanges[0].id
        assert told["x-penstock-cost"] == "0.000000 CNY"


async def test_what_the_client_said_goes_along() -> None:
    """Region, session, priority, what is left of the time, sensitivity; none of it by a key that it does not have."""
    async with two_houses() as two:
        headers = {
            "x-penstock-region": "eu", "x-penstock-session": "s-1", "x-penstock-priority": "batch", "timeout": "30",
            "cache-control": "no-cache, max-age=5", "x-penstock-sensitive": "false",
        }  # fmt: skip
        await two.edge.answer(chat(), headers=headers)
        sent = two.wire.sent[0].headers
        assert (sent["x-penstock-region"], sent["x-penstock-session"], sent["x-penstock-priority"]) == (
            "eu", "s-1", "batch",
        )  # fmt: skip
        assert sent["x-penstock-timeout"] == "30.000"
        assert sent["cache-control"] == "no-cache, max-age=5"
        assert (sent["x-penstock-hops"], sent["x-forwarded-for"]) == ("1", "127.0.0.1")
        assert "x-penstock-sensitive" not in sent


async def test_a_region_that_no_header_can_say_is_left_out() -> None:
    """The config may call a region anything; the request goes on."""
    async with two_houses(edge={"regions": {"networks": {"127.0.0.1": "\u534e\u4e1c"}}}) as two:
        assert (await two.edge.answer(chat())).status == 200
        assert "x-penstock-region" not in two.wire.sent[0].headers
    async with two_houses(edge={"regions": {"networks": {"127.0.0.1": "cn-east"}}}) as two:
        await two.edge.answer(chat())
        assert two.wire.sent[0].headers["x-penstock-region"] == "cn-east"


async def test_sensitive_is_sensitive_at_the_centre_too() -> None:
    """Where the centre is trusted with it: there it goes to private providers only, or nowhere."""
    sensitive = {"x-penstock-sensitive": "true"}
    async with two_houses() as two:
        assert (await two.edge.answer(chat(), headers=sensitive)).status == 503, "the centre is not private"
        assert not two.wire.calls
    async with two_houses(private=True) as two:
        assert (await two.edge.answer(chat(), headers=sensitive)).status == 503
        assert two.wire.sent[0].headers["x-penstock-sensitive"] == "true"
        assert not two.centre.upstream.calls


# --- who is believed


async def test_tenants_of_an_edge_share_no_answer() -> None:
    """Neither here nor there; one tenant does, with itself."""
    async with two_houses(edge={"cache": NO_CACHE}) as two:
        web, app = await two.edge.add_key("web"), await two.edge.add_key("app")
        caches = [
            (await two.edge.answer(chat(), key=key)).headers["x-penstock-upstream-cache"] for key in (web, app, web)
        ]
        assert caches == ["miss", "miss", "exact"]


async def test_a_key_that_is_no_edge_is_not_believed() -> None:
    """It is itself, whatever it says; and nothing that it asks for others is stored or shared."""
    async with two_houses(edges=(), edge={"cache": NO_CACHE}) as two:
        web, app = await two.edge.add_key("web", team="rich"), await two.edge.add_key("app")
        caches = [
            (await two.edge.answer(chat(), key=key)).headers["x-penstock-upstream-cache"] for key in (web, app, web)
        ]
        assert caches == ["off", "off", "off"]
        assert {(row.key_name, row.team, row.parent) for row in two.centre.exchanges} == {(EDGE, "", "")}


async def test_a_tenant_has_no_right_that_its_edge_has_not() -> None:
    """Its models, its team, and its rate, which all tenants take together; refusals are told as they are, once."""
    async with two_houses(key={"models": ("m",), "rpm": 3, "team": "eu"}) as two:
        keys = [await two.edge.add_key(name, team="rich") for name in ("web", "app")]
        forbidden = await two.edge.answer(chat(model="duo"), key=keys[0])
        assert (forbidden.status, forbidden.error["code"]) == (403, "model_forbidden")
        asked = [await two.edge.answer(chat(str(n)), key=keys[n % 2]) for n in range(4)]
        assert [each.status for each in asked] == [200, 200, 200, 429]
        assert (asked[-1].error["code"], "retry-after" in asked[-1].headers) == ("rate_limit_exceeded", True)
        assert {row.team for row in two.centre.exchanges} == {"eu"}
        assert len(two.wire.calls) == 5


async def test_an_edge_is_bound_by_its_own_budget_and_a_tenant_by_both() -> None:
    """What a tenant spends counts for the edge too; a refusal names the budget, and others go on."""
    tokens = {"name": "keys", "scope": "key", "limit": "1000000 tokens", "window": "total"}
    entries = {f"{EDGE}/web": "0 tokens"}
    async with two_houses(budgets=[{**tokens, "entries": entries}]) as two:
        web, app = await two.edge.add_key("web"), await two.edge.add_key("app")
        refused = await two.edge.answer(chat(), key=web)
        assert (refused.status, refused.error["code"], refused.error["budget"]["value"]) == (
            429, "budget_exceeded", f"{EDGE}/web",
        )  # fmt: skip
        assert refused.headers["x-should-retry"] == "false"
        assert (await two.edge.answer(chat(), key=app)).status == 200
        used = {place.value: account.posted for place, account in two.centre.gateway.treasury.bank.accounts().items()}
        assert used[EDGE] == used[f"{EDGE}/app"] > 0


async def test_an_edge_that_is_sensitive_is_so_for_all_its_tenants() -> None:
    """The name in the config is the edge's."""
    async with two_houses(sensitive={"keys": [EDGE]}) as two:
        assert (await two.edge.answer(chat())).status == 503
        assert not two.centre.upstream.calls


# --- once


async def test_a_lost_answer_is_not_made_again() -> None:
    """The edge asks again, and the centre repeats what it had; the provider is asked, and bills, once."""
    async with two_houses() as two:
        two.wire.lose = lambda number: number == 1
        answer = await two.edge.answer(chat())
        assert answer.status == 200
        assert (len(two.wire.calls), len(two.centre.upstream.calls)) == (2, 1)
        assert [row.outcome for row in two.edge.attempts] == ["provider_unreachable", "ok"]
        assert two.edge.gateway.stores.answers.stats()[0] == 0, "how a repeated answer came to be, nobody says"
        assert sum(row.cost_nano or 0 for row in two.centre.exchanges) == two.centre.attempts[0].charged_book_nano


async def test_a_clients_own_key_is_one_request_for_sister_edges_too() -> None:
    """The key that goes along is made of the client's, its tenant's and the body, and of nothing else."""
    async with two_houses(edge={"cache": NO_CACHE}) as two:
        for text, key in (("a", "k"), ("b", "k2"), ("a", "")):
            await two.edge.answer(chat(text), headers={"idempotency-key": key} if key else {})
        keys = [call.headers["idempotency-key"] for call in two.wire.sent]
        assert len(set(keys)) == 3
        assert all(len(key) == 64 for key in keys)


async def test_only_what_was_paid_for_is_kept_for_repeats() -> None:
    """Every request of an edge has a key; a hit at the centre would be one again."""
    async with two_houses(edge={"cache": NO_CACHE}) as two:
        for _ in range(2):
            await two.edge.answer(chat())
        centre = two.centre.gateway
        tenant, now = two.centre.exchanges[0].key_id, centre.clock.now()
        keys = [call.headers["idempotency-key"] for call in two.wire.sent]
        kept = [await centre.stores.results.get(tenant, key, now) is not None for key in keys]
        assert ([row.cache for row in two.centre.exchanges], kept) == (["miss", "exact"], [True, False])


async def test_what_the_centre_tried_in_vain_is_not_tried_again() -> None:
    """Its retries are not multiplied by the edge's; the client hears the centre's own error."""
    async with two_houses(retry={"attempts": 2, "budget": 1}) as two:
        two.centre.upstream.fail(503).forever()
        failed = await two.edge.answer(chat())
        assert (failed.status, failed.error["code"]) == (503, "provider_busy")
        assert (len(two.wire.calls), len(two.centre.upstream.calls)) == (1, 2)


async def test_a_ring_ends() -> None:
    """Four Penstocks may stand in a row; the fifth says that it is a loop, and nobody is asked again."""
    async with two_houses() as two:
        hops = {"x-penstock-hops": "4"}
        told = await two.edge.answer(chat(), headers=hops)
        assert (told.status, told.error["code"]) == (508, "loop_detected")
        assert len(two.wire.calls) == 1
        bad = await two.edge.answer(chat(), headers={"x-penstock-hops": "0"})
        assert bad.status == 400


async def test_what_the_edge_pays_itself_is_its_own_cost() -> None:
    """Where another deployment answers for the centre that is out: charged here, measured by the centre's price."""
    own = {"kind": "scripted", "prices": {**PRICES, "output": 2}}
    deployments = [{"provider": "centre"}, {"provider": "own", "model": "m-1", "weight": 0}]
    async with two_houses() as two:
        centre = {"kind": "penstock", "base_url": "http://centre.test/v1", "prices": PRICES, "api_key": "psk-1"}
        sections = {"providers": {"centre": centre, "own": own}, "models": {"m": {"deployments": deployments}}}
        await two.edge.gateway.adopt(settings_of(**sections))
        two.wire.down = True
        answer = await two.edge.answer(chat())
        assert answer.headers["x-penstock-deployment"] == "own/m-1"
        (row,) = two.edge.exchanges
        usage = row.usage
        assert [each.charged_book_nano for each in two.edge.attempts] == [0, row.cost_nano]
        assert row.cost_nano == usage.input_miss * 2000 + usage.input_hit * 500 + usage.output * 2000
        assert row.baseline_nano == usage.input_miss * 2000 + usage.input_hit * 500 + usage.output * 8000


# --- caches


async def test_the_edge_serves_its_cache_without_the_centre() -> None:
    """A hit is a saving by the centre's own price; a miss is an error."""
    async with two_houses() as two:
        await two.edge.answer(chat())
        two.wire.down = True
        hit, miss = await two.edge.answer(chat()), await two.edge.answer(chat("other"))
        assert (hit.headers["x-penstock-cache"], miss.status) == ("exact", 502)
        saved, charged = two.edge.exchanges[1], two.centre.exchanges[0]
        assert (saved.cost_nano, saved.baseline_nano) == (0, charged.cost_nano)


async def test_two_caches_do_not_add_their_times() -> None:
    """An answer that the centre made an hour ago is an hour old here."""
    async with two_houses(cache={"exact": {"ttl": "2h"}}, edge={"cache": {"exact": {"ttl": "1h"}}}) as two:
        await two.edge.answer(chat())
        clock = two.edge.gateway.clock
        await clock.sleep(3500)
        assert (await two.edge.answer(chat())).headers["age"] == "3500"
        await two.edge.gateway.stores.answers.purge()
        again = await two.edge.answer(chat())
        assert (again.headers["x-penstock-cache"], again.headers["x-penstock-upstream-cache"]) == ("miss", "exact")
        await clock.sleep(200)
        assert (await two.edge.answer(chat())).headers["x-penstock-cache"] == "miss"
        assert len(two.centre.upstream.calls) == 1


async def test_what_the_ladder_of_the_centre_changed_is_not_stored() -> None:
    """It may be another model's answer: the edge serves it, marked, to who asked, and to nobody else."""
    soft = {"name": "soft", "limit": "1 tokens", "window": "total", "hard": False, "ladder": {"cheaper": 0.5}}
    models = {
        "m": {"deployments": [{"provider": "one", "model": "m-1"}], "cheaper": "stopping"},
        "stopping": {"deployments": [{"provider": "two", "model": "m-2"}]},
    }
    async with two_houses(budgets=[soft], models=models) as two:
        await two.edge.answer(chat("first"))
        caches = [await two.edge.answer(chat()) for _ in range(2)]
        assert [each.headers["x-penstock-cache"] for each in caches] == ["miss", "miss"]
        assert [each.headers["x-penstock-degraded"] for each in caches] == ["cheaper"] * 2


# --- what is told of it


async def test_models_that_the_centre_offers_are_told_by_name() -> None:
    """To a collector as on the page of metrics, from when they are offered: not as some other model."""
    collector = KeptCollector()
    telemetry = {"otlp": "http://127.0.0.1:4318", "traces": False}
    async with two_houses(edge={"models": {}, "telemetry": telemetry, "collector": collector}) as two:
        gateway = two.edge.gateway
        await gateway.take_offer("centre", Offer(models=(Offered(name="m"),), prices={}))
        assert (await two.edge.answer(chat())).status == 200
        await two.edge.rest()
        await gateway.telemetry.tell_metrics()
        for name in ("gen_ai.server.request.duration", "gen_ai.client.operation.duration"):
            (point,) = collector.told.points[name]
            labels = values(point.attributes)
            assert (labels["gen_ai.request.model"], labels["gen_ai.provider.name"]) == ("m", "penstock")
