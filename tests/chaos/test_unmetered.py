"""B06: no way leads to a provider but through the pipeline, and every call on it leaves an attempt.

The routes are read from the tables that serve them: a new one without a body here fails, and so does a module that
takes to sending by itself.
"""

import ast
import json
from typing import Any

import pytest
from starlette.routing import Route

from penstock.server.admin_api import Guard, admin_app
from penstock.server.head import DIALECTS, MODEL_LISTS, MODEL_PATHS
from penstock.server.health import Phase
from tests.support.asgi_client import Asking, http_scope
from tests.support.house import BASE, END_S, House, open_house
from tests.support.source_rules import Module, imports, modules

pytestmark = pytest.mark.looptime(end=END_S)

MESSAGES = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": MESSAGES},
    "completions": {"prompt": "hi", "suffix": "ho"},
    "embeddings": {"input": ["hi"]},
    "messages": {"messages": MESSAGES, "max_tokens": 9},
    "count_tokens": {"messages": MESSAGES},
}
TOKEN = "an-admin-token"
MODELS = ("m", "stopping", "duo", "folded")

MAY_SEND = frozenset({"penstock.pipeline.call", "penstock.cli.demo_traffic", "penstock.cli.demo_clients"})
"""Who asks a transport to send: the call, and the demo's clients, to a gateway and to made-up providers."""
MAY_KNOW = MAY_SEND | {
    "penstock.compose",
    "penstock.pipeline.attempt",
    "penstock.cli.demo",
    "penstock.cli.demo_gateway",
    "penstock.cli.demo_region",
    "penstock.cli.demo_regions",
}
"""Who may have one in its hands, to hand it on."""
SENDERS = frozenset({
    "penstock.ports.Transport",
    "penstock.ports.UpstreamCall",
    "penstock.providers.http.HttpTransport",
    "penstock.providers.sim.Sim",
})  # fmt: skip


def bearing(house: House, path: str, method: str, body: Any = None) -> Asking:
    """A request to the admin plane with its token."""
    lines = [(b"authorization", f"Bearer {TOKEN}".encode())]
    return Asking(_admin(house), http_scope(path, lines, method=method), [json.dumps(body or {}).encode()])


def _admin(house: House) -> Guard:
    return admin_app(house.gateway, Phase(listening=True), lambda: house.gateway.settings)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", sorted(DIALECTS))
async def test_every_call_leaves_its_attempt(path: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Every path of the data plane, every model, whole and streamed, with faults and fail-over."""
    budgets = [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "total"}]
    dialect = DIALECTS[path]
    assert dialect in BODIES, f"a new dialect {dialect}: give it a body here"
    async with open_house(budgets=budgets, retry={"attempts": 3, "backoff": "1s", "budget": 1}) as house:
        for number, model in enumerate(MODELS):
            house.upstream.fail(503).reply().reply()
            body = BODIES[dialect] | {"model": model, "stream": stream, "metadata": {"number": number}}
            await house.answer(body, path)
        assert len(house.upstream.calls) > len(MODELS)
        assert len(house.attempts) == len(house.upstream.calls)
        assert dialect == "count_tokens" or all(row.held_nano for row in house.attempts)
        assert {row.exchange_id for row in house.attempts} <= {row.id for row in house.exchanges}


async def test_the_other_paths_of_the_data_plane_call_nobody() -> None:
    """The lists of models, what does not exist, and every other method."""
    async with open_house() as house:
        lists = [*MODEL_LISTS, *(f"{path}m" for path in MODEL_PATHS), "/", "/v1/responses", "/v1/files", "/v2/x"]
        for path in [*lists, *DIALECTS]:
            for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", *(["POST"] * (path in lists))):
                await house.answer({"model": "m", "messages": MESSAGES}, path, method=method)
        assert house.upstream.calls == []


async def test_the_admin_plane_calls_nobody() -> None:
    """Every route of it, by every method it takes: nothing it does costs anything at a provider."""
    server: Any = {**BASE["server"], "admin_token": TOKEN}
    async with open_house(server=server) as house:
        routes = [route for route in _admin(house)._app.routes if isinstance(route, Route)]  # type: ignore[attr-defined]  # noqa: SLF001 - the table itself
        assert len(routes) >= 11
        for route in routes:
            path = route.path.replace("{exchange_id}", "req_0").replace("{name}", "nobody")
            assert "{" not in path, f"a new parameter in {path}: name one here"
            for method in sorted(route.methods or ()):
                done = await bearing(house, path, method, {"name": "k", "model": "m", "messages": MESSAGES}).done()
                assert done.status != 401
        assert house.upstream.calls == []


def _sends(module: Module) -> bool:
    """Whether it calls ``....send(...)`` on what a ``transport(...)`` returned, or on one by that name."""
    calls = [node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    sent_on = [ast.unparse(func.value) for func in calls if isinstance(func, ast.Attribute) and func.attr == "send"]
    return any("transport" in text.lower() or "_http" in text or "_sim" in text for text in sent_on)


def test_only_the_call_sends() -> None:
    """One module asks a transport to send; those who could are named here, one by one."""
    outside = [module for module in modules() if not module.inside("penstock.providers", "penstock.ports")]
    assert {module.name for module in outside if _sends(module)} == MAY_SEND
    for module in outside:
        known = {f"{node.module}.{name.name}" for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom)
                 for name in node.names}  # fmt: skip
        known |= {name for _, name in imports(module.tree)}
        assert module.name in MAY_KNOW or not known & SENDERS, f"{module.name} has a sender in its hands"


@pytest.mark.parametrize("text", ["transport(provider).send(x)", "self._http.send(x)", "self._transport(p).send(x)"])
def test_a_sender_is_found(text: str) -> None:
    """The rule above can fail."""
    assert _sends(Module.parse(f"async def f(): await {text}", "penstock.server.example"))
