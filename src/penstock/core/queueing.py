"""Who waits for a slot, and who is next: a bounded queue that is fair between tenants.

Interactive before batch, always. Within a class tenants take turns, one waiter each, and a tenant's own come in order:
one that brings ten times as much waits behind itself. When the queue is full, room is made for an interactive arrival
by the newest batch waiter; else by the newest of the tenant that has most waiting, if the arrival's has fewer by two
or more; else the arrival is refused. Who would wait too long is refused at once, because a refusal that comes early is
worth more. Fails closed.

Every operation is O(1), amortised. Times are monotonic seconds. Items are the caller's own.
"""

from collections import OrderedDict
from math import exp, inf
from typing import Final, Generic, NamedTuple, TypeVar

PACE_S: Final = 2.0
"""Turns so long ago weigh a third in the pace. Long enough for servers that end their calls in batches."""
STALL: Final = 4.0
STALL_S: Final = 1.0
"""An interval counts as so many mean ones, or as this, at most."""
ENOUGH: Final = 3.0
ENOUGH_S: Final = 1.0
"""So many turns, or turns over so long, are a pace; fewer are chance."""
MARGIN: Final = 0.6
"""Who is let in expects to wait so much of the most at worst: paces vary, and a refusal after a wait is the worst."""

CROWD: Final = 0.5
"""Who brings less than this part of what tenants bring on average is quiet, however its calls come together."""
FORGOTTEN: Final = 0.05
"""So little of an arrival is none."""
BROUGHT_S: Final = 2.0
"""What was brought so long ago weighs a third."""

T = TypeVar("T")


class Patience(NamedTuple):
    """``most_s``: how long anyone may wait; ``crowd_s`` and ``standing_s``: how long who crowds may expect to.

    Who brings as much as others do crowds. A burst is waited out. A tenant that has had somebody waiting, or
    refused, for so long without a break that a burst would be over brings more than is served: a long line would only
    make all of its own late. Then ``standing_s`` holds for it. The others keep their patience.
    """

    most_s: float
    standing_s: float
    crowd_s: float = inf

    @property
    def burst_s(self) -> float:
        """How long a burst may last."""
        return min(self.most_s, self.crowd_s / MARGIN)


class Waiter(Generic[T]):
    """One who waits. It is in the queue until it is popped, evicted or cancelled, which happens once."""

    __slots__ = ("batch", "item", "since", "tenant")

    def __init__(self, item: T, tenant: str, since: float, *, batch: bool) -> None:
        self.item = item
        self.tenant = tenant
        self.since = since
        self.batch = batch


class Pushed(NamedTuple, Generic[T]):
    """``waiter`` is None when the arrival was refused; ``evicted`` had to leave for it.

    ``expected_s``: how long it is going to wait, or would have.
    """

    waiter: Waiter[T] | None
    evicted: Waiter[T] | None
    expected_s: float


class Popped(NamedTuple, Generic[T]):
    """``waiter`` is next, None = nobody; those in ``late`` had waited too long and are to be refused."""

    waiter: Waiter[T] | None
    late: list[Waiter[T]]


class Pace:
    """How quickly turns come while somebody waits."""

    __slots__ = ("_count", "_gap_s", "_passed_s", "_turned", "_turned_at")

    def __init__(self) -> None:
        self._count = self._passed_s = self._gap_s = 0.0
        self._turned_at: float | None = None  # None: nobody waits
        self._turned = False  # whether that was a turn, and not the first arrival

    def begin(self, now: float) -> None:
        """The first one waits."""
        if self._turned_at is None:
            self._turned_at, self._turned = now, False

    def end(self) -> None:
        """Nobody waits any more."""
        self._turned_at = None

    def turn(self, now: float) -> None:
        """Somebody's turn came. One stall is not a pace."""
        if self._turned_at is not None and self._turned:
            passed_s = now - self._turned_at
            known, weight = self.interval_s, exp(-passed_s / PACE_S)
            counted_s = min(passed_s, max(STALL * known, STALL_S)) if self._count else passed_s
            self._count, self._passed_s = self._count * weight + 1, self._passed_s * weight + counted_s
            self._gap_s = max(self._gap_s * weight, counted_s)
        self._turned_at, self._turned = now, True

    @property
    def interval_s(self) -> float:
        """The mean time between two turns; 0.0 where nothing is known."""
        known = self._count >= ENOUGH or self._passed_s >= ENOUGH_S
        return self._passed_s / self._count if known else 0.0

    def wait_s(self, turns: int, now: float) -> float:
        """How long so many turns take. A stall, longer than pauses are here, is expected to last as long again."""
        stalled_s = 0.0 if self._turned_at is None else now - self._turned_at - max(self._gap_s, self.interval_s)
        return turns * self.interval_s + max(0.0, stalled_s)


class Lane(Generic[T]):
    """The waiters of one tenant in one class, in order."""

    __slots__ = ("since", "waiters")

    def __init__(self, since: float) -> None:
        """``since``: it has not been empty."""
        self.since = since
        self.waiters: OrderedDict[Waiter[T], None] = OrderedDict()


class Brought:
    """How much each tenant brought of late, refused or not: every arrival counts one, and fades."""

    __slots__ = ("_at", "_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}
        self._total = 0.0
        self._at = 0.0

    def add(self, tenant: str, now: float) -> None:
        """One more. Times that step back fade nothing; who brought nothing of late is forgotten."""
        weight = exp(-max(0.0, now - self._at) / BROUGHT_S)
        if weight < CROWD:  # seldom, so that it costs nothing per arrival: all fade together
            self._counts = {name: count * weight for name, count in self._counts.items() if count * weight > FORGOTTEN}
            self._total = sum(self._counts.values())
            self._at, weight = now, 1.0
        self._counts[tenant] = self._counts.get(tenant, 0.0) + 1 / weight
        self._total += 1 / weight

    def is_quiet(self, tenant: str) -> bool:
        """Whether it brings far less than the average."""
        return self._counts.get(tenant, 0.0) * len(self._counts) < CROWD * self._total


class Rank(Generic[T]):
    """One class: its tenants in the order of their turns, and which of them has most waiting."""

    def __init__(self) -> None:
        self.lanes: OrderedDict[str, Lane[T]] = OrderedDict()
        self.brought = Brought()
        self.size = 0
        self._by_size: dict[int, OrderedDict[str, None]] = {}
        self._largest = 0

    def waiting(self, tenant: str) -> int:
        """How many of that tenant wait."""
        lane = self.lanes.get(tenant)
        return 0 if lane is None else len(lane.waiters)

    def largest(self) -> tuple[str, int]:
        """The tenant that has most waiting, the one that has had so many for longest, and how many. Not when empty."""
        return next(iter(self._by_size[self._largest])), self._largest

    def add(self, waiter: Waiter[T]) -> None:
        """Behind its tenant's others; a new tenant's turn is the last."""
        lane = self.lanes.get(waiter.tenant)
        if lane is None:
            lane = self.lanes[waiter.tenant] = Lane(waiter.since)
        lane.waiters[waiter] = None
        self._resized(waiter.tenant, len(lane.waiters) - 1, len(lane.waiters))

    def remove(self, waiter: Waiter[T]) -> bool:
        """Take it out, wherever it stands; False when it is not here."""
        lane = self.lanes.get(waiter.tenant)
        if lane is None or waiter not in lane.waiters:
            return False
        del lane.waiters[waiter]
        self._resized(waiter.tenant, len(lane.waiters) + 1, len(lane.waiters))
        if not lane.waiters:
            del self.lanes[waiter.tenant]
        return True

    def first(self) -> Waiter[T]:
        """Whose turn it is. Not when empty."""
        return next(iter(next(iter(self.lanes.values())).waiters))

    def newest(self, tenant: str) -> Waiter[T]:
        """The one of that tenant that came last."""
        return next(reversed(self.lanes[tenant].waiters))

    def turned(self, tenant: str) -> None:
        """It had its turn."""
        if tenant in self.lanes:
            self.lanes.move_to_end(tenant)

    def _resized(self, tenant: str, before: int, after: int) -> None:
        """Sizes change by one, so the largest is found beside the last one."""
        self.size += after - before
        if before:
            equals = self._by_size[before]
            del equals[tenant]
            if not equals:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, OrderedDict())[tenant] = None
        self._largest = max(after, self._largest if self._largest in self._by_size else self._largest - 1)


class FairQueue(Generic[T]):
    """Those who wait for a slot."""

    def __init__(self, bound: int, patience: Patience) -> None:
        """``bound``: how many may wait, >= 0. Both may be set anew at any time; nobody is sent away for it."""
        self.bound = bound
        self.patience = patience
        self._ranks: tuple[Rank[T], Rank[T]] = (Rank(), Rank())  # interactive, batch
        self._pace = Pace()  # of all turns
        self._batch_pace = Pace()  # of those that are left to batch
        self._crowded: OrderedDict[tuple[str, bool], float] = OrderedDict()  # tenant and class: until when, in order

    def __len__(self) -> int:
        return self._ranks[0].size + self._ranks[1].size

    def push(self, item: T, tenant: str, now: float, *, batch: bool = False) -> Pushed[T]:
        """Let it wait, or refuse it. Somebody evicted is to be refused in its place."""
        rank = self._ranks[batch]
        rank.brought.add(tenant, now)
        expected_s = self.expected_s(tenant, now, batch=batch)
        if self._too_long(expected_s, tenant, now, batch=batch):
            return Pushed(None, None, expected_s)
        evicted = None
        if len(self) >= self.bound:
            evicted = self._replaceable(tenant, batch=batch)
            if evicted is None:
                return Pushed(None, None, expected_s)
            self._ranks[evicted.batch].remove(evicted)
        self._pace.begin(now)
        if batch:
            self._batch_pace.begin(now)
        waiter = Waiter(item, tenant, now, batch=batch)
        rank.add(waiter)
        return Pushed(waiter, evicted, expected_s)

    def pop(self, now: float) -> Popped[T]:
        """Whose turn it is; those of its tenant that waited too long leave with it, without costing it the turn."""
        late: list[Waiter[T]] = []
        for rank in self._ranks:
            while rank.size:
                waiter = rank.first()
                rank.remove(waiter)
                if not wait_too_long(waiter, now, self.patience):
                    rank.turned(waiter.tenant)
                    self._turn(waiter, now)
                    return Popped(waiter, late)
                late.append(waiter)
        self._rest()
        return Popped(None, late)

    def cancel(self, waiter: Waiter[T]) -> bool:
        """It does not want to wait any more; False when it has left already."""
        removed = self._ranks[waiter.batch].remove(waiter)
        self._rest()
        return removed

    def expected_s(self, tenant: str, now: float, *, batch: bool = False) -> float:
        """How long an arrival would wait at most, at the pace of the last turns; 0.0 where nothing is known."""
        if not len(self):
            return 0.0
        rank = self._ranks[batch]
        rounds = rank.waiting(tenant) + 1
        others = len(rank.lanes) - (tenant in rank.lanes) + 1
        ahead = min(rank.size + 1, rounds * others)
        if not batch:
            return self._pace.wait_s(ahead, now)
        return max(self._pace.wait_s(ahead + self._ranks[0].size, now), self._batch_pace.wait_s(ahead, now))

    def _too_long(self, expected_s: float, tenant: str, now: float, *, batch: bool) -> bool:
        """Whether an arrival need not wait at all. Who brings little is not crowding."""
        patience = self.patience
        while self._crowded and next(iter(self._crowded.values())) <= now:
            self._crowded.popitem(last=False)
        rank = self._ranks[batch]
        lane = rank.lanes.get(tenant)
        if lane is None or rank.brought.is_quiet(tenant):
            return expected_s > patience.most_s * MARGIN
        if now - lane.since <= patience.burst_s and (tenant, batch) not in self._crowded:
            return expected_s > patience.burst_s * MARGIN
        if expected_s <= patience.standing_s:
            return False
        self._crowded[tenant, batch] = now + patience.burst_s
        self._crowded.move_to_end((tenant, batch))
        return True

    def _replaceable(self, tenant: str, *, batch: bool) -> Waiter[T] | None:
        """Who has to leave for an arrival, None = nobody does."""
        interactive, deferred = self._ranks
        if not batch and deferred.size:
            return deferred.newest(deferred.largest()[0])
        rank = deferred if batch else interactive
        if not rank.size:
            return None
        largest, size = rank.largest()
        return rank.newest(largest) if size > rank.waiting(tenant) + 1 else None

    def _turn(self, waiter: Waiter[T], now: float) -> None:
        """Only turns with somebody waiting in between tell a pace."""
        self._pace.turn(now)
        if waiter.batch:
            self._batch_pace.turn(now)
        self._rest()

    def _rest(self) -> None:
        if not len(self):
            self._pace.end()
        if not self._ranks[1].size:
            self._batch_pace.end()


def wait_too_long(waiter: Waiter[T], now: float, patience: Patience) -> bool:
    """Whether its answer would come too late to be wanted."""
    return now - waiter.since > patience.most_s
