"""`penstock migrate`: what SQLite held is in PostgreSQL afterwards, each row once, whatever ends it meanwhile."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import TimeIds
from penstock.core.records import OPEN, LedgerRow
from penstock.core.usage import Usage
from penstock.errors import ConfigError, StoreError
from penstock.ports.answers import StoredAnswer
from penstock.ports.budgets import BudgetRecord
from penstock.ports.keys import KeyRecord
from penstock.ports.results import StoredResult
from penstock.ports.stores import Stores
from penstock.stores import move_source
from penstock.stores.move import Moved, move
from penstock.stores.move_parts import PARTS
from tests.contract.stores.conftest import opened
from tests.contract.stores.postgres_nodes import EVERYTHING, node
from tests.support.ledger_rows import attempt_row, exchange_row, rows_of, share_row
from tests.support.postgres_server import database_of, shared_server

ROOT = Path(__file__).parents[3]
SOURCE = "sqlite:store.db"
AT = 1_790_000_000.0
"""In September 2026."""
DAY_S = 86_400.0
EXCHANGES = 120
LARGE = (1 << 53) + 1
"""No float holds it."""


def told(*_told: object) -> None:
    """Progress, to nobody."""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of them, of which some are cut by their bytes."""
    monkeypatch.setattr(move_source, "PIECE_ROWS", 7)
    monkeypatch.setattr(move_source, "PIECE_BYTES", 5000)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own, without a schema."""
    return shared_server().empty(f"move_{tmp_path.name}")


def ledger(count: int) -> Iterator[Sequence[LedgerRow]]:
    """Exchanges over four months: open ones, unpriced ones, refused ones, of every lever, in any script."""
    now = AT
    ids = TimeIds(lambda: now)
    for number in range(count):
        now = AT + number * DAY_S
        id_, one, other = ids.new("ex"), ids.new("at"), ids.new("at")
        usage = Usage(number, 1, 2, 3, 1)
        kind = number % 6
        if kind == 0:
            yield [exchange_row(id_, at=now, outcome="rate_limited", status=429, cost_nano=0, baseline_nano=0)]
        elif kind == 1:
            yield [
                exchange_row(id_, at=now, outcome=OPEN, owner="own_1", user="用户 ☂"),
                attempt_row(one, id_, started_at=now, outcome=OPEN, held_nano=9, held_tokens=11, stops=True),
            ]
        elif kind == 2:
            unknown = {"cost_nano": None, "baseline_nano": None, "avoided_nano": None, "first_byte_s": 0.25}
            yield [
                exchange_row(id_, at=now, usage=usage, tags={"team": "säge", "a": "\U0001f9ea"}, **unknown),
                attempt_row(one, id_, started_at=now, charged_nano=None, charged_book_nano=None, held_nano=None),
            ]
        elif kind == 3:
            yield [
                exchange_row(id_, at=now, usage=usage, cost_nano=LARGE, baseline_nano=-LARGE, parent="up_1"),
                attempt_row(one, id_, started_at=now, outcome="provider_busy", charged_book_nano=5, overrun=True),
                attempt_row(other, id_, started_at=now, usage=usage, charged_book_nano=LARGE - 5, currency="USD"),
                share_row(one, id_, 5),
                share_row(other, id_, LARGE - 5, "routing"),
            ]
        elif kind == 4:
            yield [exchange_row(id_, at=now, user="a\0b", degraded="stale"), share_row("at_x", id_, 0, "exact")]
        else:
            yield rows_of(number)  # an id that says no time


def answer(number: int, size: int = 20) -> StoredAnswer:
    """One that expired long ago, or never."""
    return StoredAnswer(
        body=bytes([number % 256]) * size, stored_at=AT + number, expires_at=AT * 3, attempt_id="at_1", model="flash",
        tenant="key_1/网", tags=("env=prod",), deployment="deepseek/flash", usage=Usage(1, 2, 3, 4, 5), estimated=True,
        entry="ab" * (number % 2),
    )  # fmt: skip


async def fill(stores: Stores, count: int = EXCHANGES) -> None:
    """Something of everything."""
    for rows in ledger(count):
        stores.ledger.append(rows)
    await stores.ledger.flush()
    for number in range(9):
        expires, revoked = (AT + 1, None) if number % 2 else (None, AT + 2)
        await stores.keys.add(
            KeyRecord(
                id=f"key_{number}", name=f"k{number}", digest=f"d{number}", prefix="pk-", created_at=AT + number,
                expires_at=expires, team="tëam", models=("flash", "pro") * (number % 2), rpm=number or None,
            )
        )  # fmt: skip
        if revoked is not None and number:
            await stores.keys.revoke(f"key_{number}", revoked)
        await stores.budgets.put(BudgetRecord(f"b{number}", {"limit": f"{number} CNY"}, removed=number == 1))
        stores.answers.put(number.to_bytes(32, "big"), answer(number, 3000 if number % 3 else 0))
        result = StoredResult(
            body_digest=bytes(32), status=200, headers={"a": "é"}, body=b"\0" * 900, exchange_id="ex", expires_at=AT * 3
        )
        stores.results.put("key_1", f"r{number}", result)
    await stores.answers.withdraw()
    stores.answers.resume()
    await stores.answers.purge(tenant="nobody", tag="x=y")


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """A store that was closed."""
    stores = await opened(SOURCE, tmp_path, [])
    await fill(stores)
    await stores.close()
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        values = [("deepseek", "CNY", AT + number, LARGE, -number, number) for number in range(9)]
        connection.executemany("INSERT INTO balances VALUES (?, ?, ?, ?, ?, ?)", values)
        connection.commit()
    return path


async def moved(directory: Path, url: str) -> Moved:
    """A run that comes to its end."""
    return await move(SOURCE, directory, url, "CNY", "5ec2e7", told)


def everything(path: Path, url: str) -> list[tuple[str, list[str], list[str]]]:
    """Every row of either side, by table, in the columns of the first."""
    with closing(sqlite3.connect(path)) as connection:
        queries = {part.name: _query(connection, part.name) for part in PARTS}
        here = {name: connection.execute(query).fetchall() for name, query in queries.items()}

    async def fetch(connection: Any) -> dict[str, list[Any]]:
        return {name: await connection.fetch(query) for name, query in queries.items()}

    there = shared_server().run(fetch, url.rpartition("/")[2])
    return [(name, _plain(here[name]), _plain(there[name])) for name in queries]


def _query(connection: sqlite3.Connection, name: str) -> str:
    columns = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({name})")]
    return f"SELECT {', '.join(columns)} FROM {name}"  # noqa: S608 - names of our own schema


def _plain(rows: Sequence[Any]) -> list[str]:
    """Sorted. A text of PostgreSQL's has no NUL."""
    readable = [[each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in row] for row in rows]
    return sorted(map(repr, readable))


def same(path: Path, url: str) -> bool:
    """Whether all is there, and nothing else."""
    return all(here == there for _, here, there in everything(path, url))


async def test_everything_is_there_and_the_same(source: Path, url: str, tmp_path: Path) -> None:
    """Open rows, unpriced ones, every table, any text; the source is as it was, and the sums say so month by month."""
    before = source.read_bytes()  # noqa: ASYNC240 - a moment of a test
    done = await moved(tmp_path, url)
    for name, here, there in everything(source, url):
        assert here, f"there is nothing to move of {name}"
        assert here == there
    assert source.read_bytes() == before  # noqa: ASYNC240 - likewise
    assert done.same
    assert (done.begun, done.rows) == ("anew", sum(len(here) for _, here, _ in everything(source, url)))
    months = {each.month for each in done.compared if each.part == "exchanges"}
    assert months == {"", "2026-09", "2026-10", "2026-11", "2026-12", "2027-01"}


@pytest.mark.usefixtures("source")
async def test_a_node_serves_from_it(url: str, tmp_path: Path) -> None:
    """It reports what the old one reported, knows its keys and answers, and finds open what was open."""
    await moved(tmp_path, url)
    old = await opened(SOURCE, tmp_path, [])
    async with node(url, tmp_path / "node") as new:
        assert await new.stores.reader.spend(EVERYTHING) == await old.reader.spend(EVERYTHING)
        assert await new.stores.keys.list() == await old.keys.list()
        assert await new.stores.budgets.list() == await old.budgets.list()
        assert await new.stores.answers.get((4).to_bytes(32, "big"), AT) == answer(4, 3000)
        assert await new.stores.results.get("key_1", "r3", AT) == await old.results.get("key_1", "r3", AT)
        opens = await new.ledger.open_rows()
        assert len(opens) == EXCHANGES // 6
        assert opens == await old.ledger.open_rows()
    await old.close()


async def test_a_second_run_does_nothing(source: Path, url: str, tmp_path: Path) -> None:
    """Also when the new one has been served from meanwhile; but it says so when the old one was."""
    await moved(tmp_path, url)
    async with node(url, tmp_path / "node") as new:
        new.ledger.append(rows_of(900))
        await new.ledger.flush()
    before = everything(source, url)
    again = await moved(tmp_path, url)
    assert (again.begun, again.rows) == ("done", 0)
    assert again.ended_at
    assert everything(source, url) == before
    old = await opened(SOURCE, tmp_path, [])
    old.ledger.append(rows_of(901))
    await old.ledger.flush()
    await old.close()
    with pytest.raises(StoreError, match="written to since then"):
        await moved(tmp_path, url)


@pytest.mark.parametrize("steps", [1, 7, 30, 52])
async def test_a_move_that_was_ended_goes_on(source: Path, url: str, tmp_path: Path, steps: int) -> None:
    """From where it was, and no server starts on what is there until then."""
    with pytest.raises(InterruptedError):
        await move(SOURCE, tmp_path, url, "CNY", "", ended_after(steps))
    with pytest.raises(StoreError, match="not whole yet"):
        async with node(url, tmp_path / "node"):
            pytest.fail("it is half a ledger")
    done = await moved(tmp_path, url)
    assert done.begun == "on"
    assert done.rows < sum(len(here) for _, here, _ in everything(source, url))
    assert same(source, url)


async def test_a_move_that_was_ended_begins_anew_when_the_store_was_used(
    source: Path, url: str, tmp_path: Path
) -> None:
    """What was open has ended, a key is gone, an answer was purged: nothing is left of how it was."""
    with pytest.raises(InterruptedError):
        await move(SOURCE, tmp_path, url, "CNY", "", ended_after(60))
    old = await opened(SOURCE, tmp_path, [])
    for exchange, attempts in await old.ledger.open_rows():
        exchange.outcome = "gateway_died"
        for attempt in attempts:
            attempt.outcome = "gateway_died"
        old.ledger.append([exchange, *attempts])
    await old.ledger.flush()
    await old.budgets.delete("b3")
    await old.answers.purge(model="flash")
    await old.close()
    done = await moved(tmp_path, url)
    assert done.begun == "again"
    assert same(source, url)


def ended_after(steps: int) -> Any:
    """Progress that ends the run."""
    left = iter(range(steps))

    def tell(*_told: object) -> None:
        if next(left, None) is None:
            raise InterruptedError

    return tell


def test_a_killed_move_goes_on(source: Path, url: str, tmp_path: Path) -> None:
    """Kill -9 at several points, in the middle of whatever it does; at the end each row is there once."""
    for pieces in (3, 9, 20, 33):
        command = [sys.executable, "-m", "tests.contract.stores.mover", str(tmp_path), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            for _ in range(pieces):
                process.stdout.readline()
            process.kill()
    done = asyncio.run(moved(tmp_path, url))
    assert done.begun == "on"
    assert done.same
    assert same(source, url)


@pytest.mark.usefixtures("source")
async def test_a_difference_is_found(url: str, tmp_path: Path) -> None:
    """A row that is missing, and an amount that is another: the move is not done, and says where."""
    database = url.rpartition("/")[2]
    with pytest.raises(InterruptedError):
        await move(SOURCE, tmp_path, url, "CNY", "", ended_after(45))
    shared_server().run(lambda each: each.execute("DELETE FROM attempts WHERE id = 'at_000005'"), database)
    shared_server().run(
        lambda each: each.execute("UPDATE exchanges SET cost_nano = 8 WHERE id = 'ex_000011'"), database
    )
    done = await moved(tmp_path, url)
    assert not done.same
    found = {(each.part, each.month): each.differs for each in done.compared if each.differs}
    assert found == {
        ("exchanges", ""): ["amount_nano"],
        ("attempts", ""): ["rows", "tokens", "amount_nano", "other_nano", "first"],
    }
    assert (await moved(tmp_path, url)).compared == done.compared


@pytest.mark.usefixtures("source")
async def test_what_is_somebody_elses_is_not_touched(tmp_path: Path) -> None:
    """Rows of another store, another store's move, and other tables."""
    url = database_of(tmp_path)
    async with node(url, tmp_path / "node") as other:
        await other.stores.keys.add(KeyRecord(id="key_x", name="ci", digest="d", prefix="p", created_at=1.0))
    with pytest.raises(StoreError, match="rows of another store"):
        await moved(tmp_path, url)
    theirs = shared_server().empty(f"theirs_{tmp_path.name}")
    shared_server().run(lambda each: each.execute("CREATE TABLE theirs (id int)"), theirs.rpartition("/")[2])
    with pytest.raises(StoreError, match="not a store of Penstock"):
        await moved(tmp_path, theirs)
    taken = shared_server().empty(f"taken_{tmp_path.name}")
    second = tmp_path / "second"
    second.mkdir()
    stores = await opened(SOURCE, second, [])
    stores.ledger.append(rows_of(3))
    await stores.ledger.flush()
    await stores.close()
    await moved(second, taken)
    with pytest.raises(StoreError, match="rows of another store"):
        await moved(tmp_path, taken)


@pytest.mark.usefixtures("source")
async def test_it_waits_for_no_server(url: str, tmp_path: Path) -> None:
    """One that has either side is named, and nothing is moved."""
    old = await opened(SOURCE, tmp_path, [])
    with pytest.raises(StoreError, match="in use by another server"):
        await moved(tmp_path, url)
    await old.close()
    taken = database_of(tmp_path)
    async with node(taken, tmp_path / "node"):
        with pytest.raises(StoreError, match="in use by a server"):
            await moved(tmp_path, taken)


async def test_amounts_of_two_currencies_never_meet(source: Path, url: str, tmp_path: Path) -> None:
    """The config's is the ledger's; a ledger that somebody gave two is nobody's."""
    with pytest.raises(ConfigError, match="is kept in CNY"):
        await move(SOURCE, tmp_path, url, "USD", "", told)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("UPDATE exchanges SET currency = 'USD' WHERE id = 'ex_000005'")
        connection.commit()
    with pytest.raises(StoreError, match="amounts in CNY and USD"):
        await moved(tmp_path, url)


async def test_an_empty_store_moves_too(url: str, tmp_path: Path) -> None:
    """Nothing is something; and where there is no file there is nothing."""
    with pytest.raises(StoreError, match="nothing to move"):
        await moved(tmp_path, url)
    await (await opened(SOURCE, tmp_path, [])).close()
    assert (await moved(tmp_path, url)).same
    assert (await moved(tmp_path, url)).begun == "done"
