"""Many ask the same at once: a burst, an answer that expires under load, a leader that fails.

with stampede(directory) as place:
    bars = [*place.burst(), *place.expiry(5.0), *place.failing_leader()]
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.bars import Bar
from tests.support.bill_provider_lines import PRICES
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.load_provider import LoadProvider, load_provider
from tests.support.open_loop import Flow, Plan, Taken, open_loop

TENANTS: Final = ("ann", "bob")
CROWD: Final = 500
"""Of each tenant."""
BURST_S: Final = 0.05
TTL_S: Final = 2.0
ANSWERED_S: Final = 1.5
"""How long an answer takes: the whole of a burst comes meanwhile."""


@dataclass(frozen=True, slots=True)
class Stampede:
    """The place."""

    gateway: GatewayProcess
    provider: LoadProvider
    proxy: FaultProxy
    directory: Path

    def burst(self) -> list[Bar]:
        """Nobody has asked it before."""
        self.provider.set("m", latency_s=ANSWERED_S)
        taken = self._send(self._crowds("burst", TENANTS, CROWD // 2), BURST_S)
        calls = self.provider.counts("m").calls
        return [
            Bar("identical requests at once", len(taken.records), least=len(TENANTS) * CROWD * 0.8),
            Bar("of them answered", taken.summary().success, least=1.0),
            Bar("tenants", len(TENANTS)),
            Bar("calls to the provider", calls, most=len(TENANTS), least=None),
        ]

    def expiry(self, seconds: float) -> list[Bar]:
        """Everybody goes on asking the same while its answer expires again and again."""
        self.provider.set("m", latency_s=0.2)
        self.provider.forget("m")
        flows = [Flow(name="expiry", key=_key(name), rate=60, same=True, fields={"max_tokens": 77}) for name in TENANTS]
        taken = self._send(flows, seconds)
        windows = int(seconds / TTL_S) + 1
        return [
            Bar("requests while their answer expires", len(taken.records)),
            Bar("of them answered ", taken.summary().success, least=1.0),
            Bar("expiries, per tenant", windows - 1),
            Bar("calls, per tenant", self.provider.counts("m").calls / len(TENANTS), most=windows),
        ]

    def failing_leader(self) -> list[Bar]:
        """The first call breaks off: one of those who wait makes the second, and the others wait for that."""
        self.provider.set("m", latency_s=ANSWERED_S)
        self.provider.forget("m")
        self.proxy.set(reset_share=1.0)
        plan = Plan(port=self.gateway.port, seconds=BURST_S, flows=self._crowds("leader", TENANTS[:1], CROWD))
        resets = self.proxy.counts.resets
        with open_loop(plan, self.directory) as load:
            wait_for(lambda: self.provider.counts("m").calls > 0, "the first call")
            time.sleep(ANSWERED_S / 2)
            self.proxy.cut()
            self.proxy.heal()
            taken = load.wait()
        failed = len(taken.records) - taken.summary().good
        return [
            Bar("identical requests, whose first call breaks", len(taken.records)),
            Bar("calls broken", self.proxy.counts.resets - resets, least=1),
            Bar("answers that failed with it", failed, most=1),
            Bar("calls to the provider ", self.provider.counts("m").calls, most=2),
        ]

    def _crowds(self, what: str, tenants: tuple[str, ...], size: int) -> list[Flow]:
        rate = size / BURST_S
        return [
            Flow(
                name=what, key=_key(name), rate=rate, same=True, poisson=False, streamed=streamed,
                fields={"max_tokens": len(what)},
            )
            for name in tenants
            for streamed in (True, False)
        ][: len(tenants) * CROWD // size]  # fmt: skip

    def _send(self, flows: list[Flow], seconds: float) -> Taken:
        with open_loop(Plan(port=self.gateway.port, seconds=seconds, flows=flows), self.directory) as load:
            return load.wait()


def _key(name: str) -> str:
    return f"sk-{name}-of-the-stampede"


@contextmanager
def stampede(directory: Path) -> Iterator[Stampede]:
    """All of it, running."""
    with load_provider() as provider, fault_proxy(provider.port) as proxy:
        keys = [{"name": name, "key_sha256": hashlib.sha256(_key(name).encode()).hexdigest()} for name in TENANTS]
        sections = {
            "providers": {"p": {"kind": "openai", "base_url": provider.base_url("m", proxy.port), "prices": PRICES}},
            "models": {"m": {"deployments": [{"provider": "p", "model": "m"}]}},
            "keys": keys,
            "cache": {"exact": {"ttl": f"{TTL_S:g}s"}},
            "limits": {"max_concurrency": 2 * len(TENANTS) * CROWD},
            "retry": {"attempts": 1},
        }
        with gateway_process(directory, **sections) as gateway:
            yield Stampede(gateway, provider, proxy, directory)
