"""A job that fails is tried again, and says so once."""

import asyncio
import logging

import pytest

from penstock.background.ticker import Ticker
from penstock.clock import LoopClock
from penstock.errors import StoreError

pytestmark = pytest.mark.looptime


class Job:
    """Raises what is left of ``fails``, one each time."""

    def __init__(self, *fails: Exception | None) -> None:
        self.fails = list(fails)
        self.runs = 0

    async def run(self) -> None:
        """Once."""
        self.runs += 1
        if self.fails and (error := self.fails.pop(0)) is not None:
            raise error


async def ticked(clock: LoopClock, job: Job) -> int:
    """How often it ran in ten intervals."""
    ticker = Ticker(clock, 1.0, job.run, "a job")
    ticker.start()
    await clock.sleep(10.5)
    await ticker.stop()
    return job.runs


async def test_what_a_store_cannot_do_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails, without a traceback; and once that it goes again."""
    caplog.set_level(logging.INFO)
    away = StoreError("the store is away")
    assert await ticked(LoopClock(0.0), Job(away, away, away, None, away)) == 10
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [
        ("ERROR", None),
        ("INFO", None),
        ("ERROR", None),
        ("INFO", None),
    ]
    assert caplog.records[0].__dict__["why"] == "the store is away"
    assert caplog.records[1].__dict__["failed"] == 3


async def test_what_nobody_foresaw_is_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback; the next run comes anyway."""
    assert await ticked(LoopClock(0.0), Job(ValueError("1"), ValueError("2"))) == 10
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


async def test_it_can_be_hurried() -> None:
    """It runs at once, and once more when it was hurried during a run; then again in its time."""
    loop, ran = asyncio.get_running_loop(), list[float]()

    async def job() -> None:
        ran.append(loop.time())
        await asyncio.sleep(0.5)

    ticker = Ticker(LoopClock(0.0), 10.0, job, "a job")
    ticker.start()
    await asyncio.sleep(1)
    ticker.hurry()
    await asyncio.sleep(0.25)
    ticker.hurry()
    ticker.hurry()
    await asyncio.sleep(12)
    await ticker.stop()
    assert ran == pytest.approx([1, 1.5, 12], abs=0.01)
