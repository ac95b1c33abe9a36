"""What becomes of requests while Redis is of no use: one fault after the other, under load, and what each came to.

Three keys ask: ``closed`` has a budget and waits for whoever lends, ``open`` has one and is answered then, ``free`` has
none. A part of ``closed``'s budget is a few calls, so it runs out in the fault; one of ``open``'s lasts.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.bars import Bar
from tests.support.gateway_process import wait_for
from tests.support.many_nodes import House, Load, Node, Said, limit, many_nodes, money, percentile
from tests.support.metrics_text import samples

FAULTS: Final = ("frozen", "black hole", "reset", "half a second late", "emptied", "rewound")
KEYS: Final = ("closed", "open", "free")
SLICE: Final = 0.002
CLOSED_CALLS: Final = 1_500
OPEN_CALLS: Final = 100_000
CALLS: Final = {"closed": CLOSED_CALLS, "open": OPEN_CALLS}
OPENS_WITHIN_S: Final = 2.0
RECOVERS_WITHIN_S: Final = 5.0
LATE_S: Final = 0.25
"""Each way."""
LOOK_S: Final = 0.05
AT_ONCE: Final = 20


@dataclass
class Course:
    """One fault."""

    fault: str
    before: list[Said] = field(default_factory=list)
    opening: list[Said] = field(default_factory=list)
    """The first two seconds of the fault: by their end whoever does not answer is left alone."""
    during: list[Said] = field(default_factory=list)
    """The rest of it."""
    after: list[Said] = field(default_factory=list)
    recovered_s: float = 0.0
    """From the fault's end until a request of ``closed`` is answered at every node."""
    logged: int = 0
    """Bytes in the fault."""
    cpu_before_s: float = 0.0
    """Per request."""
    cpu_during_s: float = 0.0

    def bars(self) -> list[Bar]:
        """What it is held to."""
        whole = [*self.opening, *self.during]
        refused = [each for each in whole if each.key == "closed" and each.told.status == 503]
        answered = [each for each in self.during if each.told.status == 200]
        baseline_ms = 1000 * percentile([each.took_s for each in self.before], 0.99)
        late_ms = 1000 * percentile([each.took_s for each in answered], 0.99) - baseline_ms
        refused_ms = 1000 * percentile([each.took_s for each in refused], 0.99)
        retry = sum("retry-after" not in each.told.headers for each in refused)
        odd = Counter(each.told.status for each in whole if each.key == "closed") - Counter({200: 10**9, 503: 10**9})
        failed = sum(each.told.status != 200 for each in whole if each.key != "closed")
        return [
            Bar(f"{self.fault}: closed, refused", len(refused), least=1),
            Bar(f"{self.fault}: closed, neither answered nor 503", sum(odd.values()), most=0),
            Bar(f"{self.fault}: closed, 503 without Retry-After", retry, most=0),
            Bar(f"{self.fault}: closed, P99 of a refusal, ms", refused_ms, most=100, loose=300),
            Bar(f"{self.fault}: open and free, failed of {len(whole)}", failed, most=0),
            Bar(f"{self.fault}: P99 over baseline of {baseline_ms:.0f}, ms", late_ms, most=100, loose=300),
            Bar(f"{self.fault}: log per request, bytes", self.logged / max(1, len(whole)), most=1024),
            Bar(f"{self.fault}: CPU per request", self.cpu_during_s / self.cpu_before_s, most=1.2, loose=2.0),
            Bar(f"{self.fault}: recovery, s", self.recovered_s, most=RECOVERS_WITHIN_S),
            Bar(f"{self.fault}: failed after", sum(each.told.status != 200 for each in self.after), most=0),
        ]


class Trouble:
    """A house, and what is done to its Redis."""

    def __init__(self, house: House, nodes: Sequence[Node], secrets: dict[str, str]) -> None:
        """``secrets``: of the keys, by name."""
        self.house = house
        self.nodes = nodes
        self._secrets = secrets
        self._old: Path | None = None
        self.courses: list[Course] = []

    async def suffer(self, fault: str, *, rate: float, before_s: float, fault_s: float) -> Course:
        """Load, fault, recovery."""
        course = Course(fault)
        self._old = await asyncio.to_thread(self.house.redis.dump) if fault == "rewound" else None
        course.before, course.cpu_before_s, _ = await self._load(rate, before_s)
        await asyncio.to_thread(self._begin, fault)
        resets = asyncio.ensure_future(self._reset_all()) if fault == "reset" else None
        course.opening, _, opening_logged = await self._load(rate, OPENS_WITHIN_S)
        course.during, course.cpu_during_s, during_logged = await self._load(rate, fault_s - OPENS_WITHIN_S)
        course.logged = opening_logged + during_logged
        if resets is not None:
            resets.cancel()
        await asyncio.to_thread(self._end, fault)
        course.recovered_s = await self._recovery()
        course.after, _, _ = await self._load(rate, 1.0)
        self.courses.append(course)
        return course

    async def _load(self, rate: float, seconds: float) -> tuple[list[Said], float, int]:
        """What was said, CPU per request, bytes logged."""
        cpu_s, logged = sum(node.cpu_s() for node in self.nodes), self._logged()
        async with Load(self.house, self.nodes, rate=rate, questions=self._question) as load:
            await asyncio.sleep(seconds)
        spent_s = sum(node.cpu_s() for node in self.nodes) - cpu_s
        return load.said, spent_s / max(1, len(load.said)), self._logged() - logged

    def _question(self, number: int) -> dict[str, Any]:
        return self.ask_of(KEYS[number // len(self.nodes) % len(KEYS)])

    def ask_of(self, name: str) -> dict[str, Any]:
        """What makes a question one of this key."""
        tags = "" if name == "free" else f"pays={name}"
        return {"key": self._secrets[name], "who": name, "headers": {"x-penstock-tags": tags}}

    def _logged(self) -> int:
        return sum((node.directory / "stderr").stat().st_size for node in self.nodes)

    # --- faults

    def _begin(self, fault: str) -> None:
        house = self.house
        if fault == "frozen":
            house.redis.freeze()
        elif fault == "black hole":
            house.to_redis.set(black_hole=True)
        elif fault == "reset":
            house.to_redis.set(reset_connect=1.0)
        elif fault == "half a second late":
            house.to_redis.set(latency_s=LATE_S)
        else:
            house.redis.kill()

    async def _reset_all(self) -> None:
        while True:
            await asyncio.to_thread(self.house.to_redis.cut)
            await asyncio.sleep(LOOK_S)

    def _end(self, fault: str) -> None:
        house = self.house
        if fault == "frozen":
            house.redis.thaw()
        elif fault == "emptied":
            house.redis.start()
        elif fault == "rewound":
            assert self._old is not None
            house.redis.restart_from(self._old)
        house.to_redis.heal()

    async def _recovery(self) -> float:
        since, left = time.monotonic(), list(self.nodes)
        while left:
            said = await self.house.ask(left[0], **self.ask_of("closed"))
            if said.told.status == 200:
                left.pop(0)
            assert time.monotonic() - since < 4 * RECOVERS_WITHIN_S, f"{said.told.status}: {said.told.body!r}"
        return time.monotonic() - since

    # --- what it came to

    def money_bars(self) -> list[Bar]:
        """Nothing is overspent; what was given beyond what was lent is told; counter and ledger agree."""
        settled_s = self.house.settles(RECOVERS_WITHIN_S + OPENS_WITHIN_S)
        self.house.check(billed=False)
        over = sum(
            max(0, amount - self.house.budgets[0].limit_of(place.value)) for place, amount in self.house.spent().items()
        )
        return [
            Bar("overspent, nano-units", over, most=0),
            Bar("slices given while nobody lent, as reported", self.slices()),
            Bar("counter in Redis = ledger after, s", settled_s, most=RECOVERS_WITHIN_S, loose=4 * RECOVERS_WITHIN_S),
        ]

    async def spend(self, name: str, calls: int) -> None:
        """So many are answered, some at a time; who is told to come again does."""
        left = calls
        while left:
            said = await self.house.ask_all(min(left, AT_ONCE), self.nodes, **self.ask_of(name))
            assert {each.told.status for each in said} <= {200, 503}
            left -= sum(each.told.status == 200 for each in said)

    def all_know(self, share: float) -> None:
        """Return when every node has heard that so much of the budgets is spent."""
        wait_for(lambda: {_used(node) for node in self.nodes} == {round(share, 6)}, "all nodes to hear of it")

    def slices(self) -> float:
        """As the nodes' metrics say."""
        found = [samples(node.metrics()) for node in self.nodes]
        return sum(
            value for each in found for (name, _), value in each.items() if name == "penstock_overspent_slices_total"
        )


def _used(node: Node) -> float:
    """Of the account that has spent most of its own."""
    found = samples(node.metrics())
    return max(
        (round(value, 6) for (name, _), value in found.items() if name == "penstock_budget_used_ratio"), default=0
    )


@contextmanager
def trouble(
    directory: Path,
    *,
    nodes: int = 2,
    calls: dict[str, int] | None = None,
    slice_: float = SLICE,
    proxied: bool = True,
) -> Iterator[Trouble]:
    """So many nodes that serve; ``calls``: that the budgets are worth."""
    entries = {f"pays={name}": money(worth) for name, worth in (CALLS | (calls or {})).items()}
    budgets = [limit("by-tag", "tag", 0, entries=entries)]
    shared = {"slice": slice_, "keys": {"open": "answer"}}
    with many_nodes(directory, proxied=proxied, budgets=budgets, shared=shared) as house:
        first = house.node()
        secrets = {name: first.create_key(name) for name in KEYS}
        first.start()
        yield Trouble(house, [first, *house.nodes(nodes - 1)], secrets)
