"""A gateway under three times what can be served, open loop: before it, during it, and after it.

    with overload(directory, upstream_bound(calm_s=6, over_s=10, after_s=9)) as place:
        bars = place.run()

``upstream_bound``: the provider has few workers. ``own_bound``: it answers at once, and the gateway has one core; what
a request costs it is measured first.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Final

from penstock.core.records import ExchangeRow
from tests.support.bars import Bar
from tests.support.bill_provider_lines import PRICES
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.invariants_books import stored_rows
from tests.support.load_provider import load_provider
from tests.support.open_loop import Flow, Plan, Summary, Taken, open_loop, quantile, summarised
from tests.support.open_loop_client import Record
from tests.support.watch import PATHS, Watch

CALM: Final = 0.9
"""Of the peak, as the two that follow."""
OVER: Final = 3.0
AFTER: Final = 0.5
BATCH_SHARE: Final = 0.7
"""Of the load while there is too much: people alone bring less than can be served."""
BATCH: Final = {"x-penstock-priority": "batch"}
PEOPLE: Final = "people"
NIGHT: Final = "night"
CORE: Final = 0
MOST: Final = 400_000
"""Requests: five minutes of three times of what one core does, and room."""
PROBE_S: Final = 2.5
PROBE_RATE: Final = 40.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Shape:
    """A load. ``peak``: requests per second that can be served; 0 = it is measured."""

    calm_s: float
    over_s: float
    after_s: float
    manner: dict[str, Any]
    """The provider's."""
    goodput: float
    """Of the peak, at least."""
    peak: float = 0.0
    streamed: float = 0.5
    """The share of streams."""
    normal_s: float = 5.0
    """After the overload, at most, until all is as it was."""
    probes: int = 1
    """What a request costs is measured so often: first where there are few, then near the peak that the last one told.
    One tells a peak that is too low, and bears a machine that becomes slower later."""

    @property
    def ends_s(self) -> float:
        """When the overload does."""
        return self.calm_s + self.over_s

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.ends_s + self.after_s

    def flows(self) -> list[Flow]:
        """People, and while there is too much also what is in no hurry."""
        batch = OVER * BATCH_SHARE
        phases = [
            (PEOPLE, CALM, 0.0, self.calm_s),
            (PEOPLE, OVER - batch, self.calm_s, self.ends_s),
            (NIGHT, batch, self.calm_s, self.ends_s),
            (PEOPLE, AFTER, self.ends_s, self.seconds),
        ]
        return [
            Flow(
                name=who, rate=self.peak * load * share, streamed=streamed, headers=BATCH if who == NIGHT else {},
                since_s=since_s, until_s=until_s,
            )
            for who, load, since_s, until_s in phases
            for streamed, share in ((True, self.streamed), (False, 1 - self.streamed))
            if share
        ]  # fmt: skip


def upstream_bound(calm_s: float, over_s: float, after_s: float, *, streamed: float = 0.5) -> Shape:
    """Forty calls at once, of half a second each, more or less."""
    manner = {"workers": 40, "service_s": 0.5, "spread": 0.3}
    return Shape(calm_s, over_s, after_s, manner, goodput=0.9, peak=80.0, streamed=streamed)


def own_bound(calm_s: float, over_s: float, after_s: float, *, probes: int = 1) -> Shape:
    """Streams of four hundred words that come at once: four milliseconds of work, or so."""
    return Shape(calm_s, over_s, after_s, {"words": 400}, goodput=0.5, streamed=1.0, probes=probes)


@dataclass(slots=True)
class Overload:
    """The place, and what was measured in it."""

    shape: Shape
    gateway: GatewayProcess
    directory: Path
    cpu_s: float = 0.0
    """Of our own work, per request: 0 = it does not matter."""
    over_cpu_s: float = 0.0
    """Of our own work while there was too much."""
    watch: Watch = field(init=False)
    taken: Taken = field(init=False)

    def run(self) -> list[Bar]:
        """All of it; what it came to."""
        if not self.shape.peak:
            self._probe()
        shape = self.shape
        with self._load(shape.flows(), shape.seconds) as load, Watch(self.gateway) as self.watch:
            time.sleep(shape.calm_s)
            since_s = self._spent_s()
            time.sleep(shape.over_s)
            self.over_cpu_s = self._spent_s() - since_s
            self.taken = load.wait()
        return [*self._served(), *self._refused(), *self._live(), *self._after()]

    def _probe(self) -> None:
        """How many a second would take the whole of a core: one costs less the more of them come."""
        rate = PROBE_RATE
        for _ in range(self.shape.probes):
            self.cpu_s = self._cost_s(rate)
            rate = CALM / self.cpu_s
        self.shape = replace(self.shape, peak=1 / self.cpu_s)

    def _cost_s(self, rate: float) -> float:
        """CPU seconds per request at so many a second."""
        before_s = self._spent_s()
        with self._load([Flow(name="probe", rate=rate, streamed=True)], PROBE_S) as load:
            sent: int = load.wait().summary().sent
        return (self._spent_s() - before_s) / sent

    def _load(self, flows: list[Flow], seconds: float) -> Any:
        return open_loop(Plan(port=self.gateway.port, seconds=seconds, flows=flows, most=MOST), self.directory)

    def _spent_s(self) -> float:
        """CPU seconds of the gateway so far."""
        fields = Path(f"/proc/{self.gateway.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    # --- what it came to

    def _part(self, since_s: float, until_s: float, who: str = "") -> Summary:
        return summarised(self._records(since_s, until_s, who))

    def _records(self, since_s: float, until_s: float, who: str = "") -> Sequence[Record]:
        return self.taken.of(who, since_s, until_s)

    @property
    def _calm(self) -> Summary:
        return self._part(min(1.0, self.shape.calm_s / 4), self.shape.calm_s - 0.5)

    @property
    def _slack(self) -> float:
        """For P99s of a few seconds: with a core of our own that others use too, nothing can be said of them."""
        return inf if self.cpu_s else 8.0

    def _served(self) -> list[Bar]:
        shape, calm = self.shape, self._calm
        ends = [each.due_s + each.end_s for each in self.taken.records if each.good]
        goodput = sum(shape.calm_s <= end < shape.ends_s for end in ends) / shape.over_s / shape.peak
        over = self._part(shape.calm_s, shape.ends_s)
        bars = [
            Bar("peak, per second", shape.peak),
            Bar("requests per second while there are too many", over.sent / shape.over_s),
            Bar("goodput of the peak", goodput, least=shape.goodput, loose=0.8 * shape.goodput),
            Bar("P99 at 0.9 of the peak, s", calm.p99_s),
            Bar("P99 of the admitted, in P99s at 0.9", over.p99_s / calm.p99_s, most=2.0, loose=self._slack),
            Bar("neither answered nor refused", over.failed, most=0),
            Bar("driver late, P99, s", self.taken.late_s),
        ]
        if self.cpu_s:
            of_ours = goodput * shape.peak * shape.over_s * self.cpu_s / self.over_cpu_s
            bars.insert(3, Bar("goodput of what our time would have done", of_ours, least=0.5, loose=0.35))
        return bars

    def _refused(self) -> list[Bar]:
        shape = self.shape
        assert self.gateway.admin("/admin/spend")[0] == 200  # flushes the ledger
        rows = [row for row in stored_rows(self.gateway.store) if isinstance(row, ExchangeRow)]
        took_s = [row.duration_s for row in rows if row.status in {429, 503}]
        over = self._part(shape.calm_s, shape.ends_s)
        people, night = (self._part(shape.calm_s, shape.ends_s, who) for who in (PEOPLE, NIGHT))
        return [
            Bar("refused", over.refused, least=1),
            Bar("of them without Retry-After", over.refused_unsaid, most=0),
            Bar("arrival to refusal, median, s", quantile(took_s, 0.5), most=0.05),
            Bar("arrival to refusal, P99, s", quantile(took_s, 0.99), most=0.05, loose=1.0),
            Bar("the same, as the driver saw it", over.refused_p99_s, most=0.05, loose=0.5),
            Bar("people answered", people.success),
            Bar("batch answered", night.success, most=0.5 * people.success, loose=people.success),
        ]

    def _live(self) -> list[Bar]:
        return [Bar(f"{path}, worst, s", max(self.watch.took_s[path]), most=0.25, loose=1.0) for path in PATHS]

    def _after(self) -> list[Bar]:
        normal = self._part(self.shape.ends_s + self.shape.normal_s, self.shape.seconds)
        return [
            Bar("answered, when it should be normal again", normal.success, least=1.0, loose=0.98),
            Bar("P99 then, in P99s at 0.9", normal.p99_s / self._calm.p99_s, most=1.0, loose=3.0),
        ]


@contextmanager
def overload(directory: Path, shape: Shape) -> Iterator[Overload]:
    """All of it, running."""
    with load_provider() as provider:
        provider.set("m", **shape.manner)
        sections = {
            "providers": {"p": {"kind": "openai", "base_url": provider.base_url("m"), "prices": PRICES}},
            "models": {"m": {"deployments": [{"provider": "p", "model": "m"}]}},
            "cache": {"exact": {"ttl": "0s"}},
        }
        with gateway_process(directory, **sections) as gateway:
            if not shape.peak:
                os.sched_setaffinity(gateway.pid, {CORE})
            yield Overload(shape, gateway, directory)
