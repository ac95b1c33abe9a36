"""A server of fixed capacity behind a limit and a queue, under an open-loop load, in simulated time."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from penstock.core.queueing import FairQueue, Waiter


class Limit(Protocol):
    """What stands between the queue and the server."""

    def allows(self, in_flight: int) -> bool:
        """Whether one more may be sent."""
        ...

    def observe(self, wait_s: float, in_flight: int, now: float) -> None:
        """The first byte came."""
        ...


@dataclass(frozen=True, slots=True)
class Phase:
    """So many seconds with so many requests per second of each tenant."""

    seconds: float
    per_s: dict[str, float]


@dataclass(slots=True)
class Request:
    """What became of one request; times in simulated seconds."""

    tenant: str
    arrived: float
    batch: bool = False
    sent: float | None = None
    begun: float | None = None
    ended: float | None = None
    refused: float | None = None
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """``slots`` calls at once, others in order; ``call`` draws the seconds to the first byte and from there on."""

    slots: int
    call: Callable[[random.Random, float], tuple[float, float]]


@dataclass(slots=True)
class Simulation:
    """Runs phases; afterwards ``requests`` tells everything and ``limits`` how the limit went."""

    server: Server
    limit: Limit
    queue: FairQueue[Request]
    seed: int
    batch: frozenset[str] = frozenset()
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    _arrivals: random.Random = field(init=False)
    _work: random.Random = field(init=False)
    _busy: int = 0
    _inside: deque[Request] = field(default_factory=deque)
    _events: list[tuple[float, int, str, Request]] = field(default_factory=list)
    _waiting: dict[int, Waiter[Request]] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self._arrivals = random.Random(self.seed)  # noqa: S311 - chance, no secret
        self._work = random.Random(self.seed + 1)  # noqa: S311 - likewise

    def run(self, phases: Sequence[Phase]) -> None:
        """All arrivals of all phases, to the last answer."""
        start = 0.0
        for phase in phases:
            for tenant, per_s in phase.per_s.items():
                at = start
                while per_s and (at := at + self._arrivals.expovariate(per_s)) < start + phase.seconds:
                    self._at(at, "arrive", Request(tenant, at, tenant in self.batch))
            start += phase.seconds
        while self._events:
            now, _, what, request = heapq.heappop(self._events)
            {"arrive": self._arrive, "begin": self._begin, "end": self._end, "give up": self._give_up}[what](
                request, now
            )

    def _at(self, when: float, what: str, request: Request) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what, request))

    def _arrive(self, request: Request, now: float) -> None:
        self.requests.append(request)
        if not len(self.queue) and self.limit.allows(self.in_flight):
            self._send(request, now)
            return
        pushed = self.queue.push(request, request.tenant, now, batch=request.batch)
        if pushed.waiter is None:
            request.refused = now
        else:
            self._waiting[id(request)] = pushed.waiter
            self._at(now + self.queue.patience.most_s, "give up", request)
        if pushed.evicted is not None:
            pushed.evicted.item.refused = now

    def _give_up(self, request: Request, now: float) -> None:
        """The timer of one who waits, as the shell has one for each."""
        if self.queue.cancel(self._waiting.pop(id(request))):
            request.refused = now

    def _send(self, request: Request, now: float) -> None:
        self.in_flight += 1
        request.sent, request.in_flight = now, self.in_flight
        self._inside.append(request)
        self._serve(now)

    def _serve(self, now: float) -> None:
        while self._inside and self._busy < self.server.slots:
            self._busy += 1
            request = self._inside.popleft()
            first_s, rest_s = self.server.call(self._work, now)
            self._at(now + first_s, "begin", request)
            self._at(now + first_s + rest_s, "end", request)

    def _begin(self, request: Request, now: float) -> None:
        request.begun = now
        assert request.sent is not None
        self.limit.observe(now - request.sent, request.in_flight, now)

    def _end(self, request: Request, now: float) -> None:
        request.ended = now
        self._busy -= 1
        self.in_flight -= 1
        self._serve(now)
        while len(self.queue) and self.limit.allows(self.in_flight):
            waiter = self._next(now)
            if waiter is not None:
                self._send(waiter.item, now)

    def _next(self, now: float) -> Waiter[Request] | None:
        popped = self.queue.pop(now)
        for late in popped.late:
            late.item.refused = now
        return popped.waiter


def within(requests: Sequence[Request], start: float, end: float) -> list[Request]:
    """Those that arrived in that time."""
    return [request for request in requests if start <= request.arrived < end]


def goodput(requests: Sequence[Request], start: float, end: float) -> float:
    """Answers per second of that time."""
    return sum(request.ended is not None and start <= request.ended < end for request in requests) / (end - start)


def times(requests: Sequence[Request]) -> list[float]:
    """From arrival to the end of the answer, of all that were answered, in order of size."""
    return sorted(request.ended - request.arrived for request in requests if request.ended is not None)


def refusals(requests: Sequence[Request]) -> list[float]:
    """From arrival to the refusal, in order of size."""
    return sorted(request.refused - request.arrived for request in requests if request.refused is not None)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed; 0.0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
