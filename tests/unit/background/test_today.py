"""The ledger's current day, as it is summed up in the background."""

import asyncio
import logging
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.background.ticker import Ticker
from penstock.background.today import LATE_S, LOOK_S, REST, WHOLE_S, Today
from penstock.clock import LoopClock
from penstock.core.records import OPEN
from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.ledger import Billed
from penstock.stores.memory_ledger import MemoryLedger
from tests.support.house import in_virtual_time
from tests.support.ledger_rows import attempt_row, exchange_row

virtual = pytest.mark.looptime

SHANGHAI = ZoneInfo("Asia/Shanghai")
MIDNIGHT = 1_795_017_600.0
"""Where a day of Shanghai begins: 2026-11-19T00:00+08:00."""
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


class Ledger(MemoryLedger):
    """Keeps which spans it was asked for; can be slow, and away."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[float, float]] = []
        self.takes_s = 0.0
        self.is_away = False

    async def billed(self, since: float, until: float) -> Billed:
        """As it does."""
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise StoreError("away")
        self.spans.append((since, until))
        return await super().billed(since, until)

    def add(self, id_: str, at: float, usage: Usage, cost_nano: int | None = 7) -> None:
        """An exchange that ended, and its call."""
        self.append(
            [
                exchange_row(id_, at=at, usage=usage),
                attempt_row(f"at_{id_}", id_, started_at=at, usage=usage, charged_book_nano=cost_nano),
            ]
        )


class Nodes:
    """The port Leader."""

    def __init__(self) -> None:
        self.leads = True

    async def lead(self) -> bool:
        """As it is said."""
        return self.leads


def misses(today: Today) -> int | None:
    """The tokens that it tells, in tests in which there are no others."""
    billed = today.billed()
    return None if billed is None else billed.usage.total


@virtual
async def test_a_day_is_that_of_the_zone() -> None:
    """What arrived just before midnight is of the day before; retries count, what is open or unpriced adds nothing."""
    ledger = Ledger()
    ledger.add("before", MIDNIGHT - 0.001, Usage(1000, 1000, 1000, 1000))
    ledger.add("first", MIDNIGHT, Usage(1, 2, 3, 4), cost_nano=5)
    ledger.add("now", MIDNIGHT + 7200, Usage(10, 20, 30, 40), cost_nano=None)
    again = attempt_row("again", "now", outcome="provider_busy", usage=Usage(100, 0, 0, 0), charged_book_nano=6)
    ledger.append([again, attempt_row("open", "now", outcome=OPEN, usage=Usage(7000), charged_book_nano=9)])
    today = Today(LoopClock(MIDNIGHT + 7200), ledger, lambda: SHANGHAI)
    await today.look()
    assert today.billed() == Billed(Usage(111, 22, 33, 44), 11)


@virtual
async def test_nothing_is_told_before_it_is_known() -> None:
    """A day without requests has zeros, one that nobody summed up has none."""
    today = Today(LoopClock(MIDNIGHT), Ledger(), lambda: SHANGHAI)
    assert today.billed() is None
    await today.look()
    assert today.billed() == Billed()


@virtual
async def test_yesterday_is_not_told_as_today() -> None:
    """Past midnight there is nothing until the new day was summed up, and then its own rows alone."""
    ledger, clock = Ledger(), LoopClock(MIDNIGHT + DAY_S - 4)
    ledger.add("late", MIDNIGHT + DAY_S - 5, Usage(9))
    today = Today(clock, ledger, lambda: SHANGHAI)
    await today.look()
    assert misses(today) == 9
    await clock.sleep(4)
    assert misses(today) is None
    await today.look()
    assert misses(today) == 0


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [
        ("Europe/Berlin", "2026-03-28T12:30", (24, 23, 24)),
        ("Europe/Berlin", "2026-10-24T12:30", (24, 25, 24)),
        ("America/Santiago", "2026-09-05T12:30", (24, 23, 24)),
        ("Asia/Shanghai", "2026-11-18T12:30", (24, 24, 24)),
    ],
)
@virtual
async def test_a_day_has_the_hours_that_it_has_there(zone: str, noon: str, hours: tuple[int, int, int]) -> None:
    """With a request each hour, by the calendar of the zone: also where a clock change makes a day of 23 or 25."""
    there = ZoneInfo(zone)
    ledger, clock = Ledger(), LoopClock(datetime.fromisoformat(noon).replace(tzinfo=there).timestamp() - DAY_S)
    today, most = Today(clock, ledger, lambda: there), dict[str, int]()
    for number in range(4 * 24):
        ledger.add(f"ex_{number}", clock.now() - 1, Usage(1))
        await today.look()
        date = f"{datetime.fromtimestamp(clock.now(), there):%m-%d}"
        most[date] = max(most.get(date, 0), misses(today) or 0)
        await clock.sleep(HOUR_S)
    assert tuple([*most.values()][1:4]) == hours


@virtual
async def test_another_zone_is_another_day() -> None:
    """From the reload on that says so."""
    ledger, zone = Ledger(), SHANGHAI
    ledger.add("there", MIDNIGHT + HOUR_S, Usage(5))
    ledger.add("here", MIDNIGHT - HOUR_S, Usage(70))
    today = Today(LoopClock(MIDNIGHT + 2 * HOUR_S), ledger, lambda: zone)
    await today.look()
    assert misses(today) == 5
    zone = ZoneInfo("UTC")
    await today.look()
    assert misses(today) == 75


calls = st.tuples(st.integers(-int(DAY_S), 2 * int(DAY_S)), st.integers(0, int(LATE_S)), st.integers(0, 1000))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(calls, max_size=30),
    st.integers(0, int(DAY_S)),
    st.lists(st.integers(int(LOOK_S), int(HOUR_S)), min_size=1, max_size=24),
)
def test_a_sum_in_parts_is_the_sum_of_the_whole(
    calls: list[tuple[int, int, int]], begin: int, pauses: list[int]
) -> None:
    """Whenever it is looked, whatever arrived when, as long as calls end within a quarter of an hour."""

    async def check() -> None:
        ledger, clock = Ledger(), LoopClock(MIDNIGHT + begin)
        today = Today(clock, ledger, lambda: SHANGHAI)
        waiting = {f"ex_{number}": (MIDNIGHT + at, took, tokens) for number, (at, took, tokens) in enumerate(calls)}
        for pause in pauses:
            await clock.sleep(pause)
            for id_, (at, took, tokens) in [*waiting.items()]:
                if at + took <= clock.now():
                    ledger.add(id_, at, Usage(tokens), tokens * 3)
                    del waiting[id_]
            await today.look()
            date = datetime.fromtimestamp(clock.now(), SHANGHAI).date()
            ended = [
                tokens
                for at, took, tokens in calls
                if MIDNIGHT + at + took <= clock.now()
                and datetime.fromtimestamp(MIDNIGHT + at, SHANGHAI).date() == date
            ]
            assert today.billed() == Billed(Usage(sum(ended)), 3 * sum(ended))

    in_virtual_time(check)


@virtual
async def test_a_look_reads_no_more_late_in_the_day() -> None:
    """The whole day once an hour, an hour at a time; else what came since, and the last quarter of an hour."""
    ledger, clock = Ledger(), LoopClock(MIDNIGHT + 10 * HOUR_S)
    today, wholes = Today(clock, ledger, lambda: SHANGHAI), 0
    for _ in range(int(2 * WHOLE_S / LOOK_S)):
        ledger.spans.clear()
        await today.look()
        if ledger.spans[0][0] == MIDNIGHT:
            wholes += 1
            assert 10 <= len(ledger.spans) <= 13
        else:
            assert len(ledger.spans) == 2
            assert ledger.spans[0][0] >= clock.now() - LATE_S - LOOK_S
        assert all(min(until, clock.now()) - since <= WHOLE_S for since, until in ledger.spans)
        await clock.sleep(LOOK_S)
    assert wholes == 2


@virtual
async def test_what_comes_very_late_is_seen_within_an_hour() -> None:
    """As rows do that waited for a store that was away."""
    ledger, clock = Ledger(), LoopClock(MIDNIGHT + 10 * HOUR_S)
    today = Today(clock, ledger, lambda: SHANGHAI)
    await today.look()
    ledger.add("late", MIDNIGHT + 60, Usage(5))
    await clock.sleep(WHOLE_S)
    await today.look()
    assert misses(today) == 5


@virtual
async def test_a_slow_ledger_is_asked_less_often() -> None:
    """It is at work for it a fiftieth of the time, however long one question takes."""
    ledger, clock = Ledger(), LoopClock(MIDNIGHT + HOUR_S / 2)
    ledger.takes_s = 5.0
    today = Today(clock, ledger, lambda: SHANGHAI)
    ticker = Ticker(clock, LOOK_S, today.look, "today")
    ticker.start()
    await clock.sleep(6 * HOUR_S)
    await ticker.stop()
    assert len(ledger.spans) * ledger.takes_s <= 6 * HOUR_S / REST + 60
    assert len(ledger.spans) > 10


@virtual
async def test_a_store_that_is_away_leaves_what_was_found(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, however long, and once that it is back."""
    caplog.set_level(logging.INFO)
    ledger, clock = Ledger(), LoopClock(MIDNIGHT + HOUR_S)
    ledger.add("ex", MIDNIGHT, Usage(3))
    today = Today(clock, ledger, lambda: SHANGHAI)
    ticker = Ticker(clock, LOOK_S, today.look, "today")
    ticker.start()
    await clock.sleep(LOOK_S + 1)
    ledger.is_away = True
    await clock.sleep(HOUR_S)
    assert misses(today) == 3
    ledger.is_away = False
    await clock.sleep(LOOK_S)
    await ticker.stop()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


@virtual
async def test_only_the_node_that_leads_looks_and_tells() -> None:
    """Who leads no more forgets what it found: another tells it by then."""
    ledger, clock, nodes = Ledger(), LoopClock(MIDNIGHT + HOUR_S), Nodes()
    today = Today(clock, ledger, lambda: SHANGHAI, nodes)
    await today.look()
    assert today.billed() == Billed()
    nodes.leads = False
    ledger.spans.clear()
    await today.look()
    assert (today.billed(), ledger.spans) == (None, [])
    nodes.leads = True
    await today.look()
    assert ledger.spans[0][0] == MIDNIGHT
