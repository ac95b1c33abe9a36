"""PostgreSQL is restarted, or dies and its replica is promoted: each row is there once, and nodes find who writes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has none
import pytest

from penstock.errors import StoreError, StoreUnreachable
from penstock.stores.postgres import DEADLINE_S, Postgres
from tests.contract.stores.postgres_nodes import Node, node
from tests.support.fault_proxy import fault_proxy
from tests.support.ledger_rows import opened_rows, rows_of
from tests.support.postgres_replica import PostgresReplica, replica_of
from tests.support.postgres_server import USER, PostgresServer, binaries

PATIENT_S = 30.0
_END_NODES = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock'"


class Pair:
    """A primary, and its replica."""

    def __init__(self, primary: PostgresServer, replica: PostgresReplica) -> None:
        self.primary, self.replica = primary, replica

    @property
    def url(self) -> str:
        """Of both."""
        return f"postgresql://{USER}@127.0.0.1:{self.primary.port},127.0.0.1:{self.replica.port}/rows"

    def fail_over(self) -> None:
        """The primary is dead, and the replica in its place, unless that is so already."""
        if self.primary.serves:
            self.primary.kill()
            self.replica.promote()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Of servers of their own, for the tests of this file in their order."""
    programs = binaries()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine: apt install postgresql")
    primary = PostgresServer(programs)
    try:
        primary.fresh("rows")
        with replica_of(primary, programs) as replica:
            yield Pair(primary, replica)
    finally:
        primary.remove()


@asynccontextmanager
async def writing(one: Node, first: int) -> AsyncIterator[list[int]]:
    """Rows are appended and flushed throughout; the numbers of those that were acknowledged."""
    told: list[int] = []
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            number = first + len(told)
            one.ledger.append(opened_rows(number))
            await one.ledger.flush()
            one.ledger.append(rows_of(number))
            await one.ledger.flush()
            told.append(number)

    task = asyncio.ensure_future(write())
    yield told
    over.set()
    await task


async def until_more(told: list[int], count: int = 20) -> None:
    """Return when so many more were acknowledged."""
    wanted, until = len(told) + count, asyncio.get_running_loop().time() + PATIENT_S
    while len(told) < wanted:
        assert asyncio.get_running_loop().time() < until, "nothing is acknowledged"
        await asyncio.sleep(0.01)


async def drained(one: Node, number: int = 0) -> None:
    """Return when the server has everything. ``number``: of rows that it has or may have."""
    async with asyncio.timeout(PATIENT_S):
        while one.ledger.spooled_bytes or not one.ledger.fenced:
            one.ledger.append(rows_of(number))
            await one.ledger.flush()
            await asyncio.sleep(0.01)


async def test_a_restart_under_load_loses_and_doubles_nothing(pair: Pair, tmp_path: Path) -> None:
    """``pg_ctl restart -m fast``: whoever writes is never told no, and each row is there once."""
    async with node(pair.url, tmp_path / "a") as one:
        async with writing(one, 0) as told:
            await until_more(told)
            pair.primary.kill(signal.SIGINT)
            await until_more(told)
            pair.primary.start()
            await drained(one)
            await until_more(told)
        await drained(one)
        assert await one.requests() == len(told)
        assert await one.ledger.open_rows() == []
        assert not one.lost


async def test_a_replica_that_is_promoted_is_written_to(pair: Pair, tmp_path: Path) -> None:
    """The primary dies under load; before and after the promotion nobody who writes is told no; nothing is lost."""
    async with node(pair.url, tmp_path / "a") as one:
        before = await one.requests()
        lease = await one.begin()
        async with writing(one, before) as told:
            await until_more(told)
            pair.primary.kill()
            await until_more(told)
            assert not one.ledger.fenced
            with pytest.raises(StoreUnreachable, match="only reads"):
                await Postgres(pair.url).connect()
            pair.replica.promote()
            await drained(one)
            await until_more(told)
        await drained(one)
        assert await one.requests() == before + len(told)
        assert not one.lost
        assert [each.id for each in await one.leases.alive()] == [lease]
        await one.leases.end(lease)
        assert one.stores.leader is not None
        assert await one.stores.leader.lead()


async def test_a_host_that_is_gone_holds_nobody_up(pair: Pair) -> None:
    """It accepts, and answers nothing, for ever: the next host is asked meanwhile, within the deadline of one."""
    loop = asyncio.get_running_loop()
    pair.fail_over()
    with fault_proxy(pair.replica.port, black_hole=True) as gone:
        pool = Postgres(f"postgresql://{USER}@127.0.0.1:{gone.port},127.0.0.1:{pair.replica.port}/rows")
        assert await pool.fetchval("SELECT 1") == 1
        await pool.close()
        nobody = Postgres(f"postgresql://{USER}@127.0.0.1:{gone.port},127.0.0.1:{gone.port}/rows")
        began = loop.time()
        with pytest.raises(StoreUnreachable, match="no answer in time"):
            await nobody.fetchval("SELECT 1")
        assert loop.time() - began < 2 * DEADLINE_S
        await nobody.close()


class Crowd:
    """Clients that take every connection that a server has."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._all: list[Any] = []

    async def crowd_out(self) -> None:
        """Take what is free, after those of nodes were ended."""
        for each in self._all[:1]:
            await each.execute(_END_NODES)
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                self._all.append(await asyncpg.connect(self._server.url("rows")))

    async def close(self) -> None:
        """All leave."""
        for each in self._all:
            await each.close()


@asynccontextmanager
async def crowd(server: PostgresServer) -> AsyncIterator[Crowd]:
    """Until the block ends."""
    made = Crowd(server)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def small(pair: Pair) -> PostgresServer:
    """One that has few connections to give."""
    pair.fail_over()
    pair.replica.kill(signal.SIGINT)
    pair.replica.start("max_connections=16")
    return pair.replica


async def test_a_server_without_a_connection_to_spare(small: PostgresServer, tmp_path: Path) -> None:
    """A start says what to do; a node that lost its connections keeps its rows, and writes them when it can."""
    async with node(small.url("rows"), tmp_path / "a") as one:
        before = await one.requests()
        async with crowd(small) as others:
            async with asyncio.timeout(PATIENT_S):
                while one.ledger.fenced:
                    await others.crowd_out()
                    one.ledger.append(rows_of(before))
                    await one.ledger.flush()
            with pytest.raises(StoreUnreachable, match="raise max_connections, or run fewer nodes"):
                await Postgres(small.url("rows")).connect()
            with pytest.raises(StoreError, match="raise max_connections, or run fewer nodes"):
                async with node(small.url("rows"), tmp_path / "b"):
                    pass
        await drained(one, before)
        assert await one.requests() == before + 1
