"""``posted`` equals a plain loop over rows, for every scope and the windows of twelve zones; and counts none twice."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core.budget import SCOPES
from penstock.core.records import OPEN, LedgerRow
from penstock.core.usage import Usage
from penstock.core.windows import WINDOWS, span_at
from penstock.errors import StoreError
from penstock.ports.ledger import Posted, PostedQuery
from penstock.ports.stores import Stores
from penstock.stores.sqlite_ledger_reader import SqliteLedgerReader
from penstock.stores.sqlite_reader import SqliteReader
from tests.contract.stores.conftest import POSTGRES, opened
from tests.support.ledger_model import LedgerModel
from tests.support.ledger_rows import AT, attempt_row, exchange_row, share_row

ZONES = [
    "UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/Santiago", "Africa/Cairo", "Pacific/Apia", "America/St_Johns", "Asia/Tehran", "Pacific/Chatham",
]  # fmt: skip

CHANGE = 1_774_746_000.0
"""Berlin springs forward: 2026-03-29 01:00Z."""
TIMES = st.one_of(
    st.floats(CHANGE - 90_000, CHANGE + 90_000), st.sampled_from([CHANGE, CHANGE - 3600, CHANGE + 72_000, CHANGE - 1])
)
NAMES = st.sampled_from(["", "a", "b", "é"])


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> list[LedgerRow]:
    """An exchange, its attempts at times of their own, some of them unpriced or open, and their shares."""
    id_ = f"ex_{number}"
    at = draw(TIMES)
    tags = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    rows: list[LedgerRow] = [
        exchange_row(
            id_, at=at, outcome=draw(st.sampled_from(["ok", OPEN])), team=draw(NAMES), key_name=draw(NAMES),
            user=draw(NAMES), model=draw(NAMES), tags=tags,
        )
    ]  # fmt: skip
    for index in range(draw(st.integers(0, 3))):
        name, outcome = f"at_{number}_{index}", draw(st.sampled_from(["ok", "provider_busy", OPEN]))
        usage = Usage(*draw(st.tuples(*[st.integers(0, 10**6)] * 5)))
        started_at = at + draw(st.floats(-86_000, 86_000))
        rows.append(attempt_row(name, id_, started_at=started_at, outcome=outcome, usage=usage))
        rows += [share_row(name, id_, amount) for amount in draw(st.lists(st.integers(0, 10**15), max_size=1))]
    return rows


LEDGERS = st.integers(0, 8).flatmap(lambda count: st.tuples(*[exchanges(number) for number in range(count)]))


@pytest.mark.parametrize("url", ["memory:", "sqlite:store.db", POSTGRES])
def test_posted_equals_the_plain_loop(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For random ledgers: values, amounts and tokens of every scope are those of the plain loop."""
    directories = iter(range(10**6))
    base = tmp_path_factory.mktemp("posted")

    @hypothesis_settings(max_examples=40)
    @given(ledger=LEDGERS, zone=st.sampled_from(ZONES), at=TIMES, excluding=st.lists(st.sampled_from(["at_0_0", "x"])))
    def check(ledger: Sequence[Sequence[LedgerRow]], zone: str, at: float, excluding: list[str]) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(compare(url, base / str(next(directories)), ledger, [ZoneInfo(zone), at], excluding))

    check()


async def compare(
    url: str, directory: Path, ledger: Sequence[Sequence[LedgerRow]], where: Sequence[object], excluding: list[str]
) -> None:
    """Write the ledger, ask for every scope in every kind of window."""
    zone, at = where
    assert isinstance(zone, ZoneInfo)
    assert isinstance(at, float)
    stores = await opened(url, directory, [])
    try:
        for rows in ledger:
            stores.ledger.append(rows)
        model = LedgerModel(row for rows in ledger for row in rows)
        queries = [PostedQuery(scope, *span_at(window, zone, at)) for scope in SCOPES for window in WINDOWS]
        said = await stores.ledger.posted(queries, excluding=excluding)
        assert list(map(list, said)) == [model.posted(*query, excluding) for query in queries]
        if url.startswith("sqlite"):
            assert await in_pieces(directory / "store.db", queries, excluding) == said
    finally:
        await stores.close()


async def in_pieces(path: Path, queries: Sequence[PostedQuery], excluding: list[str]) -> Sequence[Sequence[Posted]]:
    """The same, two exchanges at a time."""
    reader = SqliteReader(path, "pieces")
    try:
        return await SqliteLedgerReader(reader, piece_rows=2).posted(queries, excluding=excluding)
    finally:
        await reader.close()


async def test_an_unknown_scope_is_an_error(stores: Stores) -> None:
    """Nothing is guessed, and what is possible is named."""
    with pytest.raises(StoreError, match="global, team"):
        await stores.ledger.posted([PostedQuery("team", 0, 1), PostedQuery("planet", 0, 1e12)], excluding=[])


async def test_an_attempt_a_day_away_from_its_exchange_is_found(stores: Stores) -> None:
    """It belongs to the window in which it was dispatched, however its exchange's own time is."""
    for number, apart in enumerate([-86_000.0, 86_000.0, 0.0]):
        id_, name = f"ex_{number}", f"at_{number}"
        stores.ledger.append([exchange_row(id_, at=AT + apart), attempt_row(name, id_), share_row(name, id_, 5)])
    assert await stores.ledger.posted([PostedQuery("global", AT, AT + 1)], excluding=[]) == [[Posted("", 15, 0)]]


async def test_seeding_counts_each_attempt_once_while_others_settle(stores: Stores) -> None:
    """What is posted, and what the caller has settled from before it asked, are together what the ledger says.

    Nothing is missing and nothing counted twice, wherever in between the view of the store was taken.
    """
    chance = random.Random(7)  # noqa: S311 - an order of events
    settled: list[str] = []
    number = 0

    def settle() -> None:
        nonlocal number
        id_, name = f"ex_{number:04}", f"at_{number:04}"
        number += 1
        settled.append(name)
        stores.ledger.append([exchange_row(id_, at=AT + number), attempt_row(name, id_), share_row(name, id_, 1)])

    async def go_on(asking: asyncio.Task[Sequence[Sequence[Posted]]]) -> None:
        while not asking.done():
            for _ in range(chance.randrange(4)):
                settle()
            await (stores.ledger.flush() if chance.random() < 0.5 else asyncio.sleep(0))

    for _ in range(30):
        settle()
        before, excluding = number, settled
        excluding.clear()
        asking = asyncio.create_task(stores.ledger.posted([PostedQuery("global", 0, 1e12)], excluding=excluding))
        await go_on(asking)
        seeded = sum(row.amount_nano for rows in asking.result() for row in rows)
        assert seeded == before
        assert seeded + len(excluding) == number
