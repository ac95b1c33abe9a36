"""``penstock serve`` where a server is not as it should be: it ends at once, and says in a line what to do."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.stores.postgres_schema import FOLDER, migrate
from penstock.stores.queries import load_migrations
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.postgres_server import GUARDED, PostgresServer, shared_server
from tests.support.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.e2e

SERVER = {"secret": "a-secret-that-all-nodes-share"}
WORD = "wrong-word"


@pytest.fixture
def postgres() -> PostgresServer:
    """One that runs."""
    return shared_server()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that keeps nothing, and lets in who knows its password."""
    with redis_server(password="sesame") as started:
        yield started


def refused(directory: Path, store: str, shared: str | None = None) -> str:
    """What a start says that ends with 1."""
    gateway = GatewayProcess(directory)
    gateway.configure(store=store, server=SERVER, **({} if shared is None else {"shared": shared}))
    with pytest.raises(AssertionError, match="it ended with 1") as caught:
        gateway.start()
    assert "Traceback" not in gateway.stderr
    assert WORD not in gateway.stderr
    return str(caught.value).partition("\n")[2]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("{guarded}:wrong-word@127.0.0.1:{port}/{database}", "password authentication failed"),
        ("penstock@127.0.0.1:{port}/nowhere", "create the database, or correct its name in `store`"),
        ("penstock@127.0.0.1:1/{database}", "cannot be used"),
        ("penstock:wrong-word/x@127.0.0.1:{port}/{database}", "it is no URL of a database"),
        ("penstock@127.0.0.1:{port}/{database}?sslmode=verify-full", "its `sslmode` wants a CA: name its file"),
    ],
)
def test_a_wrong_dsn(tmp_path: Path, postgres: PostgresServer, where: str, words: str) -> None:
    """A password, a database, a port, a URL, no CA to check the server by."""
    name = f"dsn_{tmp_path.name[-30:]}"
    postgres.fresh(name)
    said = refused(tmp_path, "postgresql://" + where.format(guarded=GUARDED, port=postgres.port, database=name))
    assert words in said


async def test_a_newer_schema(tmp_path: Path, postgres: PostgresServer) -> None:
    """A newer Penstock took away what this one needs."""
    url = postgres.fresh(f"newer_{tmp_path.name}")
    newer = ("0099_post_less.sql", "ALTER TABLE keys DROP COLUMN team")
    await migrate(url, post=True, migrations=[*load_migrations(FOLDER), newer])
    assert "of a newer Penstock than this one: use that one" in refused(tmp_path, url)


async def test_a_missing_migration_is_made(tmp_path: Path, postgres: PostgresServer) -> None:
    """By the start; a command that only reads says what is missing."""
    url = postgres.empty(f"older_{tmp_path.name}")
    await migrate(url, migrations=load_migrations(FOLDER)[:1])
    gateway = GatewayProcess(tmp_path)
    gateway.configure(store=url, server=SERVER)
    with pytest.raises(AssertionError, match=r"lacks 0002_pre_moves\.sql.*start `penstock serve` once"):
        gateway.command("spend")
    gateway.start()
    assert gateway.stop() == 0
    gateway.command("spend")


def test_a_replica(tmp_path: Path, postgres: PostgresServer) -> None:
    """It only reads."""
    name = f"replica_{tmp_path.name}"
    url = postgres.fresh(name)
    postgres.run(lambda each: each.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    assert "let `store` name the primary" in refused(tmp_path, url)


def test_a_wrong_password_of_redis(tmp_path: Path, postgres: PostgresServer, redis: RedisServer) -> None:
    """And no Redis at all, and no file of the CA that the URL names."""
    url = postgres.fresh(f"redis_{tmp_path.name}")
    assert "WRONGPASS" in refused(tmp_path, url, redis.url.replace("sesame", WORD))
    assert "does not answer" in refused(tmp_path, url, f"redis://:{WORD}@127.0.0.1:1/0")
    without_tls = f"rediss://:{WORD}@127.0.0.1:{redis.port}?sslrootcert=/nowhere/ca.pem"
    assert "/nowhere/ca.pem: No such file" in refused(tmp_path, url, without_tls)


@pytest.mark.parametrize("aof", [False, True])
def test_what_a_restart_of_redis_takes(tmp_path: Path, postgres: PostgresServer, aof: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Is said at the start, in a line."""
    with redis_server(aof=aof) as redis:
        sections: dict[str, Any] = {"store": postgres.fresh(f"takes_{tmp_path.name}"), "shared": redis.url}
        with gateway_process(tmp_path, server=SERVER, **sections) as gateway:
            (line,) = (line for line in gateway.stderr.splitlines() if "what nodes share" in line)
    kept = "an append-only file outlives a restart" if aof else "no persistence"
    assert f"{kept}{';' if aof else ':'} leases only, budgets safe" in line


def test_migrate_is_refused_while_a_server_has_either_side(tmp_path: Path, postgres: PostgresServer) -> None:
    """And where the secret of the keys is gone; with nobody there it is done."""
    url = postgres.fresh(f"moving_{tmp_path.name}")
    with gateway_process(tmp_path, server=SERVER, store=url) as gateway:
        source = GatewayProcess(tmp_path / "old")
        source.directory.mkdir()
        source.configure(store="sqlite:penstock.db")
        source.start()
        with pytest.raises(AssertionError, match="in use by another server"):
            source.command("migrate", "--to", url)
        assert source.stop() == 0
        with pytest.raises(AssertionError, match="in use by a server"):
            source.command("migrate", "--to", url)
        gateway.signal(signal.SIGTERM)
        gateway.wait()
    assert "nothing to do" not in source.command("migrate", "--to", url)
    source.command("keys", "create", "shop")
    (source.directory / "penstock.db.secret").unlink()
    with pytest.raises(AssertionError, match="hashed with a secret that is not there"):
        source.command("migrate", "--to", url)
