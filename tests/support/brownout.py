"""A deployment that browns out and heals: late, refusing, breaking off; with another one beside it, or alone.

with brownout(directory, Course(before_s=4, sick_s=10, after_s=10), beside=True) as place:
    bars = place.run()
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from penstock.core.records import AttemptRow
from tests.support.bars import Bar
from tests.support.bill_provider_lines import PRICES
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.invariants_books import Books, stored_rows
from tests.support.load_provider import LoadProvider, load_provider
from tests.support.load_provider_call import stream_head
from tests.support.open_loop import Flow, Plan, Taken, open_loop, summarised
from tests.support.open_loop_client import Record
from tests.support.watch import Watch

USUAL: Final[dict[str, Any]] = {"latency_s": 0.1, "gap_s": 0.01}
REFUSED: Final = 0.3
RESET: Final = 0.05
BROKEN_AT: Final = len(stream_head()) + 600
"""Bytes of an answer: a stream has begun, a whole one has not ended."""
RETRY_AFTER_S: Final = 1.5
"""Longer than the first back-off can be."""
EARLY_S: Final = 0.01
"""Clocks of the ledger's rows are read one after the other."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long it is well, sick, and well again; ``rate``: requests per second, half of them streams."""

    before_s: float
    sick_s: float
    after_s: float
    rate: float = 40.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.before_s + self.sick_s + self.after_s


@dataclass(slots=True)
class Brownout:
    """The place, and what was measured in it."""

    course: Course
    gateway: GatewayProcess
    provider: LoadProvider
    proxy: FaultProxy
    directory: Path
    beside: bool
    fell_at: float = 0.0
    healed_at: float = 0.0
    calls: int = 0
    """While it was sick, to all."""
    on_it_after: int = 0
    """Answers of the sick one once it had healed."""
    watch: Watch = field(init=False)
    taken: Taken = field(init=False)

    def run(self) -> list[Bar]:
        """All of it; what it came to."""
        course = self.course
        flows = [Flow(name=f"{way}", rate=course.rate / 2, streamed=way == "stream") for way in ("stream", "whole")]
        plan = Plan(port=self.gateway.port, seconds=course.seconds, flows=flows)
        with open_loop(plan, self.directory) as load, Watch(self.gateway) as self.watch:
            time.sleep(course.before_s)
            self._fall()
            time.sleep(course.sick_s)
            self._heal()
            self.taken = load.wait()
        assert self.gateway.admin("/admin/spend")[0] == 200  # flushes the ledger
        return [*self._common(), *(self._beside() if self.beside else self._alone())]

    # --- what happens

    def _fall(self) -> None:
        for name in self._names:
            self.provider.forget(name)
        self.fell_at = time.monotonic()
        retry_after_s = None if self.beside else RETRY_AFTER_S
        self.provider.set("sick", **USUAL, status=503, share=REFUSED, retry_after_s=retry_after_s)
        self.proxy.set(factor=20.0, reset_share=RESET, after=BROKEN_AT)

    def _heal(self) -> None:
        self.calls = sum(self.provider.counts(name).calls for name in self._names)
        self.provider.set("sick", **USUAL)
        self.proxy.heal()
        self.healed_at = time.monotonic()
        self.provider.forget("sick")

    @property
    def _names(self) -> Sequence[str]:
        return ("sick", "well") if self.beside else ("sick",)

    # --- what it came to

    @property
    def _sick(self) -> list[Record]:
        return self.taken.of(since_s=self.course.before_s, until_s=self.course.before_s + self.course.sick_s)

    def _common(self) -> list[Bar]:
        sick = self._sick
        begun = [each for each in sick if each.streamed and each.status == 200 and not each.good]
        told = sum(each.complete and each.error_event for each in begun)
        amplification = self.calls / len(sick)
        return [
            Bar("requests while it is sick", len(sick)),
            Bar("calls per request", amplification, most=1.2, loose=1.2 + 12 / len(sick)),
            Bar("streams cut after their first byte", len(begun), least=None if self.beside else 1, loose=0),
            Bar("of them not told by an error event", len(begun) - told, most=0),
            Bar("calls made after a first byte", len(self._called_after_a_byte()), most=0),
            Bar("driver late, P99, s", self.taken.late_s),
        ]

    def _beside(self) -> list[Bar]:
        unbegun = [each for each in self._sick if each.good or each.first_s == 0 or each.status != 200]
        before = summarised(self.taken.of(since_s=0.5, until_s=self.course.before_s - 0.5))
        during, after = summarised(self._sick), summarised(self.taken.of(since_s=self._healthy_again_s))
        answered = self.provider.counts("sick").ok
        return [
            Bar("success of requests without a byte delivered", _share_good(unbegun), least=0.99, loose=0.97),
            Bar("sick one out after, s", self.watch.up("sick/m", self.fell_at, is_up=False), most=2.0, loose=4.0),
            Bar("healed one back in after, s", self.watch.up("sick/m", self.healed_at, is_up=True), most=35.0),
            Bar("its answers since then", answered, least=1),
            Bar("success after that", after.success, least=1.0, loose=0.99),
            Bar("P99 before, s", before.p99_s),
            Bar("P99 while it is sick, in P99s before", during.p99_s / before.p99_s, most=self._p99_bound),
        ]

    @property
    def _p99_bound(self) -> float | None:
        """Those asked of it before it was out are late; in a long time they are fewer than one in a hundred."""
        return 3.0 if self.course.sick_s >= 300 else None

    @property
    def _healthy_again_s(self) -> float:
        """In seconds of the plan."""
        healed_s = self.course.before_s + self.course.sick_s
        back_s = self.watch.up("sick/m", self.healed_at, is_up=True)
        return min(healed_s + back_s + 1.0, self.course.seconds)

    def _alone(self) -> list[Bar]:
        sick = self._sick
        amplification = self.calls / len(sick)
        failures = REFUSED + (1 - REFUSED) * RESET
        wanted = 0.97 * (1 - failures) * amplification
        early = self._asked_too_early()
        after = summarised(self.taken.of(since_s=self.course.seconds - 1.0))
        return [
            Bar("success", _share_good(sick), least=wanted, loose=0.93 * wanted),
            Bar("repeated calls", len(early), least=1),
            Bar("of them before Retry-After was over", sum(early), most=0),
            Bar("success in the last second", after.success, least=1.0, loose=0.99),
        ]

    @property
    def _books(self) -> Books:
        return Books(stored_rows(self.gateway.store))

    def _called_after_a_byte(self) -> list[AttemptRow]:
        books = self._books
        asked = books.exchanges
        firsts = {each.id: each.at + each.first_byte_s for each in asked.values() if each.first_byte_s is not None}
        streams = {name: at for name, at in firsts.items() if asked[name].streamed}
        return [each for each in books.attempts.values() if each.started_at > streams.get(each.exchange_id, 2e18)]

    def _asked_too_early(self) -> list[bool]:
        """Of every call after a refusal: whether it came before the provider wanted it."""
        calls: dict[str, list[AttemptRow]] = {}
        for attempt in sorted(self._books.attempts.values(), key=lambda row: row.started_at):
            calls.setdefault(attempt.exchange_id, []).append(attempt)
        pairs = [pair for made in calls.values() for pair in pairwise(made)]
        refused = [(one, other) for one, other in pairs if one.status == 503]
        return [other.started_at - one.started_at < RETRY_AFTER_S - EARLY_S for one, other in refused]


def _share_good(records: Sequence[Record]) -> float:
    return sum(each.good for each in records) / max(1, len(records))


@contextmanager
def brownout(directory: Path, course: Course, *, beside: bool) -> Iterator[Brownout]:
    """All of it, running. ``beside``: another deployment of the model stays well."""
    with load_provider() as provider, fault_proxy(provider.port, seed=14) as proxy:
        ports = {"sick": proxy.port, "well": provider.port} if beside else {"sick": proxy.port}
        for name in ports:
            provider.set(name, **USUAL)
        sections = {
            "providers": {
                name: {"kind": "openai", "base_url": provider.base_url(name, port), "prices": PRICES}
                for name, port in ports.items()
            },
            "models": {"m": {"deployments": [{"provider": name, "model": "m"} for name in ports]}},
        }
        with gateway_process(directory, **sections) as gateway:
            yield Brownout(course, gateway, provider, proxy, directory, beside)
