"""PostgreSQL is away, frozen or full: nothing is lost, nothing is doubled, nobody waits for long."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from penstock.errors import StoreError, StoreUnreachable
from penstock.stores import postgres_stores
from penstock.stores.spool import Spool
from tests.contract.stores.postgres_nodes import EVERYTHING, node
from tests.support.ledger_rows import opened_rows, rows_of
from tests.support.postgres_server import PostgresServer, database_of, shared_server

ROOT = Path(__file__).parents[3]

WHOLE = """
SELECT
    id, (SELECT count(*) FROM attempts WHERE exchange_id = e.id), (SELECT count(*) FROM shares WHERE exchange_id = e.id)
FROM exchanges AS e
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return database_of(tmp_path)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """It serves again in the end."""
    made = shared_server()
    yield made
    if not made.serves:
        made.start()


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """It takes connections, and answers nothing."""
    server.freeze(frozen=True)
    try:
        yield
    finally:
        server.freeze(frozen=False)


async def test_rows_wait_on_the_disk_while_the_server_is_away(url: str, tmp_path: Path, server: PostgresServer) -> None:
    """Each flush is durable at once, the ledger is healthy; when the server is back it has each row once."""
    async with node(url, tmp_path / "a") as one:
        one.ledger.append(rows_of(0))
        await one.ledger.flush()
        server.kill()
        for number in range(1, 40):
            one.ledger.append(opened_rows(number) if number % 2 else rows_of(number))
            await one.ledger.flush()
            one.ledger.append(rows_of(number))
        await one.ledger.flush()
        assert one.ledger.healthy
        assert one.ledger.spooled_bytes > 0
        assert one.stores.spooled_bytes is not None
        assert one.stores.spooled_bytes() == one.ledger.spooled_bytes
        assert one.stores.unwritten_since() is not None
        assert not one.ledger.fenced
        with pytest.raises(StoreUnreachable):
            await one.ledger.posted([], excluding=[])
        server.start()
        while one.ledger.spooled_bytes:  # it asks again by itself
            one.ledger.append(rows_of(0))
            await one.ledger.flush()
        assert one.ledger.fenced
        assert await one.requests() == 40
        assert await one.ledger.open_rows() == []
        assert not one.lost
    assert list((tmp_path / "a").iterdir()) == []


async def test_a_frozen_server_costs_two_seconds_once(url: str, tmp_path: Path, server: PostgresServer) -> None:
    """Then the breaker keeps everyone from waiting; keys are told at once that they cannot be asked for."""
    loop = asyncio.get_running_loop()
    async with node(url, tmp_path / "a") as one:
        one.ledger.append(rows_of(0))
        await one.ledger.flush()
        await one.stores.keys.version()
        with frozen(server):
            began = loop.time()
            one.ledger.append(rows_of(1))
            await one.ledger.flush()
            assert loop.time() - began < 3
            with pytest.raises(StoreUnreachable):
                await one.stores.keys.version()
            began = loop.time()
            for number in range(2, 6):
                one.ledger.append(rows_of(number))
                await one.ledger.flush()
                with pytest.raises(StoreUnreachable):
                    await one.stores.keys.version()
            assert loop.time() - began < 1
            assert one.ledger.healthy
        while one.ledger.spooled_bytes:
            one.ledger.append(rows_of(0))
            await one.ledger.flush()
        assert await one.requests() == 6


async def test_who_may_not_open_alone_opens_nothing_there(url: str, tmp_path: Path, server: PostgresServer) -> None:
    """Its flush fails, and nothing is left of it; what ends something is kept."""
    async with node(url, tmp_path / "a") as one:
        await one.begin()
        one.ledger.may_open_alone = lambda: False
        server.kill()
        one.ledger.append(opened_rows(1))
        with pytest.raises(StoreUnreachable):
            await one.ledger.flush()
        one.ledger.append(rows_of(2))
        await one.ledger.flush()
        server.start()
        while one.ledger.spooled_bytes:
            one.ledger.append(rows_of(2))
            await one.ledger.flush()
        assert await one.ledger.open_rows() == []
        assert await one.requests() == 1


async def test_what_was_opened_alone_is_written_though_its_lease_has_ended(
    url: str, tmp_path: Path, server: PostgresServer
) -> None:
    """The call was made. It is counted, for others may have been lent what it holds."""
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        lease = await one.begin()
        server.kill()
        one.ledger.append(opened_rows(1))
        await one.ledger.flush()
        server.start()
        await other.leases.end(lease)
        while one.ledger.spooled_bytes:
            one.ledger.append(())
            await one.ledger.flush()
        assert [exchange.id for exchange, _ in await other.leases.open_of(lease)] == ["ex_000001"]
        assert one.ledger.late_openings == 1


async def test_a_full_spool_refuses(
    url: str, tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the ledger is ill, and keeps in memory what it was given; nothing of it is lost in the end."""
    monkeypatch.setattr(postgres_stores, "Spool", lambda directory, name: Spool(directory, name, max_bytes=3000))
    async with node(url, tmp_path / "a") as one:
        server.kill()
        taken = 0
        with pytest.raises(StoreError, match="is full"):  # noqa: PT012 - one of them raises
            for taken in range(100):
                one.ledger.append(rows_of(taken))
                await one.ledger.flush()
        assert not one.ledger.healthy
        server.start()
        while not one.ledger.healthy or one.ledger.spooled_bytes:
            one.ledger.append(rows_of(0))
            try:
                await one.ledger.flush()
            except StoreError:
                continue
        assert await one.requests() == taken + 1
        assert not one.lost


def test_a_killed_node_loses_and_doubles_nothing(url: str, tmp_path: Path, server: PostgresServer) -> None:
    """The server goes, the node is killed while it is away, both come back: what was acknowledged is there once."""
    first = 0
    for _ in range(2):
        with writing(url, tmp_path / "a", first) as told:
            for _ in range(5):
                told.readline()
            server.kill()
            while not int(told.readline().split()[1]):
                pass
            lines = [told.readline() for _ in range(30)]
        server.start()
        acknowledged = int(lines[-1].split()[0])
        total = asyncio.run(requests(url, tmp_path / "b"))
        rows = server.run(lambda connection: connection.fetch(WHOLE), url.rpartition("/")[2])  # that no port asks
        found = {int(row[0][3:]) for row in rows}
        assert {tuple(row[1:]) for row in rows} == {(1, 1)}
        assert len(rows) == len(found) == total
        assert found >= set(range(first, acknowledged))
        first = max(found) + 1


@contextmanager
def writing(url: str, directory: Path, first: int) -> Iterator[IO[str]]:
    """A process that writes, until it is killed."""
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.contract.stores.postgres_writer", url, str(directory), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        yield process.stdout
        process.kill()


async def requests(url: str, elsewhere: Path) -> int:
    """How many there are, when the next process in the same directory is open."""
    async with node(url, elsewhere.with_name("a")) as one:
        assert one.ledger.spooled_bytes == 0
        return (await one.stores.reader.spend(EVERYTHING))[1].requests


async def test_rows_wait_in_a_directory_of_their_own(url: str, tmp_path: Path, server: PostgresServer) -> None:
    """Where ``ledger.spool`` says; that of the config may be one that nobody can write."""
    places = [tmp_path / name for name in ("config", "spool")]
    async with node(url, places[0], spool=places[1]) as one:
        server.kill()
        one.ledger.append(rows_of(0))
        await one.ledger.flush()
        assert [len(list(each.iterdir())) for each in places] == [0, 1]
        server.start()
        while one.ledger.spooled_bytes:  # it asks again by itself
            one.ledger.append(rows_of(0))
            await one.ledger.flush()


async def test_that_there_is_no_place_for_them_is_said_at_start(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And what to do."""
    (tmp_path / "file").write_bytes(b"")
    async with node(url, tmp_path / "config", spool=tmp_path / "file" / "spool"):
        assert "ledger.spool" in caplog.text
