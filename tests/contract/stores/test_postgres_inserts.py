"""How a group gets into PostgreSQL: in one round trip, and as it was."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has none
import pytest

from penstock.stores.postgres import Connection, connected
from penstock.stores.postgres_inserts import Inserts
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader
from penstock.stores.postgres_partitions import Partitions
from tests.support.ledger_rows import attempt_row, exchange_row, opened_rows, rows_of, share_row
from tests.support.postgres_server import database_of

ODD = "a\"b\\c\u2028\u00e9\U0001f600'$$ %s {x}\t\n"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return database_of(tmp_path)


async def test_a_group_is_one_round_trip_to_the_server(url: str) -> None:
    """Whatever it holds: what opens, what ends, several exchanges."""
    async with connected(url) as pool:
        inserts = Inserts(Partitions())
        batch = inserts.batch([*opened_rows(1), *rows_of(2), *rows_of(3)])

        async def work(connection: Connection) -> list[str]:
            await inserts.write(connection, inserts.batch(rows_of(4)), 0)  # the statement is prepared, the month known
            said: list[str] = []
            connection.add_query_logger(lambda record: said.append(record.query))  # type: ignore[attr-defined]  # the driver's
            await inserts.write(connection, batch, 0)
            await asyncio.sleep(0)  # the logger is called by the loop
            return said

        assert len(await pool.run(work)) == 1


async def test_rows_come_back_as_they_were(url: str) -> None:
    """Text of any kind, numbers to the last bit, what is not known."""
    exchange = exchange_row(
        "ex_1", at=1795000000.1234567, user=ODD, tags={"b": ODD, "a": "1"}, streamed=True, cost_nano=2**62 + 1,
        baseline_nano=None, duration_s=0.1 + 0.2, first_byte_s=None, estimated=True,
    )  # fmt: skip
    attempt = attempt_row("at_1", "ex_1", upstream_id=ODD, fx_rate="7.1000", charged_nano=None, stops=True)
    share = share_row("at_1", "ex_1", 2**53 + 1)
    async with connected(url) as pool:
        inserts = Inserts(Partitions())
        await pool.run(lambda each: inserts.write(each, inserts.batch([exchange, attempt, share]), 0))
        found: list[Any] = list(await PostgresLedgerReader(pool).exchange("ex_1"))
    assert found == [exchange, attempt, share]


async def test_a_number_that_fits_no_column_is_refused_and_nothing_is_written(url: str) -> None:
    """As a value of its row's own making, which another try would not cure."""
    async with connected(url) as pool:
        inserts = Inserts(Partitions())
        batch = inserts.batch([*rows_of(1), exchange_row("ex_2", cost_nano=2**63)])

        async def work(connection: Connection) -> None:
            with pytest.raises(asyncpg.DataError):
                await inserts.write(connection, batch, 0)

        await pool.run(work)
        assert not await PostgresLedgerReader(pool).exchange("ex_000001")
