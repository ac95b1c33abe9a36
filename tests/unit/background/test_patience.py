"""A start waits a while for what nodes share, says so once, and does not wait for what time does not cure."""

from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from penstock.background.lending import Lending
from penstock.background.patience import PATIENCE_S, PAUSE_S, patiently
from penstock.clock import LoopClock
from penstock.core.budget import Budget, Payer
from penstock.errors import SharedRefused, SharedUnavailable, StoreError
from penstock.pipeline.treasury import Cost, Treasury
from penstock.stores.memory_ledger import MemoryLedger
from penstock.stores.memory_rooms import MemoryRooms
from tests.support.lending_nodes import Rows, Watched

pytestmark = pytest.mark.looptime

WAITS = "the start waits for what nodes share"
LATE = SharedUnavailable("it does not answer", detail="127.0.0.1:6379: no answer in time")
EPOCH = 1_795_000_000.0
SLICE = 1
"""Of a hundred, one of them."""
BUDGET = Budget("all", "global", "tokens", 100, "total", ZoneInfo("UTC"))

T = TypeVar("T")


class Step:
    """Fails so often, and so."""

    def __init__(self, clock: LoopClock, fails: float, error: Exception = LATE, takes_s: float = 0.05) -> None:
        self.taken = 0
        self._clock, self._fails, self._error, self._takes_s = clock, fails, error, takes_s

    async def __call__(self) -> int:
        """How often it was taken."""
        self.taken += 1
        await self._clock.sleep(self._takes_s)
        if self.taken <= self._fails:
            raise self._error
        return self.taken


async def test_answers_that_are_late_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The step is taken again until it succeeds; one line says why the start takes so long."""
    clock = LoopClock(EPOCH)
    assert await patiently(Step(clock, fails=7), clock) == 8
    assert clock.now() - EPOCH == pytest.approx(8 * 0.05 + 7 * PAUSE_S)
    (record,) = caplog.records
    assert (record.message, vars(record)["why"]) == (WAITS, LATE.detail)


async def test_a_step_that_succeeds_is_taken_once(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is said."""
    clock = LoopClock(EPOCH)
    assert await patiently(Step(clock, fails=0), clock) == 1
    assert not caplog.records


async def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    """After its time the error is the one that there was without it."""
    clock = LoopClock(EPOCH)
    step = Step(clock, fails=float("inf"))
    with pytest.raises(SharedUnavailable) as caught:
        await patiently(step, clock)
    assert caught.value is LATE
    assert PATIENCE_S <= clock.now() - EPOCH <= PATIENCE_S + PAUSE_S + 2 * 0.05
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [SharedRefused("it does not let this node in"), StoreError("it has no such table")])
async def test_what_time_does_not_cure_ends_the_start_at_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password is wrong in five seconds, too; and another store has its own rules."""
    clock = LoopClock(EPOCH)
    step = Step(clock, fails=float("inf"), error=error)
    with pytest.raises(type(error)):
        await patiently(step, clock)
    assert step.taken == 1
    assert not caplog.records


class LateRooms(MemoryRooms):
    """Some of its answers come too late."""

    def __init__(self, clock: LoopClock, late: str, *, taken: bool) -> None:
        """``taken``: what was asked is done all the same."""
        super().__init__(clock.monotonic)
        self._late, self._taken, self._left = late, taken, 3

    async def server(self) -> str:
        """Its name."""
        return await self._answered("server", super().server())

    async def begin(self, epoch: int, server: str) -> None:
        """An epoch."""
        await self._answered("begin", super().begin(epoch, server))

    async def enter(self, epoch: int, lease: str) -> None:
        """A lease."""
        await self._answered("enter", super().enter(epoch, lease))

    async def _answered(self, what: str, step: Coroutine[Any, Any, T]) -> T:
        if what != self._late or not self._left:
            return await step
        self._left -= 1
        if self._taken:
            await step
        step.close()
        raise LATE


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("late", ["server", "begin", "enter"])
async def test_a_first_lease_is_begun_again_where_an_answer_was_late(late: str, taken: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whichever it was, and whether what was asked was done: in the end there is one lease, and it is lent under."""
    clock = LoopClock(EPOCH)
    rooms, rows = LateRooms(clock, late, taken=taken), Rows(clock.now)
    lending = Lending(rooms=rooms, leases=rows, clock=clock, node="a", fence=Watched(), on_overspent=print)
    books = Treasury(clock, MemoryLedger(), "CNY", print, lending)
    await patiently(partial(lending.start, books), clock)
    assert [lease.id for lease in await rows.alive()] == [lending.lease]
    await books.adopt([BUDGET])
    await books.hold("att_1", Payer(), Cost(0, 60), 0.0)
    await lending.beat()
    assert [account.taken for account in rooms.accounts.values() if account.taken] == [60 + SLICE]
