"""The admin plane: what an operator may ask and do, and who is kept out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.config.settings import Address, Settings
from penstock.core.usage import Usage
from penstock.errors import ConfigError
from penstock.pipeline.keyring import digest_key
from penstock.ports.answers import StoredAnswer
from penstock.server.admin_api import admin_app
from penstock.server.health import Phase
from tests.support.configs import loaded
from tests.support.ledger_rows import rows_of
from tests.support.small_gateway import PEPPER, SmallGateway, small_gateway, small_settings

TOKEN = "an-admin-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LOCAL = "http://127.0.0.1:8788"
ADMIN_PATHS = [
    ("GET", "/admin/spend"), ("GET", "/admin/keys"), ("POST", "/admin/keys"), ("DELETE", "/admin/keys/x"),
    ("GET", "/admin/budgets"), ("PUT", "/admin/budgets/x"), ("DELETE", "/admin/budgets/x"),
    ("GET", "/admin/cache"), ("POST", "/admin/cache/purge"), ("GET", "/admin/config"), ("POST", "/admin/reload"),
    ("GET", "/admin/exchanges/x"), ("GET", "/admin/fleet"), ("GET", "/admin/plan"),
    ("GET", "/admin"), ("GET", "/admin/unknown"),
]  # fmt: skip


@asynccontextmanager
async def administered(
    settings: Settings, phase: Phase | None = None, load: Callable[[], Settings] | None = None
) -> AsyncIterator[tuple[SmallGateway, httpx2.AsyncClient]]:
    """A gateway and a client of its admin plane."""
    gateway = await small_gateway(settings)
    await gateway.start()
    app: Any = admin_app(gateway, phase or Phase(), load or (lambda: settings))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=LOCAL) as client:
        yield gateway, client
    await gateway.close()


async def test_health_follows_the_process() -> None:
    """Alive at once, ready when it listens, not while it drains; no token is asked for."""
    phase = Phase()
    async with administered(small_settings(TOKEN), phase) as (_, client):
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        phase.listening = True
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        phase.draining = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize(("on_failure", "status"), [("refuse", 503), ("answer", 200)])
async def test_who_refuses_everything_is_not_ready(on_failure: str, status: int) -> None:
    """While the ledger cannot be written, a load balancer should ask another gateway, unless this one answers on."""
    settings = small_settings(TOKEN)
    settings = replace(settings, ledger=replace(settings.ledger, on_failure=on_failure))
    async with administered(settings, Phase(listening=True)) as (gateway, client):
        assert (await client.get("/readyz")).status_code == 200
        gateway.stores.ledger.healthy = False  # type: ignore[misc] # the memory ledger's is a plain attribute
        assert (await client.get("/readyz")).status_code == status


async def test_metrics_are_shown_without_a_token() -> None:
    """To Prometheus, in its own format."""
    async with administered(small_settings(TOKEN)) as (_, client):
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "penstock_build_info{" in answer.text


@pytest.mark.parametrize(("method", "path"), ADMIN_PATHS)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
async def test_every_admin_path_asks_for_the_token(method: str, path: str, header: str) -> None:
    """Even those that do not exist."""
    async with administered(small_settings(TOKEN)) as (_, client):
        answer = await client.request(method, path, headers={"authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_an_empty_token_opens_nothing() -> None:
    """Whatever the config lets through."""
    async with administered(small_settings("")) as (_, client):
        assert (await client.get("/admin/keys", headers={"authorization": "Bearer "})).status_code == 401


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}, {"host": "a/b"}]
)
@pytest.mark.parametrize("path", ["/admin/keys", "/metrics", "/readyz"])
async def test_open_mode_is_closed_to_web_pages(path: str, headers: dict[str, str]) -> None:
    """A page reaches loopback by DNS rebinding, but not without its Host or its Origin."""
    async with administered(small_settings()) as (_, client):
        assert (await client.get(path, headers=headers)).status_code == 400
        assert (await client.get(path)).status_code in (200, 503)


async def test_open_mode_ends_with_the_first_key() -> None:
    """Then nobody administers without a token; the key is shown once and stored as a keyed hash."""
    async with administered(small_settings()) as (gateway, client):
        answer = await client.post("/admin/keys", json={"name": "search", "team": "shop", "rpm": 60})
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        key = answer.json()["key"]
        assert gateway.keyring.find(key, gateway.clock.now()) is not None
        (record,) = await gateway.stores.keys.list()
        assert record.digest == digest_key(PEPPER, key)
        assert (record.team, record.rpm) == ("shop", 60)
        assert (await client.get("/admin/keys")).status_code == 401


async def test_open_mode_is_for_loopback_only() -> None:
    """On another address nothing is administered without a token."""
    settings = small_settings()
    settings = replace(settings, server=replace(settings.server, admin_listen=Address("0.0.0.0", 8788)))  # noqa: S104 - refused
    async with administered(settings) as (_, client):
        assert (await client.get("/admin/keys")).status_code == 401


async def test_keys_are_listed_and_revoked() -> None:
    """Without their hashes; a revoked key is a stranger at once."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        client.headers.update(BEARER)
        made = (await client.post("/admin/keys", json={"name": "a", "expires_in_s": 60})).json()
        assert (await client.post("/admin/keys", json={"name": "a"})).status_code == 400
        (row,) = (await client.get("/admin/keys")).json()["rows"]
        assert row["name"] == "a"
        assert "digest" not in row
        assert "key" not in row
        assert (await client.delete("/admin/keys/a")).status_code == 200
        assert gateway.keyring.find(made["key"], gateway.clock.now()) is None
        assert (await client.delete("/admin/keys/a")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"name": 1}', b'{"name": "a", "admin": true}', b'{"name": "a", "rpm": 0}', b'{"name": ""}',
        b'{"name": "a", "models": "all"}', b'{"name": "a", "expires_in_s": -1}', b"\xff", b'{"a":' * 100_000,
    ],
)  # fmt: skip
async def test_a_key_is_not_made_of_nonsense(body: bytes) -> None:
    """Every mistake is a 4xx in the usual shape, and nothing is stored."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        answer = await client.post("/admin/keys", content=body, headers=BEARER)
        assert answer.status_code in (400, 413)
        assert answer.json()["error"]["message"]
        assert not await gateway.stores.keys.list()


async def test_budgets_are_set_shown_and_removed() -> None:
    """Each takes effect at once, and only what is named changes."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        client.headers.update(BEARER)
        wanted = {"scope": "user", "limit": "100 tokens", "window": "total", "entries": {"bob": "0 tokens"}}
        (row,) = (await client.put("/admin/budgets/per-user", json=wanted)).json()["rows"]
        assert (row["budget"], row["value"], row["limit"], row["used"]) == ("per-user", "bob", "0", "0")
        (budget,) = gateway.treasury.budgets
        assert (budget.limit, budget.limit_of("bob")) == (100, 0)
        await client.put("/admin/budgets/per-user", json={"value": "alice", "limit": "7 tokens", "hard": False})
        (budget,) = gateway.treasury.budgets
        assert (budget.limit, dict(budget.entries), budget.hard) == (100, {"bob": 0, "alice": 7}, False)
        shown = (await client.get("/admin/budgets")).json()
        assert [each["value"] for each in shown["rows"]] == ["alice", "bob"]
        assert (await client.delete("/admin/budgets/per-user")).json()["rows"] == []
        assert gateway.treasury.budgets == ()
        assert (await client.delete("/admin/budgets/per-user")).status_code == 404


async def test_a_budget_is_reset_to_the_configs(tmp_path: Path) -> None:
    """At once, also after it was removed; what nothing was set of is not there."""
    read = loaded("budgets: [{name: b, limit: 1 CNY}]", tmp_path)
    settings = replace(small_settings(TOKEN), budgets=read.budgets, written_budgets=read.written_budgets)
    async with administered(settings) as (gateway, client):
        client.headers.update(BEARER)
        for method, change in (("PUT", {"limit": "2 CNY"}), ("DELETE", None)):
            await client.request(method, "/admin/budgets/b", json=change)
            assert gateway.treasury.budgets != settings.budgets
            (row,) = (await client.post("/admin/budgets/b/reset")).json()["rows"]
            assert (row["budget"], row["limit"]) == ("b", "1.000000000")
            assert gateway.treasury.budgets == settings.budgets
        answer = await client.post("/admin/budgets/b/reset")
        assert (answer.status_code, "nothing was set" in answer.json()["error"]["message"]) == (404, True)


async def test_the_configs_budgets_are_shown_with_it(tmp_path: Path) -> None:
    """With the name of their zone, as JSON."""
    text = "budgets: [{name: b, limit: 1 CNY, timezone: Asia/Tokyo, ladder: {stale: 0.5}}]\n"
    settings = replace(small_settings(TOKEN), budgets=loaded(text, tmp_path).budgets)
    async with administered(settings) as (_, client):
        shown = (await client.get("/admin/config", headers=BEARER)).json()["budgets"]
        assert (shown[0]["limit"], shown[0]["zone"], shown[0]["ladder"]) == (10**9, "Asia/Tokyo", {"stale": 0.5})


async def test_changes_at_once_lose_nothing() -> None:
    """Each is made of what the one before has left."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        client.headers.update(BEARER)
        await client.put("/admin/budgets/b", json={"scope": "user", "limit": "1 CNY"})
        changes = [{"value": f"u{number}", "limit": "2 CNY"} for number in range(8)]
        await asyncio.gather(*(client.put("/admin/budgets/b", json=change) for change in changes))
        assert len(gateway.treasury.budgets[0].entries) == 8


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (b'{"limit": "-5 CNY"}', "limit", "limit: '-5 CNY' is negative; write 0 or more"),
        (b'{"limit": "5 CNY", "timezone": "Mars"}', "timezone", "is no time zone; write an IANA name"),
        (b'{"limit": "5 CNY", "entries": {"a": 5}}', "entries", "entries.a: '5' lacks its unit"),
        (b'{"limit": "5 CNY", "alerts": [0.5, 11]}', "alerts", "alerts[1]: '11' is no fraction"),
        (b'{"limit": "5 CNY", "limits": 1}', "limits", "is no setting; did you mean limit?"),
        (b'{"limit": "5 CNY", "name": "other"}', "name", "a budget keeps its name"),
        (b"{}", "limit", "is missing; add `limit: ...`"),
        (b"[]", None, "the body is not what this takes"),
        (b'{"entries": ' + b'{"a": ' * 600 + b"1" + b"}" * 601, None, "nests too deep"),
        (b'{"entries": ' + b'{"a": ' * 9000, None, "the body is not what this takes"),
    ],
)
async def test_a_budget_is_not_made_of_nonsense(body: bytes, param: str | None, said: str) -> None:
    """A 400 that names the field and what to do, and nothing is stored."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        answer = await client.put("/admin/budgets/b", content=body, headers=BEARER)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert said in error["message"]
        assert error["param"] == param
        assert not await gateway.stores.budgets.list()


async def test_spend_is_what_the_command_prints() -> None:
    """Rows by group, and their total, exact to the nano-unit."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        gateway.stores.ledger.append(rows_of(1) + rows_of(2))
        answer = (await client.get("/admin/spend?by=model&since=all", headers=BEARER)).json()
    (row,) = answer["rows"]
    assert (row["model"], row["requests"], row["cost"], row["currency"]) == ("flash", 2, "0.000000014", "CNY")
    assert answer["total"]["cost"] == "0.000000014"


@pytest.mark.parametrize(
    "query", ["by=colour", "since=whenever", "timezone=Mars/Base", "colour=red", "until=2026-13-01"]
)
async def test_spend_says_which_parameter_is_wrong(query: str) -> None:
    """As a 400."""
    async with administered(small_settings(TOKEN)) as (_, client):
        answer = await client.get(f"/admin/spend?{query}", headers=BEARER)
    assert answer.status_code == 400


async def test_an_exchange_is_shown_with_its_attempts_and_shares() -> None:
    """By the id that the client got."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        gateway.stores.ledger.append(rows_of(1))
        rows = (await client.get("/admin/exchanges/ex_000001", headers=BEARER)).json()["rows"]
        assert [row["row"] for row in rows] == ["exchange", "attempt", "share"]
        assert (await client.get("/admin/exchanges/none", headers=BEARER)).status_code == 404


def answer_of(model: str, tenant: str) -> StoredAnswer:
    """A stored answer."""
    return StoredAnswer(
        body=b"{}", stored_at=0.0, expires_at=9e9, attempt_id="at", model=model, tenant=tenant, tags=("a=b",),
        deployment="sim/x", usage=Usage(), estimated=False,
    )  # fmt: skip


async def test_the_cache_is_purged_by_model_key_tag_or_all() -> None:
    """A key is named by its name, a tag as name=value."""
    async with administered(small_settings(TOKEN)) as (gateway, client):
        client.headers.update(BEARER)
        key = (await client.post("/admin/keys", json={"name": "search"})).json()
        answers = gateway.stores.answers
        for number, (model, tenant) in enumerate(
            [("m", key["id"]), ("m", "other"), ("n", "other"), ("n", "anonymous")]
        ):
            answers.put(b"%032d" % number, answer_of(model, tenant))
        assert (await client.get("/admin/cache")).json()["rows"][0]["entries"] == 4
        assert (await client.post("/admin/cache/purge", json={"key": "search"})).json() == {"purged": 1}
        assert (await client.post("/admin/cache/purge", json={"key": "anonymous", "model": "m"})).json() == {
            "purged": 0
        }
        assert (await client.post("/admin/cache/purge", json={"model": "n"})).json() == {"purged": 2}
        assert (await client.post("/admin/cache/purge", json={"tag": "a=b", "all": True})).status_code == 400
        assert (await client.post("/admin/cache/purge", json={"key": "nobody"})).status_code == 400
        assert (await client.post("/admin/cache/purge", json={"all": True})).json() == {"purged": 1}


async def test_an_invalid_config_is_refused_with_every_mistake() -> None:
    """The old one serves on."""

    def load() -> Settings:
        raise ConfigError(["a.yaml:1: x: wrong", "a.yaml:2: y: wrong"])

    async with administered(small_settings(TOKEN), load=load) as (gateway, client):
        before = gateway.settings
        answer = await client.post("/admin/reload", headers=BEARER)
        assert answer.status_code == 400
        assert answer.json()["mistakes"] == ["a.yaml:1: x: wrong", "a.yaml:2: y: wrong"]
        assert gateway.settings is before


async def test_a_valid_config_is_adopted() -> None:
    """And what needs a restart is named."""
    new = small_settings(TOKEN)
    async with administered(small_settings(TOKEN), load=lambda: new) as (gateway, client):
        answer = await client.post("/admin/reload", headers=BEARER)
        assert answer.json() == {"source": "built-in", "needs_restart": ["server"], "warnings": list(new.warnings)}
        assert gateway.settings is new


async def test_the_config_is_shown_without_its_secrets() -> None:
    """Nor hashes, nor credentials inside URLs."""
    settings = replace(small_settings(TOKEN), store="postgresql://penstock:canary@db/x")
    async with administered(small_settings(TOKEN)) as (gateway, client):
        gateway.settings = settings
        answer = await client.get("/admin/config", headers=BEARER)
    assert answer.json()["server"]["admin_token"] == "***"
    assert answer.json()["store"] == "postgresql://***@db/x"
    assert TOKEN not in answer.text
    assert "canary" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/admin/keys", 405)])
async def test_unknown_paths_and_methods_keep_the_shape(method: str, path: str, status: int) -> None:
    """Of every other error."""
    async with administered(small_settings(TOKEN)) as (_, client):
        answer = await client.request(method, path, headers=BEARER)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers.get("allow") == ("GET, HEAD, POST" if status == 405 else None)
