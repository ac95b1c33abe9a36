"""B09: clocks step back and forth, gateways restart, days have 23 or 25 hours; a window is reset once, at its instant.

Every request here costs the same, and a budget holds ``CALLS`` of them: who asks once more than that in each window
sees how often a window was reset. Which window an instant belongs to is told by the calendar, not by the code under
test.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from penstock.stores.memory_ledger import MemoryLedger
from tests.support.bill_provider_lines import MISS_NANO, OUTPUT_NANO
from tests.support.bill_provider_scripted import say_as_asked
from tests.support.bill_provider_words import prompt_of
from tests.support.gateway_with_failpoints import Words
from tests.support.house import BASE, END_S, House, KeptLedger, chat, open_house
from tests.support.stepping_clock import SteppingClock

pytestmark = pytest.mark.looptime(end=END_S)

CALLS, WORDS = 2, 4
COST = 3 * MISS_NANO + WORDS * OUTPUT_NANO
HOUR_S = 3600.0
STEP_S = 2 * HOUR_S
RESETS = [
    ("day", "America/Santiago", "2026-09-06T01:00-03:00"),
    ("day", "Africa/Cairo", "2026-04-24T01:00+03:00"),
    ("day", "Europe/Berlin", "2026-03-29T00:00+01:00"),
    ("day", "Europe/Berlin", "2026-03-30T00:00+02:00"),
    ("day", "America/New_York", "2026-11-01T00:00-04:00"),
    ("day", "America/New_York", "2026-11-02T00:00-05:00"),
    ("day", "Asia/Shanghai", "2026-12-31T00:00+08:00"),
    ("day", "Asia/Kathmandu", "2026-12-31T00:00+05:45"),
    ("hour", "America/Santiago", "2026-09-06T01:00-03:00"),
    ("hour", "Africa/Cairo", "2026-04-24T01:00+03:00"),
    ("hour", "Europe/Berlin", "2026-03-29T03:00+02:00"),
    ("hour", "America/New_York", "2026-11-01T01:00-05:00"),
    ("hour", "Asia/Kathmandu", "2026-12-31T00:00+05:45"),
    ("week", "Europe/Berlin", "2026-03-30T00:00+02:00"),
    ("month", "America/New_York", "2026-11-01T00:00-04:00"),
    ("month", "Asia/Shanghai", "2027-01-01T00:00+08:00"),
    ("month", "Pacific/Chatham", "2026-12-01T00:00+13:45"),
]
"""The first instant of a window: where midnight does not exist, after and before days of 23 and 25 hours, and plain."""
MARKS: dict[str, Callable[[datetime], Any]] = {
    "day": lambda local: local.date(),
    "week": lambda local: local.isocalendar()[:2],
    "month": lambda local: (local.year, local.month),
}


def budget(window: str, zone: str, calls: int = CALLS) -> dict[str, Any]:
    """One that holds so many calls."""
    return {
        "name": "all", "scope": "global", "limit": f"{calls * COST / 1e9:.9f} CNY", "window": window, "timezone": zone,
    }  # fmt: skip


class Walker:
    """Asks, wherever the clock stands, and keeps which windows gave how much."""

    def __init__(self, window: str, zone: str, reset: str, start_s: float) -> None:
        """``start_s``: where it begins, seconds from the reset."""
        self.reset = datetime.fromisoformat(reset).timestamp()
        self.clock = SteppingClock(self.reset + start_s - asyncio.get_running_loop().time())
        self.config: dict[str, Any] = {"budgets": [budget(window, zone)], "budget_wait": "0s"}
        self.given: Counter[Any] = Counter()
        self._window, self._zone, self._asked = window, ZoneInfo(zone), 0

    def open(self, kept: KeptLedger | None = None) -> Any:
        """A house of that clock and budget; ``kept``: the ledger of the one before it."""
        return open_house(clock=self.clock, kept=kept, tokenizers={"scripted": Words()}, **self.config)

    def begin(self, house: House, **how: Any) -> Any:
        """One more request."""
        house.upstream.call(say_as_asked).forever()
        self._asked += 1
        prompt = prompt_of(f"mk-{self._asked}", say=WORDS, gap_ms=how.pop("gap_ms", 0))
        return house.ask(chat(prompt, max_completion_tokens=WORDS, **how))

    async def exhaust(self, house: House) -> None:
        """Ask for more than a window holds, and sweep: the first visit gets all of it, no later one anything."""
        mark = self.mark
        statuses = [(await self.begin(house).done()).status for _ in range(CALLS + 1)]
        house.gateway.treasury.sweep()
        expected = [429] * (CALLS + 1) if self.given[mark] else [*[200] * CALLS, 429]
        assert statuses == expected, f"{mark}, {self.clock.now() - self.reset:+} s from the reset"
        self.given[mark] += statuses.count(200)

    @property
    def mark(self) -> Any:
        """The name of the window that the clock is in. Around the resets here hours are 3600 s long."""
        if self._window == "hour":
            return (self.clock.now() - self.reset) // HOUR_S
        return MARKS[self._window](datetime.fromtimestamp(self.clock.now(), self._zone))


@pytest.mark.parametrize(("window", "zone", "reset"), RESETS)
async def test_a_window_is_reset_at_its_first_instant_and_told_so(window: str, zone: str, reset: str) -> None:
    """Not a millisecond before it; the refusal names it, and how long it is until then."""
    walker = Walker(window, zone, reset, start_s=-10)
    async with walker.open() as house:
        await walker.exhaust(house)
        refused = await walker.begin(house).done()
        assert datetime.fromisoformat(refused.error["budget"]["resets_at"]).timestamp() == walker.reset
        assert refused.headers["retry-after"] == "10"
        walker.clock.set(walker.reset - 0.001)
        await walker.exhaust(house)
        walker.clock.set(walker.reset)
        await walker.exhaust(house)
        assert len(walker.given) == 2


@pytest.mark.parametrize(("window", "zone", "reset"), RESETS)
async def test_no_step_resets_a_window_twice(window: str, zone: str, reset: str) -> None:
    """Two hours back and forth over the reset, sweeping at every stop: each window is given once, none is left out."""
    walker = Walker(window, zone, reset, start_s=-1)
    async with walker.open() as house:
        await walker.exhaust(house)
        for step_s in (1, -STEP_S, STEP_S, STEP_S, -STEP_S, -STEP_S, STEP_S, STEP_S, -STEP_S):
            walker.clock.step(step_s)
            await walker.exhaust(house)
        assert set(walker.given.values()) == {CALLS}
        accounts = house.gateway.treasury.bank.accounts()
        assert sum(account.posted for account in accounts.values()) == len(walker.given) * CALLS * COST
        assert sum(row.cost_nano or 0 for row in house.exchanges) == len(walker.given) * CALLS * COST


@pytest.mark.parametrize("away_s", [-STEP_S, 0.0, STEP_S])
@pytest.mark.parametrize(("window", "zone", "reset"), RESETS)
async def test_a_restart_is_no_reset(window: str, zone: str, reset: str, away_s: float) -> None:
    """Whatever the clock says when the next process begins, and wherever it steps then: the ledger knows."""
    walker = Walker(window, zone, reset, start_s=-1)
    async with walker.open() as house:
        for step_s in (0, -STEP_S, STEP_S, 1, STEP_S, -STEP_S):
            walker.clock.step(step_s)
            await walker.exhaust(house)
        standing = _standing(house)
    walker.clock.step(away_s)
    async with walker.open(house.ledger) as again:
        if not away_s:
            assert _standing(again) == standing
        for step_s in (0, -away_s, -STEP_S, STEP_S, STEP_S, -STEP_S):
            walker.clock.step(step_s)
            await walker.exhaust(again)
    assert set(walker.given.values()) == {CALLS}


@pytest.mark.parametrize("step_s", [-STEP_S, STEP_S])
@pytest.mark.parametrize(("window", "zone", "reset"), RESETS)
async def test_a_hold_is_settled_where_it_was_held(window: str, zone: str, reset: str, step_s: float) -> None:
    """A call under way while the clock steps over the reset: its window stays the one of its dispatch."""
    walker = Walker(window, zone, reset, start_s=-600 if step_s > 0 else 600)
    async with walker.open() as house:
        under_way = walker.begin(house, gap_ms=250, stream=True)
        await asyncio.sleep(0.5)
        before = walker.mark
        walker.clock.step(step_s)
        assert walker.mark != before
        (held,) = house.gateway.treasury.bank.holds().values()
        assert list(held.values()) == [COST]
        await walker.exhaust(house)
        assert (await under_way.done()).status == 200
        walker.clock.step(-step_s)
        walker.given[before] += 1
        statuses = [(await walker.begin(house).done()).status for _ in range(CALLS)]
        assert statuses == [*[200] * (CALLS - 1), 429]


@pytest.mark.parametrize("step_s", [-STEP_S, STEP_S])
@pytest.mark.parametrize(("window", "zone", "reset"), RESETS)
async def test_what_a_dead_process_held_is_charged_where_it_was_held(
    window: str, zone: str, reset: str, step_s: float
) -> None:
    """It dies with a call under way, and the clock steps over the reset before the next one begins."""
    walker = Walker(window, zone, reset, start_s=-600 if step_s > 0 else 600)
    async with walker.open() as house:
        under_way = walker.begin(house, gap_ms=250)
        await asyncio.sleep(0.1)
        left = _as_left(house.ledger)
        await under_way.done()
    before = walker.mark
    walker.clock.step(step_s)
    assert walker.mark != before
    async with walker.open(left) as again:
        (cut,) = again.attempts
        assert (cut.outcome, cut.estimated, cut.charged_book_nano) == ("gateway_died", True, COST)
        await walker.exhaust(again)
        walker.clock.step(-step_s)
        statuses = [(await walker.begin(again).done()).status for _ in range(CALLS)]
        assert statuses == [*[200] * (CALLS - 1), 429]


async def test_who_waits_over_a_reset_is_served_by_the_new_window() -> None:
    """The old one is held by others to its end; the next one is empty."""
    walker = Walker("hour", "UTC", "2026-12-31T12:00+00:00", start_s=-2)
    walker.config["budget_wait"] = "5s"
    async with walker.open() as house:
        held = [walker.begin(house, gap_ms=10_000) for _ in range(CALLS)]
        await asyncio.sleep(1)
        waiting = walker.begin(house)
        assert (await waiting.done()).status == 200
        assert house.now == pytest.approx(2, abs=1)
        for each in held:
            assert (await each.done()).status == 200


async def test_nested_windows_all_add_up() -> None:
    """An hour, a day, a week, a month and a total at once, through two days of New York's 25 hours and steps back."""
    start = datetime.fromisoformat("2026-10-31T12:00-04:00").timestamp()
    clock = SteppingClock(start)
    budgets = [
        budget(window, "America/New_York", calls) | {"name": window}
        for window, calls in (("hour", 2), ("day", 20), ("week", 60), ("month", 70), ("total", 1000))
    ]
    config: dict[str, Any] = {"budgets": budgets, "budget_wait": "0s", "providers": BASE["providers"]}
    walker = Walker("day", "America/New_York", "2026-11-01T00:00-04:00", 0)
    async with open_house(clock=clock, tokenizers={"scripted": Words()}, **config) as house:
        for number in range(60):
            for _ in range(3):
                await walker.begin(house).done()
            clock.step(-STEP_S if number % 7 == 6 else HOUR_S)
        total = sum(row.cost_nano or 0 for row in house.exchanges)
        sums: Counter[str] = Counter()
        for place, account in house.gateway.treasury.bank.accounts().items():
            sums[place.budget.partition("|")[0]] += account.posted
        assert sums == dict.fromkeys(("hour", "day", "week", "month", "total"), total)
        assert total > 20 * COST


def _as_left(ledger: KeptLedger) -> KeptLedger:
    """What a store holds of it, were the process to die now."""
    stored = MemoryLedger()
    stored.append([copy(row) for row in ledger.rows])
    left = KeptLedger(stored)
    left.rows = [copy(row) for row in ledger.rows]
    return left


def _standing(house: House) -> list[tuple[str, str, int]]:
    return [(each.budget.name, each.value, each.used) for each in house.gateway.treasury.standings()]
