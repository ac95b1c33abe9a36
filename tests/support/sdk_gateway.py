"""The gateway that the client SDKs are tried on: one provider under several names, static keys, flat prices."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.support.gateway_process import GatewayProcess, gateway_process
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


@contextmanager
def sdk_gateway(directory: Path, up: Upstream) -> Iterator[GatewayProcess]:
    """One that serves ``sdk_config``."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listened on: whoever connects is refused
        with gateway_process(directory, **sdk_config(up, nobody.getsockname()[1])) as gateway:
            yield gateway


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
