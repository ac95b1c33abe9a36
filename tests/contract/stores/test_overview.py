"""``overview`` is ``spend`` by several groupings at once, and how it went; the same in every store."""

import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.records import OPEN, ExchangeRow
from penstock.errors import StoreError
from penstock.ports.ledger import OverviewQuery, Speed, SpendQuery
from penstock.ports.stores import Stores
from penstock.stores.memory_ledger import MemoryLedger
from penstock.stores.spend import GROUPINGS
from penstock.stores.sqlite_ledger_reader import SqliteLedgerReader
from penstock.stores.sqlite_reader import SqliteReader
from tests.contract.stores.conftest import Reopen
from tests.support.ledger_rows import AT, attempt_row, exchange_row, share_row

SPAN = (AT, AT + 1000)
EVERYTHING = OverviewQuery(GROUPINGS, *SPAN, "Asia/Shanghai")


def some_rows() -> list[ExchangeRow]:
    """Two models; hits, joins, streams, failures, one that is open, one at each end that is not asked for."""
    rows = [
        exchange_row(
            f"ex_{number:04}", at=AT + number, duration_s=(number * 37 % 100) / 10, tags={"n": str(number % 3)}
        )
        for number in range(100)
    ]
    rows += [exchange_row(f"hit_{n}", at=AT + n, cache="exact", duration_s=0.001 * n, streamed=True, first_byte_s=0.001)
             for n in range(1, 4)]  # fmt: skip
    rows += [
        exchange_row("stream_1", at=AT, model="r", streamed=True, duration_s=9.0, first_byte_s=2.0, cache="miss"),
        exchange_row("stream_2", at=AT, model="r", streamed=True, duration_s=8.0, first_byte_s=3.0, cache="joined"),
        exchange_row("stream_3", at=AT, model="r", streamed=True, duration_s=7.0),
        exchange_row("whole", at=AT, model="r", duration_s=7.0, first_byte_s=7.0),
        exchange_row("failed", at=AT, model="r", outcome="provider_busy", duration_s=99.0),
        exchange_row("open", at=AT, outcome=OPEN, duration_s=99.0),
        exchange_row("before", at=AT - 0.001, duration_s=99.0),
        exchange_row("after", at=AT + 1000, duration_s=99.0),
    ]
    return rows


async def test_it_is_the_same_as_asking_one_by_one(stores: Stores) -> None:
    """Groups of every grouping, and their total."""
    rows = some_rows()
    calls = [attempt_row(f"at_{row.id}", row.id, charged_book_nano=7, outcome="provider_busy") for row in rows[::5]]
    stores.ledger.append([*rows, *calls, *(share_row(f"at_{row.id}", row.id, 7, "exact") for row in rows[::7])])
    await stores.ledger.flush()
    found = await stores.reader.overview(EVERYTHING)
    for by in GROUPINGS:
        groups, total = await stores.reader.spend(SpendQuery(by, *SPAN, EVERYTHING.timezone))
        assert (found.spend[by], found.total) == (groups, total)


async def test_sums_do_not_depend_on_the_pieces(reopen: Reopen) -> None:
    """SQLite sums up some exchanges at a time, also where many are of one instant: it is the same."""
    amounts = [{"cost_nano": n, "baseline_nano": 2 * n, "team": f"t{n % 3}"} for n in range(50)]
    rows = [exchange_row(f"ex_{n}", at=AT + n // 7, **fields) for n, fields in enumerate(amounts)]
    stores = await reopen()
    stores.ledger.append([*rows, *(share_row(f"at_{row.id}", row.id, 7, "exact") for row in rows[::3])])
    await stores.ledger.flush()
    reader = SqliteReader(reopen.path, "pieces")
    try:
        in_pieces = SqliteLedgerReader(reader, piece_rows=2)
        assert await in_pieces.overview(EVERYTHING) == await stores.reader.overview(EVERYTHING)
        for by in GROUPINGS:
            query = SpendQuery(by, 0, math.inf, "UTC")
            assert await in_pieces.spend(query) == await stores.reader.spend(query)
    finally:
        await reader.close()


async def test_it_says_how_it_went(stores: Stores) -> None:
    """Quantiles of what went well, calls apart from stored answers, first bytes of streams only; all outcomes."""
    stores.ledger.append(some_rows())
    await stores.ledger.flush()
    found = await stores.reader.overview(EVERYTHING)
    assert found.speeds == [
        Speed("flash", False, "end", 100, 4.9, 9.4),
        Speed("flash", True, "end", 3, 0.002, 0.003),
        Speed("flash", True, "first_byte", 3, 0.001, 0.001),
        Speed("r", False, "end", 4, 7.0, 9.0),
        Speed("r", False, "first_byte", 2, 2.0, 3.0),
    ]
    assert list(found.outcomes.items()) == [("ok", 107), ("provider_busy", 1)]


async def test_of_nothing_it_is_nothing(stores: Stores) -> None:
    """An empty span has a total of zeros."""
    found = await stores.reader.overview(EVERYTHING)
    assert (found.total.requests, found.speeds, found.outcomes) == (0, [], {})
    assert not any(found.spend.values())


@pytest.mark.parametrize("query", [OverviewQuery((), *SPAN, "UTC"), OverviewQuery(["model", "x"], *SPAN, "UTC")])
async def test_what_cannot_be_asked_is_refused(stores: Stores, query: OverviewQuery) -> None:
    """No grouping, or one that there is not."""
    with pytest.raises(StoreError, match=r"grouping|cannot group"):
        await stores.reader.overview(query)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=300))
def test_a_quantile_is_the_nearest_rank(seconds: Sequence[float]) -> None:
    """At least so many percent do not exceed it, and of anything less that is not so."""
    ledger = MemoryLedger()
    ledger.append(exchange_row(f"ex_{number}", duration_s=each) for number, each in enumerate(seconds))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        (speed,) = runner.run(ledger.overview(OverviewQuery(["model"], 0, math.inf, "UTC"))).speeds
    for percent, found in ((50, speed.p50_s), (95, speed.p95_s)):
        assert sum(each <= found for each in seconds) * 100 >= percent * len(seconds)
        assert sum(each < found for each in seconds) * 100 < percent * len(seconds)
