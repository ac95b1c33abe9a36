"""The clock: deadlines that cut their own task and nobody else's, and names that sort by time."""

import asyncio

import pytest

from penstock.clock import LoopClock, TimeIds


@pytest.mark.looptime
async def test_a_deadline_cuts_at_its_time() -> None:
    """What runs into the deadline raises TimeoutError at that instant."""
    clock = LoopClock(0)
    deadline = clock.deadline()
    with pytest.raises(TimeoutError), deadline.until(clock.monotonic() + 5):
        await clock.sleep(60)
    assert clock.monotonic() == pytest.approx(5)
    deadline.close()


@pytest.mark.looptime
async def test_a_deadline_is_waited_under_again_and_again() -> None:
    """A scope that ends in time leaves the timer alone; a later scope still cuts at its own time, earlier or later."""
    clock = LoopClock(0)
    deadline = clock.deadline()
    for _ in range(10):
        with deadline.until(clock.monotonic() + 3):
            await clock.sleep(2)
    with pytest.raises(TimeoutError), deadline.until(clock.monotonic() + 1):
        await clock.sleep(10)
    assert clock.monotonic() == pytest.approx(21)
    with deadline.until(clock.monotonic() + 50):
        await clock.sleep(49)
    deadline.close()


@pytest.mark.looptime
async def test_nothing_is_cut_outside_its_scope() -> None:
    """Time spent outside a scope, however long, is nobody's deadline."""
    clock = LoopClock(0)
    deadline = clock.deadline()
    with deadline.until(clock.monotonic() + 1):
        await clock.sleep(0.5)
    await clock.sleep(100)
    deadline.close()


@pytest.mark.looptime
async def test_another_cancellation_stays_one() -> None:
    """A task that somebody else cancels under a deadline is cancelled, not timed out."""
    clock = LoopClock(0)

    async def work() -> None:
        deadline = clock.deadline()
        try:
            with deadline.until(clock.monotonic() + 5):
                await clock.sleep(60)
        finally:
            deadline.close()

    task = asyncio.create_task(work())
    await clock.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_names_sort_by_time_and_differ() -> None:
    """Two names are never the same; a later one sorts after an earlier one."""
    times = iter([1.0, 1.0, 2.0])
    ids = TimeIds(lambda: next(times))
    first, second, third = (ids.new("req") for _ in range(3))
    assert first != second
    assert max(first, second) < third
    assert all(len(name) == len("req_") + 32 for name in (first, second, third))
