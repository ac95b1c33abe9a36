"""The fence: under a lease that has ended nothing is opened, however long who slept; what was opened is settled."""

import asyncio
from pathlib import Path

import pytest

from penstock.errors import LeaseEnded
from penstock.ports.ledger import Posted, PostedQuery
from tests.contract.stores.postgres_nodes import node
from tests.support.ledger_rows import AT, attempt_row, exchange_row, opened_rows, rows_of, share_row
from tests.support.postgres_server import database_of

ALWAYS = [PostedQuery("global", 0, 1e12)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return database_of(tmp_path)


async def test_under_an_ended_lease_nothing_is_opened_and_everything_settled(url: str, tmp_path: Path) -> None:
    """The flush of who opens says so, nobody else's does; then a new lease opens the same."""
    async with node(url, tmp_path / "a") as one:
        lease = await one.begin()
        one.ledger.append(opened_rows(1))
        await one.ledger.flush()
        assert await one.leases.end(lease)
        one.ledger.append(opened_rows(2))
        opening = asyncio.ensure_future(one.ledger.flush())
        await asyncio.sleep(0)
        one.ledger.append(rows_of(1))
        await one.ledger.flush()
        with pytest.raises(LeaseEnded):
            await opening
        assert await one.ledger.open_rows() == []
        assert await one.requests() == 1
        await one.begin()
        one.ledger.append(opened_rows(2))
        await one.ledger.flush()
        assert [exchange.id for exchange, _ in await one.ledger.open_rows()] == ["ex_000002"]
        assert one.ledger.healthy
        assert not one.lost


async def test_what_was_held_under_a_lease_is_not_opened_under_the_next(url: str, tmp_path: Path) -> None:
    """A node that slept takes another lease before it writes: nobody lent that one what the last one held."""
    async with node(url, tmp_path / "a") as one:
        former = await one.begin()
        one.ledger.append(rows_of(9))
        await one.leases.end(former)
        one.ledger.append(opened_rows(1))
        lease = one.ledger.lease = await one.leases.begin("n")
        opening = asyncio.ensure_future(one.ledger.flush())
        await asyncio.sleep(0)
        one.ledger.append(opened_rows(2))
        await one.ledger.flush()
        with pytest.raises(LeaseEnded):
            await opening
        assert [exchange.id for exchange, _ in await one.ledger.open_rows()] == ["ex_000002"]
        assert await one.leases.open_of(lease)


async def test_what_is_open_goes_on_being_noted_after_the_end(url: str, tmp_path: Path) -> None:
    """The journal of a stream is no opening."""
    async with node(url, tmp_path / "a") as one:
        lease = await one.begin()
        one.ledger.append(opened_rows(1))
        await one.ledger.flush()
        await one.leases.end(lease)
        one.ledger.append([attempt_row("at_000001", "ex_000001", outcome="open", held_nano=9, charged_book_nano=5)])
        await one.ledger.flush()
        ((_, (attempt,)),) = await one.ledger.open_rows()
        assert attempt.charged_book_nano == 5


async def test_the_end_waits_for_what_is_being_written(url: str, tmp_path: Path) -> None:
    """Whatever interleaving: an opening that was acknowledged is there when ``end`` returns, and no other ever is."""
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        for round_ in range(12):
            lease = await one.begin()
            acknowledged: list[int] = []

            async def open_one(number: int, kept: list[int]) -> None:
                one.ledger.append(opened_rows(number))
                await one.ledger.flush()
                kept.append(number)

            numbers = range(round_ * 50, round_ * 50 + 50)
            opening = [asyncio.ensure_future(open_one(number, acknowledged)) for number in numbers]
            await asyncio.sleep(0.0007 * round_)
            await other.leases.end(lease)
            there = {int(exchange.id[3:]) for exchange, _ in await other.leases.open_of(lease)}
            found = await asyncio.gather(*opening, return_exceptions=True)
            assert {type(each) for each in found} <= {type(None), LeaseEnded}
            after = {int(exchange.id[3:]) for exchange, _ in await other.leases.open_of(lease)}
            assert there == after == set(acknowledged)


async def test_a_lease_ends_once_and_is_told(url: str, tmp_path: Path) -> None:
    """By whichever node."""
    heard: list[str] = []
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        assert one.stores.signals is not None
        told = asyncio.Event()
        one.stores.signals.listen(heard.append)
        one.stores.signals.listen(lambda _topic: told.set())
        first, second = await one.begin("one"), await other.begin("other")
        assert [(each.id, each.node) for each in await one.leases.alive()] == [(first, "one"), (second, "other")]
        assert await other.leases.end(first)
        assert not await one.leases.end(first)
        await told.wait()
        assert [each.id for each in await one.leases.alive()] == [second]
        assert heard == ["leases"]


async def test_an_epoch_ends_every_lease_and_is_begun_once(url: str, tmp_path: Path) -> None:
    """Nodes that begin it together get the same; a lease of after it lives."""
    async with node(url, tmp_path / "a") as one, node(url, tmp_path / "b") as other:
        await one.begin()
        await other.begin()
        before = await one.leases.epoch()
        first, second = await asyncio.gather(
            one.leases.next_epoch("redis-1", before.number), other.leases.next_epoch("redis-2", before.number)
        )
        assert first == second == await other.leases.epoch()
        assert first.number == before.number + 1
        assert await one.leases.alive() == []
        lease = await one.begin()
        assert [each.id for each in await other.leases.alive()] == [lease]


async def test_what_was_spent_under_a_lease(url: str, tmp_path: Path) -> None:
    """Its settled attempts as billed, its open ones as held; the base is all that no living lease has."""
    async with node(url, tmp_path / "a") as one:
        first = await one.begin()
        one.ledger.append([
            exchange_row("ex_1"), attempt_row("at_1", "ex_1"), share_row("at_1", "ex_1", 5),
            attempt_row("at_2", "ex_1", outcome="open", held_nano=40, held_tokens=7),
        ])  # fmt: skip
        await one.ledger.flush()
        second = await one.begin()
        one.ledger.append([exchange_row("ex_2", at=AT), attempt_row("at_3", "ex_2"), share_row("at_3", "ex_2", 100)])
        await one.ledger.flush()
        assert await one.leases.spent(first, ALWAYS) == [[Posted("", 45, 7)]]
        assert await one.leases.spent(second, ALWAYS) == [[Posted("", 100, 0)]]
        assert await one.leases.base(ALWAYS) == [[]]
        await one.leases.end(first)
        assert await one.leases.base(ALWAYS) == [[Posted("", 45, 7)]]
        assert await one.leases.unsettled() == [first]
        assert await one.ledger.posted(ALWAYS, excluding=[]) == [[Posted("", 105, 0)]]


async def test_a_node_that_sleeps_in_a_transaction_holds_nobody_up_for_long(url: str, tmp_path: Path) -> None:
    """Its lock is a transaction's, which the server gives up; what it was to open is refused when it wakes."""
    async with node(url, tmp_path / "a") as one:
        lease = await one.begin()

        async def sleeper(connection: object) -> None:
            await connection.execute(  # type: ignore[attr-defined]  # the driver's
                "BEGIN; SELECT pg_advisory_xact_lock_shared($1)".replace("$1", str((0x50454E54 << 32) + lease))
            )
            await one.leases.end(lease)

        began = asyncio.get_running_loop().time()
        await one.ledger._pool.run(sleeper)  # noqa: SLF001 - a connection as the writer has it
        assert asyncio.get_running_loop().time() - began < 4
        one.ledger.append(opened_rows(1))
        with pytest.raises(LeaseEnded):
            await one.ledger.flush()
