"""The gateway that the client SDKs are tried on: one provider under several names, static keys, flat prices.

It is one node with SQLite, or two behind a balancer on one PostgreSQL and one Redis: tests cannot tell which.
"""

import hashlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.postgres_server import database_of
from tests.support.redis_server import redis_server
from tests.support.round_robin import RoundRobin, round_robin
from tests.support.upstream import Upstream

APP_KEY = "ps-app-0123456789"
"""May do everything."""
NARROW_KEY = "ps-narrow-0123456789"
"""May use the model ``chat`` alone."""
SLOW_KEY = "ps-slow-0123456789"
"""May ask twice a minute."""
UPSTREAM_KEY = "sk-upstream-0123456789"

INPUT, HIT, OUTPUT = "1.234567", "0.123457", "7.654321"
"""CNY per million tokens."""

MODELS = ("chat", "embed", "claude", "folded", "busy", "refused", "down", "backed")


class SdkGateway(Protocol):
    """What the tests of SDKs see of it. The rest as ``GatewayProcess``."""

    @property
    def origin(self) -> str:
        """Of the data plane."""
        ...

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's dialects are given."""
        ...

    @property
    def nodes(self) -> Sequence[GatewayProcess]:
        """Its processes."""
        ...

    def exchange(self, request_id: str) -> dict[str, list[dict[str, Any]]]:
        """The ledger's rows of one exchange."""
        ...

    def spend(self, by: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """``penstock spend``."""
        ...


class TwoNodes:
    """Two processes that serve as one; a command on one's config reads what both wrote from their common store."""

    def __init__(self, nodes: Sequence[GatewayProcess], balancer: RoundRobin) -> None:
        self.nodes = nodes
        self.balancer = balancer
        self.origin = f"http://127.0.0.1:{balancer.port}"
        self.base_url = f"{self.origin}/v1"

    def exchange(self, request_id: str) -> dict[str, list[dict[str, Any]]]:
        """Whichever node had it."""
        self._flush()
        return self.nodes[0].exchange(request_id)

    def spend(self, by: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Of both."""
        self._flush()
        return self.nodes[0].spend(by)

    def _flush(self) -> None:
        for node in self.nodes[1:]:
            assert node.admin("/admin/spend")[0] == 200


@contextmanager
def sdk_gateway(directory: Path, up: Upstream) -> Iterator[GatewayProcess]:
    """One that serves ``sdk_config``."""
    with nobody_there() as dead_port, gateway_process(directory, **sdk_config(up, dead_port)) as gateway:
        yield gateway


@contextmanager
def two_nodes(directory: Path, up: Upstream) -> Iterator[TwoNodes]:
    """Two that serve it, on a real PostgreSQL and a real Redis. Skips where one of these is not installed."""
    with ExitStack() as stack:
        dead_port = stack.enter_context(nobody_there())
        config = sdk_config(up, dead_port) | {
            "server": {"secret": "a-secret-that-both-nodes-know-in-tests"},
            "store": database_of(directory),
            "shared": stack.enter_context(redis_server()).url,
        }
        nodes = []
        for name in ("one", "two"):
            home = directory / name
            home.mkdir()
            nodes.append(stack.enter_context(gateway_process(home, **config)))
        yield TwoNodes(nodes, stack.enter_context(round_robin([node.port for node in nodes])))


@contextmanager
def nobody_there() -> Iterator[int]:
    """A port that is bound and not listened on: whoever connects is refused."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


def sdk_config(up: Upstream, dead_port: int) -> dict[str, Any]:
    """``up`` answers as scripted, ``busy`` and ``refused`` as scripted for them, ``down`` is not there."""
    down = provider(up, "down") | {"base_url": f"http://127.0.0.1:{dead_port}/v1"}
    models: dict[str, Any] = {name: {"deployments": [{"provider": "up", "model": f"up-{name}"}]} for name in MODELS[:4]}
    models["folded"]["stream_upstream"] = True
    models["busy"] = {"deployments": [{"provider": "busy"}]}
    models["refused"] = {"deployments": [{"provider": "refused"}]}
    models["down"] = {"deployments": [{"provider": "down"}]}
    models["backed"] = {"deployments": [{"provider": "down"}, {"provider": "up", "model": "up-backed", "weight": 0}]}
    return {
        "providers": {
            "up": provider(up, "up"),
            "busy": provider(up, "busy"),
            "refused": provider(up, "refused"),
            "down": down,
        },
        "models": models,
        "retry": {"attempts": 2, "backoff": "20ms", "budget": 1},
        "keys": [
            {"name": "app", "key_sha256": digest(APP_KEY), "team": "web"},
            {"name": "narrow", "key_sha256": digest(NARROW_KEY), "models": ["chat"]},
            {"name": "slow", "key_sha256": digest(SLOW_KEY), "rpm": 2},
        ],
    }


def provider(up: Upstream, name: str) -> dict[str, Any]:
    """The provider of that name: OpenAI's dialects and Anthropic's, each below a base of its own."""
    return {
        "kind": "openai",
        "base_url": f"{up.url(name)}/v1",
        "messages_url": f"{up.url(name)}/anthropic/v1",
        "api_key": UPSTREAM_KEY,
        "prices": {"input": INPUT, "cached_input": HIT, "output": OUTPUT},
    }


def digest(key: str) -> str:
    """How a static key stands in the config."""
    return hashlib.sha256(key.encode()).hexdigest()


def cost_nano(miss: int, hit: int, output: int) -> int:
    """What so many tokens cost in nano-units, worked out by fractions instead of integers."""
    return round(1000 * (miss * Fraction(INPUT) + hit * Fraction(HIT) + output * Fraction(OUTPUT)))


def amount(nano: int, digits: int = 9) -> str:
    """Nano-units as the reports write them."""
    return f"{Decimal(nano) / 10**9:.{digits}f}"
