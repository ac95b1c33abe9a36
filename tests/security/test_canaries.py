"""S4 and S5: no secret and no prompt comes out anywhere, and nothing that is stored opens the door.

A canary is a secret with a name of its own. A real gateway meets every way in which a provider may repeat what it was
told; then every sink is searched: log, metrics, admin plane, commands, error bodies, response headers, process list,
and the bytes of all files beside the store.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from penstock.providers.play import JSON, SSE
from penstock.providers.scripted import Script
from tests.support.gateway_process import ADMIN_TOKEN, GatewayProcess, gateway_process
from tests.support.sdk_gateway import digest
from tests.support.upstream import Upstream, upstream

PROVIDER_KEY = "sk-canary-provider-4711"
PROVIDER_HEADER = "canary-provider-header-4712"
PEPPER = "canary-pepper-of-at-least-thirty-two-bytes-4713"
STATIC_KEY = "ps-canary-static-4714"
STRANGER = "ps-canary-stranger-4715"
PROMPT = "canary prompt 4716"
QUERY = "canary-query-4717"
IDEMPOTENCY = "once-4718"
PATIENCE_S = 30.0
KEPT = "answered-4719"
"""What an answer says: answers are what the cache is for."""

ECHOES = ("refused", "account", "busy", "broken", "inside", "stream", "late", "not-json", "fine")
"""The models, by how their provider repeats what it was told."""


def echo(script: Script, how: str, words: str) -> None:
    """Fill a script with one way of repeating ``words``."""
    error = b'data: {"error": {"message": "%b", "type": "server_error"}}\n\n' % words.encode()
    first = b'data: {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}\n\n'
    {
        "refused": lambda: script.fail(400, words),
        "account": lambda: script.fail(401, words),
        "busy": lambda: script.fail(429, words),
        "broken": lambda: script.fail(500, words),
        "inside": lambda: script.error_inside(words),
        "stream": lambda: script.raw(error, headers=SSE),
        "late": lambda: script.raw(first, error, headers=SSE),
        "not-json": lambda: script.raw(words.encode(), headers={**JSON, "x-echo": words}),
        "fine": lambda: script.reply(KEPT),
    }[how]()
    script.forever()


@dataclass
class Seen:
    """Everything that came out, by where."""

    gateway: GatewayProcess
    key: str
    sinks: dict[str, str] = field(default_factory=dict)

    def find(self, *secrets: str, but: str = "-") -> list[str]:
        """Where any of these stands; ``but``: the beginning of sinks that may have it."""
        return [
            f"{secret} in {name}"
            for secret in secrets
            for name, text in self.sinks.items()
            if secret in text and not name.startswith(but)
        ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """After all of it, with the gateway still there."""
    directory = tmp_path_factory.mktemp("canaries")
    with upstream() as up, gateway_process(directory, **canary_config(up)) as gateway:
        found = Seen(gateway, gateway.create_key("canary"))
        for model in ECHOES:
            echo(up.script.at(model), model, f"{PROVIDER_KEY} {PROVIDER_HEADER} {PROMPT}")
            for stream in (False, True):
                _ask(found, model, found.key, stream=stream)
        for key in (STATIC_KEY, STRANGER, PROVIDER_KEY, ADMIN_TOKEN, PEPPER):
            _ask(found, "fine", key, stream=False)
        _look(found, directory)
        yield found


def canary_config(up: Upstream) -> dict[str, Any]:
    """A provider per echo, with its key in the config, and everything that keeps something switched on."""
    providers = {
        model: {
            "kind": "openai",
            "base_url": f"{up.url(model)}/v1",
            "api_key": PROVIDER_KEY,
            "headers": {"x-secret": PROVIDER_HEADER},
            "prices": {"input": 1, "cached_input": 1, "output": 1, "currency": "CNY"},
        }
        for model in ECHOES
    }
    return {
        "server": {"secret": PEPPER},
        "providers": providers,
        "models": {model: {"deployments": [{"provider": model}]} for model in ECHOES},
        "budgets": [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "day", "timezone": "UTC"}],
        "retry": {"attempts": 1},
        "keys": [{"name": "static", "key_sha256": digest(STATIC_KEY)}],
    }


def _ask(found: Seen, model: str, key: str, *, stream: bool) -> int:
    headers = {"authorization": f"Bearer {key}", "idempotency-key": f"{IDEMPOTENCY}-{model}-{stream}-{key[-4:]}"}
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"{PROMPT} {model} {stream}"}]}
    url = f"{found.gateway.base_url}/chat/completions?api_key={QUERY}"
    answer = httpx2.post(url, json=body, headers=headers, timeout=PATIENCE_S)
    name = f"answer of {model} stream={stream} to {key[:14]}"
    found.sinks[name] = f"{answer.status_code} {dict(answer.headers)} {answer.text}"
    return answer.status_code


def _look(found: Seen, directory: Path) -> None:
    gateway = found.gateway
    for path in ("spend", "keys", "cache", "config", "budgets"):
        found.sinks[f"/admin/{path}"] = gateway.admin(f"/admin/{path}")[1]
    for path in ("/metrics", "/healthz", "/readyz"):
        found.sinks[path] = gateway.admin(path)[1]
    for command in ("spend", "keys list", "budgets show", "cache stats", "check"):
        found.sinks[f"penstock {command}"] = gateway.command(*command.split())
    lock = gateway.store.with_name(f"{gateway.store.name}.lock").read_text("ascii").strip()
    found.sinks["ps"] = Path(f"/proc/{lock}/cmdline").read_bytes().decode()
    for file in sorted(directory.iterdir()):
        if file != gateway.config:
            found.sinks[f"file {file.name}"] = file.read_bytes().decode("latin-1")


def test_the_canaries_have_been_where_they_could_sing(seen: Seen) -> None:
    """The provider got key and prompt, answers of every kind came, and the store has the answer."""
    statuses = {text.partition(" ")[0] for name, text in seen.sinks.items() if name.startswith("answer")}
    assert {"200", "400", "401", "429", "502"} <= statuses
    assert seen.find(KEPT, but="answer")
    assert seen.find("static", but="answer")


def test_no_secret_is_in_any_sink(seen: Seen) -> None:
    """Not the provider's key and headers, not the client's, not a stranger's, not the admin's, not the pepper."""
    secrets = (PROVIDER_KEY, PROVIDER_HEADER, PEPPER, STATIC_KEY, STRANGER, ADMIN_TOKEN, QUERY, seen.key)
    assert seen.find(*secrets) == []


def test_no_prompt_is_in_any_sink(seen: Seen) -> None:
    """But in the provider's own words about it, to the client whose prompt it is."""
    assert seen.find(PROMPT, but="answer of refused") == []


def test_nothing_that_is_stored_opens_the_door(seen: Seen) -> None:
    """Every value in the table of keys, every hash and name and id, tried as a key: 401."""
    with closing(sqlite3.connect(seen.gateway.store)) as connection:
        values = [str(value) for row in connection.execute("SELECT * FROM keys") for value in row if value]
    tried = [*values, digest(STATIC_KEY), digest(seen.key), PEPPER, "static", "canary", "anonymous", "null", "None"]
    assert len(tried) > 10
    for value in tried:
        assert _ask(seen, "fine", value, stream=False) == 401, value
    assert _ask(seen, "fine", seen.key, stream=False) == 200
