"""The least of a gateway: one provider, one model ``chat``, prices; and asking it without an SDK."""

from typing import Any

import httpx2

from tests.support.gateway_process import GatewayProcess
from tests.support.sdk_gateway import provider
from tests.support.upstream import Upstream

PATIENCE_S = 30.0


def plain_config(up: Upstream) -> dict[str, Any]:
    """Its sections; no key exists."""
    return {
        "providers": {"up": provider(up, "up")},
        "models": {"chat": {"deployments": [{"provider": "up"}]}},
        "retry": {"attempts": 2, "backoff": "20ms", "budget": 1},
    }


def question(text: str, **more: Any) -> dict[str, Any]:
    """A request of the dialect ``chat``."""
    return {"model": "chat", "messages": [{"role": "user", "content": text}], **more}


def ask(
    gateway: GatewayProcess, text: str, key: str = "any", *, model: str = "chat", **headers: str
) -> httpx2.Response:
    """Ask one question over a connection of its own; ``_`` in header names stands for ``-``."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(
        f"{gateway.base_url}/chat/completions",
        json=question(text, model=model),
        headers={"authorization": f"Bearer {key}"} | given,
        timeout=PATIENCE_S,
    )
