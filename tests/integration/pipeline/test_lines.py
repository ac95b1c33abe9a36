"""Why a line sends somebody away is counted, each time once."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from penstock.clock import LoopClock
from penstock.config.load import load
from penstock.errors import Saturated
from penstock.pipeline.line import Line
from tests.support.kinds import KINDS

pytestmark = pytest.mark.looptime

LIMITS = replace(load(None, {}, registry=KINDS).limits, max_queue=2, queue_wait_s=5.0)


def line() -> Line:
    """Of two, who wait for five seconds at most; whose turn comes is lost."""
    return Line(LoopClock(0.0), LIMITS, "full", lambda: None)


async def begun(waiting: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """One who waits."""
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    return task


async def test_who_finds_no_room_makes_room_or_stays_too_long() -> None:
    """The third is refused; one who comes for somebody takes the place of a batch; who waited long enough goes."""
    waited = line()
    tasks = [await begun(waited.wait("a", batch=True)) for _ in range(2)]
    with pytest.raises(Saturated):
        await waited.wait("a", batch=True)
    assert waited.shed == {"queue_full": 1}
    tasks.append(await begun(waited.wait("b", batch=False)))
    with pytest.raises(Saturated):
        await tasks[1]
    assert waited.shed == {"queue_full": 1, "queue_evicted": 1}
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Saturated] * 3
    assert waited.shed == {"queue_full": 1, "queue_evicted": 1, "queue_late": 2}
    assert (asyncio.get_running_loop().time(), len(waited)) == (5.0, 0)


async def test_who_would_wait_too_long_is_refused_at_once() -> None:
    """One turn took four seconds: who comes then would not be served within five."""
    waited = line()
    tasks = [await begun(waited.wait("a", batch=False)) for _ in range(2)]
    assert waited.call()
    await asyncio.sleep(4)
    with pytest.raises(Saturated):
        await waited.wait("b", batch=False)
    assert waited.shed == {"queue_slow": 1}
    assert waited.call()
    await asyncio.gather(*tasks)
    assert waited.shed == {"queue_slow": 1}


async def test_who_leaves_was_not_sent_away() -> None:
    """A client that is gone is nobody's refusal."""
    waited = line()
    task = await begun(waited.wait("a", batch=False))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (waited.shed, len(waited)) == ({}, 0)
