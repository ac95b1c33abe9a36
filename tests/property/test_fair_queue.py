"""The fair queue against a slow model of it, and its laws: nothing lost, bounded, fair, nobody starved."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.core.queueing import Brought, FairQueue, Patience, Waiter, wait_too_long

TENANTS = st.sampled_from("abcd")
BOUND = 8
ENDLESS = Patience(1e9, 1e9)


class Queue(RuleBasedStateMachine):
    """``waiting`` holds who is in the queue, in the order of arrival; ``left`` how everybody else left it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue(BOUND, Patience(10.0, 2.0))
        self.waiting: list[Waiter[int]] = []
        self.left: dict[int, str] = {}
        self.turns: dict[bool, list[str]] = {False: [], True: []}
        self.number = 0
        self.now = 100.0

    def count(self, *, batch: bool) -> Counter[str]:
        """How many of each tenant wait."""
        return Counter(waiter.tenant for waiter in self.waiting if waiter.batch == batch)

    def leave(self, waiter: Waiter[int], how: str) -> None:
        """Nobody leaves twice."""
        assert waiter.item not in self.left
        self.waiting.remove(waiter)
        self.left[waiter.item] = how
        turns = self.turns[waiter.batch]
        if waiter.tenant not in self.count(batch=waiter.batch):
            turns.remove(waiter.tenant)

    @rule(tenant=TENANTS, batch=st.booleans())
    def push(self, tenant: str, *, batch: bool) -> None:
        """A full queue makes room for interactive before batch, then for the smaller tenant; else it refuses."""
        self.number += 1
        mine, full = self.count(batch=batch)[tenant], len(self.waiting) >= BOUND
        most = max(self.count(batch=batch).values(), default=0)
        deferred = self.count(batch=True)
        room = not full or (not batch and bool(deferred)) or most > mine + 1
        pushed = self.queue.push(self.number, tenant, self.now, batch=batch)
        if pushed.expected_s <= 2.0:
            assert (pushed.waiter is not None) == room
        if pushed.expected_s > 10.0:
            assert pushed.waiter is None
        if pushed.evicted is not None:
            gone = pushed.evicted
            assert full
            assert gone.batch or not batch
            largest = self.count(batch=gone.batch)
            assert largest[gone.tenant] == max(largest.values())
            same = [other for other in self.waiting if (other.tenant, other.batch) == (gone.tenant, gone.batch)]
            assert same[-1] is gone
            assert not (deferred and not batch) or gone.batch
            self.leave(gone, "evicted")
        if pushed.waiter is None:
            assert pushed.evicted is None
            self.left[self.number] = "refused"
            return
        self.waiting.append(pushed.waiter)
        if tenant not in self.turns[batch]:
            self.turns[batch].append(tenant)

    @rule()
    def pop(self) -> None:
        """Interactive first; within a class the tenants in turn, each its oldest; who waited too long is late."""
        popped = self.queue.pop(self.now)
        for late in popped.late:
            assert self.now - late.since > 10.0
            self.leave(late, "late")
        if popped.waiter is None:
            assert not self.waiting
            return
        waiter = popped.waiter
        batch = not self.count(batch=False)
        turns = self.turns[batch]
        assert (waiter.batch, waiter.tenant) == (batch, turns[0])
        assert waiter is next(
            other for other in self.waiting if (other.tenant, other.batch) == (waiter.tenant, waiter.batch)
        )
        assert not wait_too_long(waiter, self.now, self.queue.patience)
        turns.append(turns.pop(0))
        self.leave(waiter, "popped")

    @rule(which=st.integers(0, BOUND))
    def cancel(self, which: int) -> None:
        """Who cancels leaves once."""
        if not self.waiting:
            return
        waiter = self.waiting[which % len(self.waiting)]
        assert self.queue.cancel(waiter)
        assert not self.queue.cancel(waiter)
        self.leave(waiter, "cancelled")

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @invariant()
    def nobody_is_lost(self) -> None:
        """Each is waiting or has left in one way, and never do more wait than may."""
        assert len(self.queue) == len(self.waiting) <= BOUND
        assert len(self.waiting) + len(self.left) == self.number


TestQueue = Queue.TestCase


@given(st.dictionaries(TENANTS, st.integers(1, 40), min_size=1), st.integers(1, 100))
def test_turns_are_fair_within_one(loads: dict[str, int], served: int) -> None:
    """While tenants have somebody waiting, none is served more than one time oftener than another."""
    queue = FairQueue[int](1000, ENDLESS)
    for tenant, load in loads.items():
        for number in range(load):
            assert queue.push(number, tenant, 0.0).waiter
    had: Counter[str] = Counter()
    for _ in range(min(served, sum(loads.values()))):
        waiter = queue.pop(0.0).waiter
        assert waiter is not None
        assert waiter.item == had[waiter.tenant]
        had[waiter.tenant] += 1
        backlogged = [had[tenant] for tenant in loads if had[tenant] < loads[tenant]]
        assert not backlogged or max(had.values()) - min(backlogged) <= 1


@given(st.integers(1, 500))
def test_a_tenant_at_any_load_delays_another_by_one_turn(load: int) -> None:
    """Whoever comes behind a crowd of one tenant is second."""
    queue = FairQueue[str](1000, ENDLESS)
    for _ in range(load):
        queue.push("crowd", "greedy", 0.0)
    queue.push("me", "modest", 1.0)
    waiters = [queue.pop(1.0).waiter for _ in range(2)]
    assert "me" in [waiter.item for waiter in waiters if waiter]


@given(st.lists(TENANTS, min_size=60, max_size=200))
def test_a_full_queue_is_shared_evenly(arrivals: list[str]) -> None:
    """Whatever the order of arrivals, of a full queue nobody holds two more than one that was refused or evicted."""
    queue = FairQueue[int](12, ENDLESS)
    held: Counter[str] = Counter()
    short: set[str] = set()
    for number, tenant in enumerate(arrivals):
        pushed = queue.push(number, tenant, 0.0)
        held[tenant] += pushed.waiter is not None
        if pushed.evicted is not None:
            held[pushed.evicted.tenant] -= 1
            short.add(pushed.evicted.tenant)
        if pushed.waiter is None:
            short.add(tenant)
    assert all(max(held.values()) - held[tenant] <= 1 for tenant in short)


def test_a_crowd_is_refused_at_once_and_a_burst_is_not() -> None:
    """Ten turns a second, patience 2 s and 0.2 s: a burst fills up to 1.2 s; after 2 s of it two may wait."""
    queue = FairQueue[int](1000, Patience(2.0, 0.2))
    now, accepted = 100.0, 0
    for number in range(20):  # the pace has to be known
        queue.push(number, "a", now)
    for _ in range(10):
        now += 0.1
        queue.pop(now)
    for number in range(100):
        accepted += queue.push(number, "a", now).waiter is not None
    assert len(queue) == 12
    for _ in range(40):
        now += 0.1
        for number in range(3):
            queue.push(number, "a", now)
        assert not queue.pop(now).late
    assert len(queue) == 1, "two, and one has just been popped"
    assert queue.push(0, "b", now).waiter, "the patience of others is their own"


def test_who_waited_too_long_costs_its_tenant_no_turn() -> None:
    """The late leave with the one that is served in their place."""
    queue = FairQueue[int](10, Patience(5.0, 5.0))
    queue.push(1, "a", 100.0)
    queue.push(2, "a", 102.0)
    queue.push(3, "b", 102.0)
    popped = queue.pop(106.0)
    assert popped.waiter is not None
    assert (popped.waiter.item, [late.item for late in popped.late]) == (2, [1])


@pytest.mark.parametrize("bound", [0, 1])
def test_the_smallest_queues(bound: int) -> None:
    """A queue for nobody refuses all; one for one takes one, and gives it up for an interactive arrival only."""
    queue = FairQueue[str](bound, ENDLESS)
    assert (queue.push("night", "a", 0.0, batch=True).waiter is not None) == (bound == 1)
    evicted = queue.push("day", "a", 0.0).evicted
    assert (evicted is not None and evicted.item == "night") == (bound == 1)
    assert queue.push("night", "b", 0.0, batch=True).waiter is None
    assert len(queue) == bound


def test_twenty_thousand_waiters_are_no_work() -> None:
    """Effort that grew with those who wait would not come to an end here."""
    queue = FairQueue[int](20_000, ENDLESS)
    waiters = [queue.push(number, str(number % 100), 0.0).waiter for number in range(20_000)]
    for waiter in waiters[::2]:
        assert waiter is not None
        assert queue.cancel(waiter)
    for number in range(10_000, 20_000):
        queue.push(number, "late comer", 0.0)
    assert sum(queue.pop(0.0).waiter is not None for _ in range(20_001)) == 20_000


def test_a_stall_is_paid_by_who_crowds() -> None:
    """No turn comes for half a second: that is longer than a crowd's patience, and a quiet tenant may wait."""
    queue = FairQueue[int](1000, Patience(5.0, 0.1, 0.25))
    now = 100.0
    for number in range(20):
        queue.push(number, "crowd", now)
    for _ in range(10):
        now += 0.01
        queue.pop(now)
    now += 0.6
    assert queue.push(0, "crowd", now).waiter is None
    assert queue.push(0, "quiet", now).waiter is not None


def test_one_gap_is_no_pace() -> None:
    """The first turns of a burst are a third of a second apart: twenty who wait are not told that it takes six."""
    queue = FairQueue[int](1000, Patience(5.0, 0.1, 0.25))
    now = 100.0
    for number in range(20):
        queue.push(number, f"tenant {number}", now)
    for _ in range(2):
        now += 0.3
        queue.pop(now)
    assert queue.push(0, "quiet", now).waiter is not None
    for _ in range(3):
        now += 0.4
        queue.pop(now)
    assert queue.expected_s("quiet", now) >= 5.0, "by now it is one"


def test_batch_learns_its_own_pace() -> None:
    """A hundred turns a second, one in ten of them for batch: three that wait expect a third of a second."""
    queue = FairQueue[int](1000, ENDLESS)
    now = 100.0
    for number in range(60):
        queue.push(number, "night", now, batch=True)
    for turn in range(500):
        now += 0.01
        if turn % 10:
            queue.push(turn, "day", now)
        queue.pop(now)
    waiting = 10
    assert len(queue) == waiting
    assert 0.8 * waiting / 10 <= queue.expected_s("night", now, batch=True) <= 1.5 * waiting / 10
    assert queue.expected_s("day", now) <= 0.05


def test_turns_that_come_together_are_a_pace() -> None:
    """Forty at once, twice a second, are eighty a second, just after a batch of turns and just before one."""
    queue = FairQueue[int](1000, ENDLESS)
    now = 100.0
    for number in range(900):
        queue.push(number, "a", now)
    for _ in range(10):
        now += 0.5
        for _ in range(40):
            queue.pop(now)
    for later_s in (0.0, 0.25, 0.45):
        assert 4.0 <= queue.expected_s("a", now + later_s) <= 8.5


@given(st.lists(st.floats(0, 3), min_size=40, max_size=200))
def test_who_brings_a_tenth_is_quiet_and_equals_are_not(gaps: list[float]) -> None:
    """Whenever they come; and who brought nothing of late is forgotten."""
    brought, now = Brought(), 100.0
    for number, gap in enumerate(gaps):
        now += gap / 100
        for name in ("loud",) * 10 + (("quiet",) if number % 2 else ()):
            brought.add(name, now)
    assert brought.is_quiet("quiet")
    assert not brought.is_quiet("loud")
    for _ in range(3):
        now += 20.0
        brought.add("new", now)
    assert not brought.is_quiet("new")
