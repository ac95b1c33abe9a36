"""The digest is told once a day to each bot, whatever ends, fails or begins anew. Virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from penstock.background.digest import AGAIN_S, TAKEN_S, DailyDigest
from penstock.clock import LoopClock
from penstock.core.notice import Notice
from penstock.errors import StoreError, Unreachable
from penstock.stores.digest_notes import MemoryDigestNotes

pytestmark = pytest.mark.looptime

ZONE = ZoneInfo("Asia/Shanghai")
MORNING = datetime(2026, 11, 22, 8, 0, tzinfo=ZONE).timestamp()
DAY_S = 86_400.0


class World:
    """A chat and a ledger that may fail."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.notes = MemoryDigestNotes()
        self.told: list[tuple[str, str]] = []
        self.refuses = 0
        self.unreadable = 0
        self.takes_s = 0.0

    async def make(self, now: float) -> Notice:
        """The digest as of then."""
        if self.unreadable:
            self.unreadable -= 1
            raise StoreError("the store is away")
        return Notice(f"{datetime.fromtimestamp(now, ZONE):%m-%d}", "info")

    async def tell(self, bot: str, notice: Notice) -> object:  # noqa: ARG002 - as the bots are told
        """Note who was told what, when."""
        if self.refuses:
            self.refuses -= 1
            raise Unreachable("the bot cannot be reached")
        await asyncio.sleep(self.takes_s)
        self.told.append((bot, f"{datetime.fromtimestamp(self.clock.now(), ZONE):%m-%d %H:%M}"))
        return True

    @asynccontextmanager
    async def open_notes(self) -> AsyncIterator[MemoryDigestNotes]:
        """Those that all share."""
        yield self.notes

    def start(self, *bots: str) -> "asyncio.Task[None]":
        """A relay."""
        digest = DailyDigest(
            self.clock, self.open_notes, zone=ZONE, minute=9 * 60, bots=bots or ("a",), make=self.make, tell=self.tell
        )
        return asyncio.ensure_future(digest.run())


async def lived(world: World, *relays: "asyncio.Task[None]", for_s: float) -> None:
    """So long, and then they end."""
    await world.clock.sleep(for_s)
    for each in relays:
        each.cancel()
    await asyncio.gather(*relays, return_exceptions=True)


@pytest.fixture
async def world() -> World:
    """At eight in the morning."""
    return World(LoopClock(MORNING))


async def test_each_bot_is_told_each_day_at_the_time(world: World) -> None:
    """Not before, and not again the same day."""
    await lived(world, world.start("a", "b"), for_s=1.5 * DAY_S)
    days = ("11-22 09:00", "11-23 09:00")
    assert world.told == [(bot, day) for day in days for bot in ("a", "b")]


async def test_a_relay_that_starts_again_tells_nobody_twice(world: World) -> None:
    """What was told is noted; one that was down at the time makes up for it that day."""
    for _ in range(8):
        await lived(world, world.start(), for_s=5 * 3600)
    assert world.told == [("a", "11-22 09:00"), ("a", "11-23 09:00")]
    await world.clock.sleep(1.5 * DAY_S)
    late = f"{datetime.fromtimestamp(world.clock.now(), ZONE):%m-%d %H:%M}"
    await lived(world, world.start(), for_s=60)
    assert world.told[2:] == [("a", late)]


async def test_of_several_relays_one_tells(world: World) -> None:
    """Also while the bot takes its time."""
    world.takes_s = 30.0
    await lived(world, *(world.start() for _ in range(3)), for_s=DAY_S)
    assert world.told == [("a", "11-22 09:00")]


async def test_what_fails_is_tried_again_that_day(world: World) -> None:
    """The bot, and the ledger; whom it was told is not told again."""
    world.refuses, world.unreadable = 1, 2
    await lived(world, world.start("a", "b"), for_s=DAY_S)
    at = f"09:{int(3 * AGAIN_S / 60):02}"
    assert world.told == [("b", "11-22 09:20"), ("a", f"11-22 {at}")]


async def test_what_a_relay_that_died_had_taken_is_told_by_another(world: World) -> None:
    """After a quarter of an hour."""
    await world.clock.sleep(3600)
    now = world.clock.now()
    assert await world.notes.take("2026-11-22 a", now, now + TAKEN_S) == "taken"
    await lived(world, world.start(), for_s=7200)
    assert world.told == [("a", "11-22 09:20")]


class Forgetful(MemoryDigestNotes):
    """A store that is away when something is to be noted, twice; and breaks once in a way nobody thought of."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: list[Exception] = [
            StoreError("the store is away"),
            ValueError("?"),
            StoreError("the store is away"),
        ]

    async def told(self, note: str, until: float) -> None:
        """Not at first."""
        if self.fails:
            raise self.fails.pop(0)
        await super().told(note, until)


async def test_what_was_told_and_could_not_be_noted_is_not_told_again(world: World) -> None:
    """By the relay that told it; the loop outlives whatever happens."""
    world.notes = Forgetful()
    await lived(world, world.start(), for_s=1.5 * DAY_S)
    assert world.told == [("a", "11-22 09:00"), ("a", "11-23 09:00")]
    assert await world.notes.take("2026-11-22 a", world.clock.now(), world.clock.now() + 1) == "told"
