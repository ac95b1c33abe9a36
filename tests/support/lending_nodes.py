"""Nodes that spend from the same budgets, each with a bank of its own; what lends and what is written is in memory.

town = Town([budget])
node = await town.node()
await node.spend(PAYER, held=30, billed=10, lasts_s=1.0)
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from penstock.background.lending import BEAT_S, Lending
from penstock.core.budget import Budget, Payer, Place
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.errors import LeaseEnded
from penstock.pipeline.treasury import Cost, Treasury
from penstock.ports.clock import Clock
from penstock.ports.leases import Epoch, Lease
from penstock.ports.ledger import Posted, PostedQuery
from penstock.ports.lending import Beat, Lent, Return, Want
from penstock.stores.memory_ledger import MemoryLedger
from penstock.stores.memory_rooms import MemoryRooms


@dataclass(slots=True)
class Attempt:
    """A row."""

    lease: int
    payer: Payer
    at: float
    held: int
    billed: int | None = None

    @property
    def counts(self) -> int:
        """What it is in the sums."""
        return self.held if self.billed is None else self.billed


@dataclass(slots=True)
class Rows:
    """The truth: the port Leases, and the rows that it counts. Tokens only."""

    now: Callable[[], float]
    attempts: dict[str, Attempt] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    stands: Epoch = field(default_factory=lambda: Epoch(0, ""))
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def open(self, id_: str, attempt: Attempt) -> None:
        """Raises LeaseEnded."""
        if attempt.lease in self.ended:
            raise LeaseEnded("the lease has ended")
        self.attempts[id_] = attempt

    def total(self, budget: Budget, value: str, start: float) -> int:
        """What an account comes to."""
        return sum(
            each.counts
            for each in self.attempts.values()
            if value in each.payer.values(budget.scope) and budget.span(each.at).start == start
        )

    async def begin(self, node: str) -> int:
        """A new one."""
        await asyncio.sleep(0.001)
        lease = Lease(next(self._numbers), node, self.now())
        self.leases[lease.id] = lease
        return lease.id

    async def end(self, lease: int) -> bool:
        """Nothing is opened under it any more."""
        before = lease in self.ended
        self.ended.add(lease)
        await asyncio.sleep(0.001)
        return not before

    async def alive(self) -> Sequence[Lease]:
        """Those that live."""
        await asyncio.sleep(0.001)
        return [lease for id_, lease in self.leases.items() if id_ not in self.ended]

    async def epoch(self) -> Epoch:
        """The one that stands."""
        await asyncio.sleep(0.001)
        return self.stands

    async def next_epoch(self, redis_id: str, expected: int) -> Epoch:
        """End all leases."""
        await asyncio.sleep(0.001)
        if self.stands.number == expected:
            self.ended |= self.leases.keys()
            self.stands = Epoch(expected + 1, redis_id)
        return self.stands

    async def spent(self, lease: int, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """Of one lease."""
        return await self._sums(queries, lambda each: each.lease == lease)

    async def base(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """Of no living lease."""
        return await self._sums(queries, lambda each: each.lease in self.ended)

    async def open_of(self, lease: int) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Not asked here."""
        raise NotImplementedError

    async def unsettled(self) -> Sequence[int]:
        """Ended, with something open."""
        await asyncio.sleep(0.001)
        return sorted({each.lease for each in self.attempts.values() if each.billed is None} & self.ended)

    async def _sums(
        self, queries: Sequence[PostedQuery], counts: Callable[[Attempt], bool]
    ) -> Sequence[Sequence[Posted]]:
        answers = []
        for query in queries:
            sums: dict[str, int] = {}
            for each in self.attempts.values():
                if counts(each) and query.since <= each.at < query.until:
                    for value in each.payer.values(query.scope):
                        sums[value] = sums.get(value, 0) + each.counts
            answers.append([Posted(value, 0, amount) for value, amount in sums.items()])
        await asyncio.sleep(0.002)
        return answers


class FarRooms(MemoryRooms):
    """At the other end of a network: what is answered is old by then."""

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """A millisecond each way."""
        await asyncio.sleep(0.001)
        told = await super().ask(epoch, lease, wants)
        await asyncio.sleep(0.001)
        return told

    async def renew(self, epoch: int, lease: str, returns: Sequence[Return]) -> Beat:
        """Likewise."""
        await asyncio.sleep(0.001)
        told = await super().renew(epoch, lease, returns)
        await asyncio.sleep(0.001)
        return told


class Watched:
    """A ledger that is always there."""

    lease = 0
    fenced = True
    late_openings = 0
    may_open_alone: Callable[[], bool] = staticmethod(lambda: True)

    async def settled(self) -> None:
        """Always."""


class Node:
    """One process."""

    def __init__(self, town: "Town", name: str) -> None:
        self._town = town
        self.running = asyncio.Event()
        self.running.set()
        self.overspent: list[str] = []
        self.fence = Watched()
        self._ids = (f"att_{name}_{number}" for number in count())
        self.lending = Lending(
            rooms=town.rooms,
            leases=town.rows,
            clock=town.clock,
            node=name,
            fence=self.fence,
            on_overspent=self.overspent.append,
        )
        self.treasury = Treasury(town.clock, MemoryLedger(), "CNY", lambda _name: None, self.lending)
        self._beats = asyncio.ensure_future(self._beat())

    async def start(self) -> None:
        """Take a lease."""
        await self.lending.start(self.treasury)
        await self.treasury.adopt(self._town.budgets)

    async def spend(self, payer: Payer, *, held: int, billed: int, lasts_s: float = 0.0, wait_s: float = 0.0) -> None:
        """One call. Raises BudgetExceeded."""
        attempt_id = next(self._ids)
        for last in (False, True):
            at = await self.treasury.hold(attempt_id, payer, Cost(0, held), wait_s)
            lease = self.lending.lease
            await asyncio.sleep(0.003)
            await self.running.wait()
            try:
                self._town.open(attempt_id, Attempt(lease, payer, at, held))
                break
            except LeaseEnded:
                self.treasury.settle(attempt_id, payer, at, Cost(0, 0))
                await self.treasury.after_lease(lease)
                if last:
                    raise
        await asyncio.sleep(lasts_s)
        await self.running.wait()
        self.treasury.settle(attempt_id, payer, at, Cost(0, billed))
        await asyncio.sleep(0.003)
        self._town.rows.attempts[attempt_id].billed = billed

    async def stop(self) -> None:
        """No more beats."""
        self._beats.cancel()
        await asyncio.gather(self._beats, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await self.running.wait()
            if self.lending.lease:
                await self.lending.beat()


class Town:
    """All of them."""

    def __init__(self, clock: Clock, budgets: Sequence[Budget]) -> None:
        self.clock = clock
        self.budgets = budgets
        self.rooms: MemoryRooms = FarRooms(clock.monotonic)
        self.rows = Rows(clock.now)
        self.nodes: list[Node] = []

    async def node(self) -> Node:
        """One more."""
        node = Node(self, f"n{len(self.nodes)}")
        self.nodes.append(node)
        await node.start()
        return node

    def open(self, id_: str, attempt: Attempt) -> None:
        """A row before its dispatch; nothing may ever be dispatched beyond a limit."""
        self.rows.open(id_, attempt)
        for budget in self.budgets:
            for value in attempt.payer.values(budget.scope):
                total = self.rows.total(budget, value, budget.span(attempt.at).start)
                assert total <= budget.limit_of(value), f"{budget.name} of {value!r}: {total}"

    def taken(self, budget: Budget, value: str) -> int:
        """What nobody else could have of an account, as it is counted where room is lent."""
        return self.rooms.accounts[Place(budget.id, value, budget.span(self.clock.now()).start)].taken

    async def close(self) -> None:
        """All stop."""
        for node in self.nodes:
            node.running.set()
            await node.stop()
