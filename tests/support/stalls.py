"""Providers that fall silent, each in its own way, and the deadline that ends each of them at a real gateway.

    with stalls(directory, Scale(...)) as place:
        ends = asyncio.run(place.ask_all())

Every way is a model with a provider, a proxy and, where it is refused, no further call of its own.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.bill_provider_lines import PRICES
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.kill_client import Question, Told, ask
from tests.support.load_provider import LoadProvider, load_provider
from tests.support.load_provider_call import stream_head

FOR_EVER_S: Final = 3600.0
HEAD: Final = len(stream_head())
BEGUN: Final = HEAD + 600
"""Bytes by which a stream has begun, and is far from its end."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The deadlines of the gateway, and how the slow are slow: seconds."""

    connect_s: float
    first_byte_s: float
    between_s: float
    total_s: float
    byte_s: float
    """A byte in so many."""
    comment_s: float
    """A keep-alive in so many."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to fall silent. ``deadline``: whose turn it is; "" = it is answered all the same."""

    deadline: str
    streamed: bool = True
    begun: bool = False
    """The client has part of the answer when it ends."""
    tls: bool = False
    folded: bool = False
    faults: dict[str, Any] = field(default_factory=dict)
    manner: dict[str, Any] = field(default_factory=dict)


def ways(scale: Scale) -> dict[str, Way]:
    """All of them, by the names of their models."""
    silent: dict[str, Any] = {"stall": True}
    slow: dict[str, Any] = {"slow_s": scale.byte_s}
    waiting: dict[str, Any] = {"head_s": 0.0, "latency_s": FOR_EVER_S, "keep_alive_s": scale.comment_s}
    pausing: dict[str, Any] = {"gap_s": FOR_EVER_S, "keep_alive_s": scale.comment_s}
    steady: dict[str, Any] = {"words": 10_000, "gap_s": scale.between_s / 4}
    endless: dict[str, Any] = {"framed": False}
    return {
        "no-handshake": Way("connect", tls=True, faults={"black_hole": True}),
        "no-headers": Way("first_byte", faults={"black_hole": True}),
        "no-headers-whole": Way("first_byte", streamed=False, faults=silent),
        "half-a-head": Way("first_byte", faults=silent | {"after": HEAD // 2}),
        "no-first-byte": Way("first_byte", faults=silent | {"after": HEAD}),
        "half-a-body": Way("first_byte", streamed=False, faults=silent | {"after": HEAD + 50}),
        "slow-head": Way("first_byte", faults=slow),
        "slow-first-event": Way("first_byte", faults=slow | {"after": HEAD}),
        "comments-only": Way("first_byte", manner=waiting),
        "stalled": Way("between", begun=True, manner={"words": 200}, faults=silent | {"after": BEGUN}),
        "stalled-folded": Way(
            "between", streamed=False, folded=True, manner={"words": 200}, faults=silent | {"after": BEGUN}
        ),
        "slow-events": Way("between", begun=True, manner={"words": 200}, faults=slow | {"after": BEGUN}),
        "comments-between": Way("between", begun=True, manner=pausing),
        "steady": Way("total", begun=True, manner=steady),
        "steady-folded": Way("total", streamed=False, folded=True, manner=steady),
        "never-closes-whole": Way("first_byte", streamed=False, manner=endless, faults={"hold_end": True}),
        "never-closes": Way("", begun=True, manner=endless, faults={"hold_end": True}),
    }


@dataclass(frozen=True, slots=True)
class End:
    """How one of them ended."""

    way: Way
    told: Told
    took_s: float

    @property
    def error(self) -> dict[str, Any]:
        """What the client was told, by status or by the last event of its stream."""
        if self.told.status != 200:
            error: dict[str, Any] = json.loads(self.told.body)["error"]
            return error
        last = next(line for line in reversed(self.told.body.split(b"\n")) if line.startswith(b"data: {"))
        return dict(json.loads(last[6:]).get("error", {}))


class Stalls:
    """A gateway, and a model for every way."""

    def __init__(
        self, scale: Scale, gateway: GatewayProcess, provider: LoadProvider, proxies: list[FaultProxy]
    ) -> None:
        """Use ``stalls``."""
        self.scale = scale
        self.gateway = gateway
        self.provider = provider
        self.proxies = proxies
        self._rounds = 0

    async def ask_all(self) -> dict[str, End]:
        """One request to each, all at once."""
        self._rounds += 1
        found = ways(self.scale)
        ends = await asyncio.gather(*(self._ask(name, way) for name, way in found.items()))
        return dict(zip(found, ends, strict=True))

    async def _ask(self, name: str, way: Way) -> End:
        since = time.monotonic()
        told = await ask(
            self.gateway.port,
            Question(f"mk-{name}-{self._rounds}", name, way.streamed),
            patience_s=2 * self.scale.total_s,
        )
        return End(way, told, time.monotonic() - since)


@contextmanager
def stalls(directory: Path, scale: Scale) -> Iterator[Stalls]:
    """All of it, running."""
    with ExitStack() as stack:
        provider = stack.enter_context(load_provider())
        proxies: dict[str, FaultProxy] = {}
        for name, way in ways(scale).items():
            provider.set(name, **way.manner)
            proxies[name] = stack.enter_context(fault_proxy(provider.port, **way.faults))
        gateway = stack.enter_context(gateway_process(directory, **_sections(scale, provider, proxies)))
        yield Stalls(scale, gateway, provider, list(proxies.values()))


def _sections(scale: Scale, provider: LoadProvider, proxies: dict[str, FaultProxy]) -> dict[str, Any]:
    found = ways(scale)
    urls = {name: provider.base_url(name, proxy.port) for name, proxy in proxies.items()}
    return {
        "providers": {
            name: {
                "kind": "openai",
                "base_url": url.replace("http://", "https://") if found[name].tls else url,
                "api_key": "sk-stalled",
                "prices": PRICES,
            }
            for name, url in urls.items()
        },
        "models": {
            name: {"deployments": [{"provider": name, "model": name}], "stream_upstream": way.folded}
            for name, way in found.items()
        },
        "budgets": [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "month", "timezone": "UTC"}],
        "timeouts": {
            "connect": f"{scale.connect_s}s",
            "first_byte": f"{scale.first_byte_s}s",
            "between": f"{scale.between_s}s",
            "total": f"{scale.total_s}s",
        },
        "retry": {"attempts": 1},
    }
