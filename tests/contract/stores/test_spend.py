"""``spend`` equals what a plain loop over all rows says, for every grouping, zone and span, in every store."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.ledger import SpendQuery, SpendRow
from penstock.ports.stores import Stores
from penstock.stores.spend import GROUPINGS, QUARTER_S
from tests.contract.stores.conftest import POSTGRES, opened
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]

# Around changes of the clocks: Berlin springs forward 2026-03-29 01:00Z, New York falls back 2026-11-01 06:00Z,
# Lord Howe moves by half an hour 2026-04-04 15:00Z.
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
]

TIMES = st.builds(
    lambda around, offset: around.timestamp() + offset, st.sampled_from(CHANGES), st.floats(-90_000, 90_000)
)
NAMES = st.sampled_from(["", "a", "b", "é"])
AMOUNTS = st.one_of(st.none(), st.integers(0, 10**15))
LEVERS = st.sampled_from([[], ["direct"], ["exact"], ["joined"], ["direct", "joined"]])


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> list[LedgerRow]:
    """An exchange with its attempts and shares."""
    id_ = f"ex_{number}"
    row = exchange_row(
        id_,
        at=draw(TIMES),
        endpoint=draw(NAMES),
        model=draw(NAMES),
        deployment=draw(NAMES),
        key_id=draw(NAMES),
        key_name=draw(NAMES),
        team=draw(NAMES),
        user=draw(NAMES),
        tags=draw(st.dictionaries(NAMES, NAMES, max_size=2)),
        outcome=draw(st.sampled_from(["ok", "provider_busy"])),
        usage=Usage(*draw(st.tuples(*[st.integers(0, 10**6)] * 5))),
        baseline_nano=draw(AMOUNTS),
        cost_nano=draw(AMOUNTS),
    )
    outcomes = draw(
        st.lists(st.tuples(st.sampled_from(["ok", "provider_busy", "provider_timeout"]), AMOUNTS), max_size=3)
    )
    attempts = [
        attempt_row(f"at_{number}_{index}", id_, outcome=outcome, charged_book_nano=amount)
        for index, (outcome, amount) in enumerate(outcomes)
    ]
    return [row, *attempts, *(share_row("at", id_, 0, lever) for lever in draw(LEVERS))]


LEDGERS = st.integers(0, 12).flatmap(lambda count: st.tuples(*[exchanges(number) for number in range(count)]))


def naive_groups(by: str, zone: str, rows: Sequence[LedgerRow]) -> list[str]:
    """The groups of one exchange, straight from the words of the contract."""
    exchange = next(row for row in rows if isinstance(row, ExchangeRow))
    local = datetime.fromtimestamp(math.floor(exchange.at), UTC).astimezone(ZoneInfo(zone))  # which rounds up else
    if by == "hour":
        return [f"{local:%Y-%m-%dT%H}:00{local.isoformat()[-6:]}"]
    if by == "day":
        return [f"{local:%Y-%m-%d}"]
    if by == "tag":
        return [f"{name}={value}" for name, value in exchange.tags.items()] or [""]
    if by == "key":
        return [exchange.key_name or exchange.key_id]
    if by == "lever":
        levers = [row.lever for row in rows if isinstance(row, ShareRow)]
        return [next((lever for lever in levers if lever != "direct"), "direct" if levers else "")]
    return [getattr(exchange, by)]


def naive_row(group: str, of: Sequence[Sequence[LedgerRow]]) -> SpendRow:
    """The sums over some exchanges."""
    rows = [row for rows in of for row in rows if isinstance(row, ExchangeRow)]
    failed = [row for rows in of for row in rows if isinstance(row, AttemptRow) and row.outcome != "ok"]
    known = [(row.baseline_nano, row.cost_nano) for row in rows]
    return SpendRow(
        group=group,
        requests=len(rows),
        tokens=sum(row.usage.total for row in rows),
        cost_nano=sum(cost for _, cost in known if cost is not None),
        baseline_nano=sum(baseline for baseline, _ in known if baseline is not None),
        saved_nano=sum(baseline - cost for baseline, cost in known if baseline is not None and cost is not None),
        wasted_nano=sum(attempt.charged_book_nano or 0 for attempt in failed),
        unpriced=sum(baseline is None or cost is None for baseline, cost in known),
        errors=sum(row.outcome != "ok" for row in rows),
        currency="CNY" if rows else "",
    )


def naive_spend(query: SpendQuery, ledger: Sequence[Sequence[LedgerRow]]) -> tuple[list[SpendRow], SpendRow]:
    """The whole answer, the slow way."""
    within = [rows for rows in ledger if isinstance(rows[0], ExchangeRow) and query.since <= rows[0].at < query.until]
    members: dict[str, list[Sequence[LedgerRow]]] = {}
    for rows in within:
        for group in naive_groups(query.by, query.timezone, rows):
            members.setdefault(group, []).append(rows)
    groups = [naive_row(group, of) for group, of in members.items()]
    return sorted(groups, key=lambda row: row.group), naive_row("total", within)


@pytest.mark.parametrize("url", ["memory:", "sqlite:store.db", POSTGRES])
def test_spend_equals_the_plain_loop(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For random ledgers: every grouping's groups and total are those of the plain loop, and a partition sums to it."""
    directories = iter(range(10**6))
    base = tmp_path_factory.mktemp("spend")

    @hypothesis_settings(max_examples=40)
    @given(ledger=LEDGERS, zone=st.sampled_from(ZONES), span=st.tuples(TIMES, TIMES))
    def check(ledger: Sequence[Sequence[LedgerRow]], zone: str, span: tuple[float, float]) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(compare(url, base / str(next(directories)), ledger, zone, span))

    check()


async def compare(
    url: str, directory: Path, ledger: Sequence[Sequence[LedgerRow]], zone: str, span: tuple[float, float]
) -> None:
    """Write the ledger, ask for every grouping, over everything and over ``span``."""
    stores = await opened(url, directory, [])
    try:
        for rows in ledger:
            stores.ledger.append(rows)
        await stores.ledger.flush()
        for by in GROUPINGS:
            for since, until in [(0.0, 1e12), (min(span), max(span))]:
                query = SpendQuery(by, since, until, zone)
                groups, total = await stores.reader.spend(query)
                assert (sorted(groups, key=lambda row: row.group), total) == naive_spend(query, ledger)
                assert by == "tag" or sum(row.cost_nano for row in groups) == total.cost_nano
    finally:
        await stores.close()


async def test_groups_come_dearest_first_and_times_in_order(stores: Stores) -> None:
    """A report is read from the top; a day after another stands below it."""
    for number, cost in enumerate([5, 9, 7]):
        stores.ledger.append(
            [exchange_row(f"ex_{number}", at=86_400.0 * (9 - number), model=f"m{number}", cost_nano=cost)]
        )
    await stores.ledger.flush()
    models, _ = await stores.reader.spend(SpendQuery("model", 0, 1e12, "UTC"))
    days, _ = await stores.reader.spend(SpendQuery("day", 0, 1e12, "UTC"))
    assert [row.group for row in models] == ["m1", "m2", "m0"]
    assert [row.group for row in days] == ["1970-01-08", "1970-01-09", "1970-01-10"]


async def test_tags_overlap_and_the_total_does_not(stores: Stores) -> None:
    """An exchange with two tags is in both groups and once in the total."""
    stores.ledger.append(
        [exchange_row("ex_1", tags={"feature": "search", "env": "prod"}, cost_nano=4, baseline_nano=9)]
    )
    await stores.ledger.flush()
    groups, total = await stores.reader.spend(SpendQuery("tag", 0, 1e12, "UTC"))
    assert [(row.group, row.saved_nano) for row in groups] == [("env=prod", 5), ("feature=search", 5)]
    assert (total.requests, total.saved_nano) == (1, 5)


@pytest.mark.parametrize(
    ("zone", "day", "hours"), [("Europe/Berlin", "2026-03-29", 23), ("America/New_York", "2026-11-01", 25)]
)
async def test_days_have_as_many_hours_as_their_zone_says(stores: Stores, zone: str, day: str, hours: int) -> None:
    """One request every half hour: the day holds twice its hours, and every hour is its own row."""
    first = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).timestamp()
    rows = [exchange_row(f"ex_{half}", at=first + 1800.0 * half) for half in range(-10, 70)]
    stores.ledger.append(rows)
    await stores.ledger.flush()
    days, _ = await stores.reader.spend(SpendQuery("day", 0, 1e12, zone))
    by_hour, _ = await stores.reader.spend(SpendQuery("hour", 0, 1e12, zone))
    assert {row.group: row.requests for row in days}[day] == 2 * hours
    assert [row.requests for row in by_hour if row.group.startswith(day)] == [2] * hours


async def test_the_last_instant_of_an_hour_is_in_that_hour(stores: Stores) -> None:
    """However near the next one begins: microseconds are not rounded into it."""
    change = CHANGES[0].timestamp()
    stores.ledger.append([exchange_row("ex_1", at=math.nextafter(change, 0)), exchange_row("ex_2", at=change)])
    await stores.ledger.flush()
    hours, _ = await stores.reader.spend(SpendQuery("hour", 0, 1e12, "Europe/Berlin"))
    assert [row.group for row in hours] == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]


async def test_amounts_keep_the_currency_of_their_rows(stores: Stores) -> None:
    """Nothing is relabelled, and what is in two currencies has no total."""
    for number, currency in enumerate(["USD", "USD", "CNY"]):
        stores.ledger.append([exchange_row(f"ex_{number}", at=float(number), currency=currency)])
    await stores.ledger.flush()
    groups, total = await stores.reader.spend(SpendQuery("model", 0, 2, "UTC"))
    assert [row.currency for row in [*groups, total]] == ["USD", "USD"]
    _, total = await stores.reader.spend(SpendQuery("model", 2, 3, "UTC"))
    assert total.currency == "CNY"
    with pytest.raises(StoreError, match="which have no sum"):
        await stores.reader.spend(SpendQuery("model", 0, 3, "UTC"))


def changes_of_offset(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """The instants of ``year`` at which the offset from UTC changes, to the second."""
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        low, high = day, day + timedelta(days=1)
        day = high
        if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
            continue
        before = low.astimezone(zone).utcoffset()
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
        yield high.replace(microsecond=0)


@pytest.mark.parametrize("year", [2012, 2026])
def test_every_zone_changes_on_a_quarter_of_an_hour(year: int) -> None:
    """The sums per quarter that ``spend`` makes hours and days of lose nothing, in any zone."""
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        start = datetime(year, 1, 1, tzinfo=UTC)
        for instant in [start, *changes_of_offset(zone, year)]:
            offset = instant.astimezone(zone).utcoffset()
            assert offset is not None
            assert offset.total_seconds() % QUARTER_S == 0, name
            assert instant.timestamp() % QUARTER_S == 0, (name, instant)
