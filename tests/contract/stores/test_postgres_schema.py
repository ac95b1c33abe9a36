"""What a start says of a server that is not as it should be; and migrations, in pairs, while old code runs."""

import asyncio
from pathlib import Path

import pytest

from penstock.errors import ConfigError, SchemaTooNew, SchemaTooOld, StoreError, StoreUnreachable
from penstock.stores.open import open_keys, open_reader, read_stored_answers, sole_use
from penstock.stores.postgres_schema import FOLDER, migrate
from penstock.stores.queries import load_migrations
from tests.contract.stores.postgres_nodes import node
from tests.support.ledger_rows import rows_of
from tests.support.postgres_server import GUARDED, PASSWORD, database_of, shared_server

NOW = load_migrations(FOLDER)
PRE = (
    "0099_pre_more.sql",
    """
    ALTER TABLE exchanges ADD COLUMN colour text NOT NULL DEFAULT '';
    ALTER TABLE keys ADD COLUMN owner text NOT NULL DEFAULT '';
    CREATE TABLE more (id bigint);
    """,
)
POST = ("0099_post_more.sql", "ALTER TABLE keys DROP COLUMN team")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return database_of(tmp_path)


async def test_old_code_works_on_a_schema_to_which_was_added(url: str, tmp_path: Path) -> None:
    """What a newer Penstock adds before it serves is in nobody's way, also while this one is running."""
    async with node(url, tmp_path / "a") as one:
        one.ledger.append(rows_of(1))
        await one.ledger.flush()
        assert await migrate(url, migrations=[*NOW, PRE, POST]) == [PRE[0]]
        one.ledger.append(rows_of(2))
        await one.ledger.flush()
        await one.ledger.settled()
    async with node(url, tmp_path / "b") as other:
        assert await other.requests() == 2
        assert await other.stores.keys.list() == []


async def test_a_schema_that_was_cleaned_up_is_too_new(url: str, tmp_path: Path) -> None:
    """For serving and for commands; nothing is changed."""
    await migrate(url, post=True, migrations=[*NOW, PRE, POST])
    with pytest.raises(SchemaTooNew, match=POST[0]):
        async with node(url, tmp_path / "a"):
            pytest.fail("it is too new")
    with pytest.raises(SchemaTooNew, match="a newer Penstock"):
        async with open_reader(url, tmp_path):
            pytest.fail("it is too new")


async def test_who_only_reads_creates_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    """No schema, or one migration too few."""
    url = shared_server().empty(f"empty_{tmp_path.name}")
    with pytest.raises(SchemaTooOld, match="no store at"):
        async with open_keys(url, tmp_path, write=False):
            pytest.fail("there is nothing")
    with pytest.raises(SchemaTooOld, match="no store at"):
        await read_stored_answers(url, tmp_path, 0.0)
    await migrate(url, migrations=[("0000_pre_old.sql", "CREATE TABLE old (id bigint)")])
    with pytest.raises(SchemaTooOld, match=r"lacks 0001_pre_begin\.sql"):
        async with open_reader(url, tmp_path):
            pytest.fail("it is too old")


async def test_nodes_that_start_together_migrate_once(tmp_path: Path) -> None:
    """One does, the others wait for it."""
    url = shared_server().empty(f"together_{tmp_path.name}")
    made = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(map(len, made)) == [0, 0, 0, len([name for name, _ in NOW if "_pre_" in name])]


async def test_a_database_of_others_is_not_touched(tmp_path: Path) -> None:
    """Whatever it is called."""
    url = shared_server().empty(f"others_{tmp_path.name}")
    shared_server().run(lambda connection: connection.execute("CREATE TABLE theirs (id int)"), url.rpartition("/")[2])
    with pytest.raises(StoreError, match="not a store of Penstock"):
        await migrate(url)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ("{user}:wrong@127.0.0.1:{port}/{database}", "password authentication failed.*check user and password"),
        ("{user}:{password}@127.0.0.1:{port}/nowhere", "does not exist.*create the database"),
        ("penstock@127.0.0.1:{closed}/{database}", "cannot be used"),
        ("penstock@127.0.0.1:99999/{database}", "cannot be used"),
    ],
)
async def test_a_wrong_url_says_what_is_wrong_and_no_password(url: str, tmp_path: Path, wrong: str, match: str) -> None:
    """In words, with what to do."""
    server = shared_server()
    quoted = PASSWORD.replace(" ", "%20").replace("/", "%2F").replace("?", "%3F")
    asked = "postgresql://" + wrong.format(
        user=GUARDED, password=quoted, port=server.port, closed=server.port - 1, database=url.rpartition("/")[2]
    )
    with pytest.raises(StoreError, match=match) as caught:
        async with node(asked, tmp_path / "a"):
            pytest.fail("it is wrong")
    assert quoted not in str(caught.value)
    assert ":wrong@" not in str(caught.value)


async def test_a_replica_is_refused(url: str, tmp_path: Path) -> None:
    """It only reads: reports may, serving may not."""
    async with node(url, tmp_path / "a") as one:
        one.ledger.append(rows_of(1))
        await one.ledger.flush()
    name = url.rpartition("/")[2]
    shared_server().run(lambda each: each.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    with pytest.raises(StoreError, match="let `store` name the primary"):
        async with node(url, tmp_path / "a"):
            pytest.fail("it only reads")
    async with open_reader(url, tmp_path) as reader:
        assert len(await reader.exchange("ex_000001")) == 3


async def test_a_server_that_turns_into_a_replica_is_as_one_that_is_away(url: str, tmp_path: Path) -> None:
    """Rows wait, and connections are made anew, for the name may mean another one by then."""
    name = url.rpartition("/")[2]
    server = shared_server()
    async with node(url, tmp_path / "a") as one:
        one.ledger.append(rows_of(1))
        await one.ledger.flush()
        server.run(lambda each: each.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        server.run(lambda each: each.execute(DISCONNECT.replace("$1", name)))
        while not one.ledger.spooled_bytes:
            one.ledger.append(rows_of(2))
            await one.ledger.flush()
        with pytest.raises(StoreUnreachable):
            await one.ledger.settled()
        server.run(lambda each: each.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'))
        while one.ledger.spooled_bytes:
            one.ledger.append(())
            await one.ledger.flush()
        assert await one.requests() == 2


DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$1' AND pid <> pg_backend_pid()"


async def test_the_ledger_keeps_its_currency(url: str, tmp_path: Path) -> None:
    """Amounts in two of them have no sum."""
    async with node(url, tmp_path / "a", currency="CNY") as one:
        one.ledger.append(rows_of(1))
        await one.ledger.flush()
    with pytest.raises(ConfigError, match="is kept in CNY"):
        async with node(url, tmp_path / "a", currency="USD"):
            pytest.fail("it is kept in another")


async def test_a_command_may_have_the_store_for_itself(url: str, tmp_path: Path) -> None:
    """Not while a node serves."""
    async with node(url, tmp_path / "a"):
        with pytest.raises(StoreError, match="in use by a server"):
            async with sole_use(url, tmp_path):
                pytest.fail("a node serves")
    async with sole_use(url, tmp_path):
        pass
