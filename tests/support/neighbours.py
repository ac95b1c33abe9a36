"""Tenants at one gateway, one of which brings ten times its share for a while.

with neighbours(directory, calm_s=5, loud_s=10) as place:
    bars = place.run()
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.bars import Bar
from tests.support.bill_provider_lines import PRICES
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.load_provider import load_provider
from tests.support.open_loop import Flow, Plan, open_loop, summarised

PEAK: Final = 80.0
"""Requests per second: forty at once, of half a second each, more or less."""
QUIET: Final = ("ann", "bob", "cleo", "dan")
LOUD: Final = "eve"
SHARE: Final = PEAK / (len(QUIET) + 1)
USED: Final = 0.5
"""Of their share, by the quiet ones."""
TIMES: Final = 10.0
LEARNED_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The place, and how long it is calm, and loud."""

    gateway: GatewayProcess
    directory: Path
    calm_s: float
    loud_s: float

    def run(self) -> list[Bar]:
        """All of it; what it came to."""
        seconds = self.calm_s + self.loud_s
        flows = [Flow(name=name, key=_key(name), rate=USED * SHARE, streamed=True) for name in QUIET]
        flows += [
            Flow(name=LOUD, key=_key(LOUD), rate=SHARE, streamed=True, until_s=self.calm_s),
            Flow(name=LOUD, key=_key(LOUD), rate=TIMES * SHARE, streamed=True, since_s=self.calm_s),
        ]
        with open_loop(Plan(port=self.gateway.port, seconds=seconds, flows=flows), self.directory) as load:
            taken = load.wait()
        records = [each for each in taken.records if each.flow != LOUD]
        before = summarised([each for each in records if LEARNED_S / 2 <= each.due_s < self.calm_s - 0.5])
        during = summarised([each for each in records if each.due_s >= self.calm_s])
        later = summarised([each for each in records if each.due_s >= self.calm_s + LEARNED_S])
        loud = taken.summary(LOUD, since_s=self.calm_s)
        free = PEAK - USED * SHARE * len(QUIET)
        return [
            Bar("requests of the quiet ones while one is loud", during.sent),
            Bar("answered", during.success, least=1.0, loose=0.98),
            Bar("the same, from 2 s on", later.success, least=1.0, loose=0.98),
            Bar("P99 before, s", before.p99_s),
            Bar("P99 while one is loud, in P99s before", during.p99_s / before.p99_s, most=1.5, loose=4.0),
            Bar("that from 2 s on", later.p99_s / before.p99_s, most=1.5, loose=3.0),
            Bar("requests of the loud one", loud.sent),
            Bar("what it gets of what is left", loud.good / self.loud_s / free, least=0.8, loose=0.6),
            Bar("neither answered nor refused", during.failed + loud.failed, most=0),
            Bar("driver late, P99, s", taken.late_s),
        ]


def _key(name: str) -> str:
    return f"sk-{name}-of-the-neighbours"


@contextmanager
def neighbours(directory: Path, *, calm_s: float, loud_s: float) -> Iterator[Neighbours]:
    """All of it, running."""
    with load_provider() as provider:
        provider.set("m", workers=40, service_s=0.5, spread=0.3)
        keys = [
            {"name": name, "key_sha256": hashlib.sha256(_key(name).encode()).hexdigest()} for name in (*QUIET, LOUD)
        ]
        sections = {
            "providers": {"p": {"kind": "openai", "base_url": provider.base_url("m"), "prices": PRICES}},
            "models": {"m": {"deployments": [{"provider": "p", "model": "m"}]}},
            "keys": keys,
        }
        with gateway_process(directory, **sections) as gateway:
            yield Neighbours(gateway, directory, calm_s, loud_s)
