"""Sums per quarter of an hour say what the rows say, whatever is late, open or re-rated; and outlive the rows."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from penstock.core.budget import SCOPES
from penstock.core.records import OPEN, LedgerRow
from penstock.core.rerate import Entry
from penstock.core.usage import Usage
from penstock.ports.ledger import PostedQuery, SpendQuery
from penstock.stores.months import begin_of, month_at
from penstock.stores.open import open_audit
from penstock.stores.postgres import REPORT_S, Postgres
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.postgres_sums import PostgresSums
from penstock.stores.spend import GROUPINGS
from tests.contract.stores.postgres_nodes import Node, node
from tests.support.ledger_rows import AT, attempt_row, exchange_row, rows_of, share_row
from tests.support.postgres_server import database_of

ALWAYS = [PostedQuery("global", 0, 1e12)]


class Bench:
    """A node, and who sums up for it."""

    def __init__(self, made: Node, pool: Postgres) -> None:
        self.node = made
        self.pool = pool
        self.sums = PostgresSums(pool, quiet_s=0.0)

    async def append(self, *rows: LedgerRow) -> None:
        """Durable when it returns."""
        self.node.ledger.append(rows)
        await self.node.ledger.flush()

    async def says(self) -> list[Any]:
        """Everything that is asked of sums, over spans that cut quarters too."""
        spans = [(0, 1e12), (AT - 3600, AT + 3600), (AT - 1000.5, AT + 7.25), (AT, AT + 900)]
        reader = self.node.stores.reader
        spent = [await reader.spend(SpendQuery(by, *span, "Asia/Kathmandu")) for by in GROUPINGS for span in spans]
        queries = [PostedQuery(scope, *span) for scope in SCOPES for span in spans]
        return [spent, await reader.posted(queries, excluding=[])]

    async def summed(self) -> int:
        """How many quarters are."""
        return int(await self.pool.fetchval("SELECT count(*) FROM summed_quarters"))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """On a database of its own."""
    url = database_of(tmp_path)
    async with node(url, tmp_path / "a") as made:
        pool = Postgres(url, deadline_s=REPORT_S)
        yield Bench(made, pool)
        await pool.close()


def some_rows(chance: random.Random, number: int) -> list[LedgerRow]:
    """An exchange within some hours of ``AT``, with attempts, some of them open, and shares."""
    id_, at = f"ex_{number}", AT + chance.uniform(-9000, 9000)

    def name(letter: str) -> str:
        return chance.choice(["", f"{letter}1", f"{letter}2"])

    rows: list[LedgerRow] = [
        exchange_row(
            id_, at=at, model=name("m"), deployment=name("d"), team=name("t"), user=name("u"), key_name=name("k"),
            key_id=name("i"), tags=chance.choice([{}, {"a": "1"}, {"a": "1", "b": "2"}]),
            outcome=chance.choice(["ok", "ok", "provider_busy", OPEN]), usage=Usage(chance.randrange(99), 1, 2, 3, 1),
            cost_nano=chance.choice([None, 5]), baseline_nano=chance.choice([None, 9]),
            avoided_nano=chance.randrange(3),
        )
    ]  # fmt: skip
    for index in range(chance.randrange(3)):
        attempt, outcome = f"at_{number}_{index}", chance.choice(["ok", "provider_busy", OPEN])
        usage = Usage(chance.randrange(99))
        started_at = at + chance.uniform(-2000, 2000)
        charged = chance.choice([None, 7])
        rows.append(
            attempt_row(attempt, id_, started_at=started_at, outcome=outcome, usage=usage, charged_book_nano=charged)
        )
        rows += [share_row(attempt, id_, 7, lever) for lever in chance.sample(["direct", "joined", "exact"], 1)]
    return rows


async def test_sums_say_what_the_rows_say(bench: Bench) -> None:
    """For every grouping, scope and span; what is written late is there at once, and after it is summed up again."""
    chance = random.Random(11)  # noqa: S311 - made-up rows
    for number in range(120):
        bench.node.ledger.append(some_rows(chance, number))
    await bench.node.ledger.flush()
    before = await bench.says()
    assert await bench.sums.sweep() > 0
    assert await bench.says() == before
    for number in range(120, 150):
        await bench.append(*some_rows(chance, number))
    late = await bench.says()
    assert late != before
    await bench.pool.fetch("DELETE FROM spend_quarters WHERE quarter NOT IN (SELECT quarter FROM summed_quarters)")
    assert await bench.says() == late
    await bench.sums.sweep()
    assert await bench.says() == late


async def test_nothing_open_is_summed_up(bench: Bench) -> None:
    """Nor what is not long over."""
    await bench.append(*rows_of(1), exchange_row("ex_2", at=AT + 1000, outcome=OPEN), *rows_of(2000))
    quarters = {int(at) // 900 for at in (AT + 1, AT + 2000)}
    await bench.sums.sweep()
    rows = await bench.pool.fetch("SELECT quarter FROM summed_quarters")
    found = {int(row[0]) for row in rows}
    assert found >= quarters
    assert int(AT + 1000) // 900 not in found


async def test_who_writes_late_while_it_is_summed_up_is_counted(bench: Bench) -> None:
    """Whichever comes first."""
    number = 0

    async def write() -> None:
        nonlocal number
        for _ in range(150):
            await bench.append(*rows_of(number))
            number += 1

    async def sum_up() -> None:
        for _ in range(90):
            await bench.sums.sweep(most=1)

    await asyncio.gather(write(), sum_up())
    for _ in range(2):
        assert await bench.node.requests() == number
        ((posted,),) = await bench.node.ledger.posted(ALWAYS, excluding=[])
        assert posted.amount_nano == 7 * number
        await bench.sums.sweep()


async def test_a_rewrite_takes_sums_out_of_use(bench: Bench) -> None:
    """A price that came late is in every total."""
    unpriced = attempt_row("at_1", "ex_1", charged_nano=None, charged_book_nano=None)
    await bench.append(exchange_row("ex_1", cost_nano=None, baseline_nano=None), unpriced)
    await bench.sums.sweep()
    async with open_audit(bench.pool.url, Path(), write=True) as audit:
        (entry,) = await audit.unpriced((float("-inf"), ""), 9)
        changed = Entry(
            replace(entry.exchange, cost_nano=21, baseline_nano=40),
            [replace(entry.attempts[0], charged_nano=21, charged_book_nano=21)],
            [share_row("at_1", "ex_1", 21)],
        )
        await audit.rerate([changed])
    ((posted,),) = await bench.node.ledger.posted(ALWAYS, excluding=[])
    _, total = await bench.node.stores.reader.spend(SpendQuery("model", 0, 1e12, "UTC"))
    assert (posted.amount_nano, total.cost_nano, total.unpriced) == (21, 21, 0)


async def test_a_month_past_keeping_goes_and_its_sums_stay(bench: Bench) -> None:
    """Only when it is summed up whole; what was spent in it stays spent."""
    month = month_at(AT)
    id_ = f"{int(AT * 1000):012x}{7:020x}"
    usage = Usage(10)
    rows: list[LedgerRow] = [
        exchange_row(f"ex_{id_}", cost_nano=5, usage=usage), attempt_row(f"at_{id_}", f"ex_{id_}", usage=usage),
        share_row(f"at_{id_}", f"ex_{id_}", 5),
    ]  # fmt: skip
    await bench.append(*rows)
    partitions, later = Partitions(), begin_of(month + 3)
    assert await bench.pool.fetchval("SELECT count(*) FROM exchanges_2026_11") == 1
    before = await bench.says()
    assert await partitions.drop(bench.pool, later, 0.0) == 0
    await bench.sums.sweep()
    assert await partitions.drop(bench.pool, begin_of(month + 1), 0.0) == 0
    assert await partitions.drop(bench.pool, later, 0.0) == 1
    assert await bench.node.stores.reader.exchange(f"ex_{id_}") == []
    whole = SpendQuery("model", 0, 1e12, "Asia/Kathmandu")
    assert await bench.node.stores.reader.spend(whole) == before[0][4 * GROUPINGS.index("model")]
    await bench.append(exchange_row(f"ex_{id_[:-1]}8"))
    assert await bench.node.stores.reader.spend(whole) == before[0][4 * GROUPINGS.index("model")]
    assert len(await bench.node.stores.reader.exchange(f"ex_{id_[:-1]}8")) == 1


async def test_months_are_made_ahead(bench: Bench) -> None:
    """By the node that leads, when it sweeps."""
    await bench.node.stores.sweep(AT)
    names = {row[0] for row in await bench.pool.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'shares_20%'")}
    assert {"shares_2026_11", "shares_2026_12", "shares_2027_01"} <= names
