"""``penstock doctor``: each thing that may be wrong is named in a line, with what to do; and never a secret."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from penstock.cli.doctor_here import examine_here
from penstock.cli.main import run
from penstock.clock import SystemClock
from penstock.config.load import load
from penstock.providers.registry import KINDS
from penstock.stores.checkup import examine_store
from penstock.stores.move import move
from penstock.stores.pepper import sign_of
from penstock.stores.postgres_schema import FOLDER, migrate
from penstock.stores.queries import load_migrations
from penstock.stores.sqlite import connect, prepare
from tests.support.commands import Place
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres_server import GUARDED, PASSWORD, PostgresServer, shared_server
from tests.support.redis_server import RedisServer, redis_cluster, redis_server

DEEPSEEK = {"kind": "deepseek", "api_key": "sk-of-the-provider", "base_url": "http://127.0.0.1:1"}
SECRET = "0123456789abcdef0123456789abcdef"
QUOTED = PASSWORD.replace(" ", "%20").replace("/", "%2F").replace("?", "%3F")


@pytest.fixture
def postgres() -> PostgresServer:
    """One that runs."""
    return shared_server()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One that runs, and keeps nothing."""
    with redis_server() as started:
        yield started


@pytest.fixture
def url(postgres: PostgresServer, tmp_path: Path) -> str:
    """A database with the newest schema."""
    return postgres.fresh(f"doctor_{tmp_path.name[-40:]}")


class Doctor:
    """Examines configs, and reads what it is told."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.said = ""

    def __call__(self, code: int = 0, **sections: Any) -> list[tuple[str, str, str]]:
        """Check, state and the rest of each line; the doctor must end with ``code``."""
        server = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
        server |= {"admin_token": "t0ken-of-the-admin", **sections.pop("server", {})}
        document = {"server": server, "currency": "CNY", **sections}
        (self._place.directory / "penstock.yaml").write_text(yaml.safe_dump(document))
        rows = self._run(code)
        return [(row["check"], row["state"], f"{row['found']}; {row['do']}") for row in rows]

    def nodes(self, store: str, shared: str | None = None, code: int = 0, **more: Any) -> list[tuple[str, str, str]]:
        """As it is where many nodes serve."""
        server = {"secret": SECRET, **more.pop("server", {})}
        given = {} if shared is None else {"shared": shared}
        return self(code, store=store, server=server, **given, **more)

    def _run(self, code: int) -> list[dict[str, str]]:
        printed = self._place.run("doctor", "--format", "json", code=code)
        self.said = printed + self._place.errors + self._place.run("doctor", code=code) + self._place.errors
        rows: list[dict[str, str]] = msgspec.json.decode(printed)["rows"]
        return rows


@pytest.fixture
def doctor(place: Place) -> Iterator[Doctor]:
    """It never says what is secret."""
    made = Doctor(place)
    yield made
    for secret in (SECRET, PASSWORD, QUOTED, "t0ken-of-the-admin", "sk-of-the-provider"):
        assert secret not in made.said


def found(lines: list[tuple[str, str, str]], check: str, state: str, *words: str) -> bool:
    """Whether a line says so."""
    return any(line[:2] == (check, state) and all(word in line[2] for word in words) for line in lines)


def failures(lines: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What is not well."""
    return [line for line in lines if line[1] == "fail"]


# --- by itself


def test_a_fresh_config_is_well(doctor: Doctor) -> None:
    """Nothing is there yet, and a start would make it; nothing is made by looking."""
    lines = doctor(store="sqlite:new/penstock.db")
    assert {state for _, state, _ in lines} == {"ok"}
    assert found(lines, "store", "ok", "not there yet")
    assert found(lines, "keys", "ok", "open")
    assert "0 fail" in doctor.said


def test_a_config_with_mistakes_is_told_of(doctor: Doctor) -> None:
    """Each of them is a line; nothing else is looked at."""
    lines = doctor(1, store="sqlite:a.db", colour="red", limits={"max_body": "much"})
    assert [check for check, _, _ in lines] == ["config", "config"]


def test_the_table_is_a_line_each(doctor: Doctor, place: Place) -> None:
    """State, check, words; then how many of each."""
    doctor(store="sqlite:a.db")
    lines = place.run("doctor").splitlines()
    assert lines[-1].endswith("0 fail")
    assert all(line.split()[0] in {"ok", "warn", "fail"} for line in lines[:-1])
    assert place.run("doctor", "--format", "csv").startswith("check,state,found,do\n")


def test_a_sqlite_store_of_another_time(doctor: Doctor, tmp_path: Path) -> None:
    """An older one is brought up to date by a start; a newer one needs its Penstock; another file is none."""
    path = tmp_path / "a.db"
    prepare(path, load_migrations()[:-1])
    assert found(doctor(store="sqlite:a.db"), "store", "warn", "lacks", "penstock serve")
    prepare(path)
    path.chmod(0o644)
    lines = doctor(store="sqlite:a.db")
    assert found(lines, "store", "ok", "schema")
    assert found(lines, "store file", "warn", "chmod 600")
    connection = connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert found(doctor(1, store="sqlite:a.db"), "store", "fail", "schema 99", "newer Penstock")
    (tmp_path / "b.db").write_text("not a database, by any means" * 100)
    assert found(doctor(1, store="sqlite:b.db"), "store", "fail", "not a database")


def test_the_secret_of_keys(doctor: Doctor, place: Place, tmp_path: Path) -> None:
    """Who may read it, and that it is there."""
    (tmp_path / "penstock.yaml").write_text("store: sqlite:a.db\n")
    place.run("keys", "create", "shop")
    assert found(doctor(store="sqlite:a.db"), "secret", "ok", "a.db.secret")
    (tmp_path / "a.db.secret").chmod(0o640)
    assert found(doctor(store="sqlite:a.db"), "secret", "warn", "chmod 600")
    (tmp_path / "a.db.secret").unlink()
    assert found(doctor(1, store="sqlite:a.db"), "secret", "fail", "1 keys are hashed")
    assert found(doctor(store="sqlite:a.db", server={"secret": "short"}), "secret", "warn", "openssl")
    unguarded = doctor(store="sqlite:a.db", server={"secret": SECRET, "admin_token": None})
    assert found(unguarded, "keys", "warn", "nobody may administer")


def test_addresses_that_are_taken(doctor: Doctor) -> None:
    """By another program; and a gateway that others reach needs a key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lines = doctor(1, store="sqlite:a.db", server={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
    assert found(lines, "ports", "fail", "is in use")
    assert found(doctor(1, server={"listen": "0.0.0.0:0"}), "keys", "fail", "no key yet")


def test_providers_are_met_and_not_asked(doctor: Doctor) -> None:
    """A name that is none, a port where nobody listens, one that does; and not at all with --offline."""
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as gone:
        ports = there.getsockname()[1], gone.getsockname()[1]
        gone.close()
        urls = {"there": f"http://127.0.0.1:{ports[0]}/v1", "gone": f"http://127.0.0.1:{ports[1]}/v1"}
        urls["plain"] = f"https://127.0.0.1:{ports[0]}/v1"
        one = {"kind": "openai", "api_key": "sk-of-the-provider"}
        sections: dict[str, Any] = {
            "providers": {name: {**one, "base_url": url} for name, url in urls.items()},
            "models": {"m": {"deployments": [{"provider": name} for name in urls]}},
            "timeouts": {"connect": "300ms"},
            "fx": {"USD": 7},
        }
        lines = doctor(1, store="sqlite:a.db", **sections)
    assert found(lines, "provider there", "ok", "connects in")
    assert found(lines, "provider gone", "fail", "connect:", "base_url")
    assert found(lines, "provider plain", "fail", "nothing within")
    assert found(lines, "prices", "warn", "there/m is not priced")
    budgets = [{"name": "all", "scope": "global", "limit": "1 CNY", "window": "month"}]
    assert found(doctor(1, store="sqlite:a.db", budgets=budgets, **sections), "prices", "fail", "refused")


def test_offline_leaves_providers_alone(doctor: Doctor, place: Place) -> None:
    """Whatever they are."""
    lines = doctor(1, store="sqlite:a.db", providers={"deepseek": DEEPSEEK})
    assert found(lines, "provider deepseek", "fail")
    assert "left alone" in place.run("doctor", "--offline")


@pytest.mark.parametrize(("year", "state"), [(2026, "ok"), (2099, "warn")])
def test_a_year_without_a_calendar(tmp_path: Path, year: int, state: str) -> None:
    """Is told of before the bill does."""
    (tmp_path / "penstock.yaml").write_text(yaml.safe_dump({"providers": {"deepseek": DEEPSEEK}}))
    settings = load(tmp_path / "penstock.yaml", {}, registry=KINDS)
    now = datetime(year, 5, 1, tzinfo=UTC).timestamp()
    (told,) = (each for each in examine_here(settings, 0, now) if each.check == "holidays")
    assert (told.state, str(year) in told.found) == (state, True)


# --- PostgreSQL


def test_postgresql_that_is_well(doctor: Doctor, url: str) -> None:
    """Reachable, its version, its schema, the clock; what is not durable is told of."""
    lines = doctor.nodes(url)
    assert failures(lines) == []
    assert found(lines, "store", "ok", "PostgreSQL", "answers in")
    assert found(lines, "clock", "ok")
    assert found(lines, "schema", "ok")
    assert found(lines, "store", "warn", "fsync")  # the server of these tests is started so


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("guarded:wrong-word@127.0.0.1:{port}/{database}", ("password authentication failed", "user and password")),
        ("penstock@127.0.0.1:{port}/nowhere", ("does not exist", "create the database")),
        ("penstock@127.0.0.1:1/{database}", ("cannot be used",)),
        ("penstock:wrong-word@127.0.0.1:x/{database}", ("no URL of a database",)),
        ("penstock:wrong-word/and@127.0.0.1:{port}/{database}", ("no URL of a database", "%xx")),
    ],
)
def test_a_store_that_cannot_be_reached(
    doctor: Doctor, postgres: PostgresServer, url: str, wrong: str, words: tuple[str, ...]
) -> None:
    """A wrong DSN, a wrong password, no such database, nobody there: in words, without the password."""
    asked = wrong.format(port=postgres.port, database=url.rpartition("/")[2])
    lines = doctor.nodes(f"postgresql://{asked}", code=1)
    assert found(lines, "store", "fail", *words)
    assert "wrong-word" not in doctor.said


def test_the_right_password_is_kept_to_itself(doctor: Doctor, postgres: PostgresServer, url: str) -> None:
    """Also where it is right and all else is wrong."""
    lines = doctor.nodes(postgres.url(url.rpartition("/")[2], f"{GUARDED}:{QUOTED}"), code=1)
    assert found(lines, "schema", "fail", "permission denied", "rights")


def test_schemas_of_other_times(doctor: Doctor, postgres: PostgresServer, tmp_path: Path) -> None:
    """None yet, a missing migration, one of a newer Penstock that took something away."""
    name = f"schemas_{tmp_path.name}"
    url = postgres.empty(name)
    assert found(doctor.nodes(url), "schema", "warn", "no store", "penstock serve")
    _run(migrate(url, migrations=load_migrations(FOLDER)[:1]))
    assert found(doctor.nodes(url), "schema", "warn", "lacks 0002")
    newer = ("0099_post_less.sql", "ALTER TABLE keys DROP COLUMN team")
    _run(migrate(url, post=True, migrations=[*load_migrations(FOLDER), newer]))
    assert found(doctor.nodes(url, code=1), "schema", "fail", "newer Penstock")


def test_a_replica_is_no_store(doctor: Doctor, postgres: PostgresServer, url: str) -> None:
    """It only reads."""
    name = url.rpartition("/")[2]
    postgres.run(lambda each: each.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    assert found(doctor.nodes(url, code=1), "store", "fail", "let `store` name the primary")


class Skewed(SystemClock):
    """A machine whose clock is wrong."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def now(self) -> float:
        """What it says."""
        return super().now() + self._by_s


@pytest.mark.parametrize(("skew_s", "state"), [(31.0, "fail"), (-31.0, "fail"), (5.0, "warn"), (0.2, "ok")])
async def test_a_clock_that_is_wrong(url: str, tmp_path: Path, skew_s: float, state: str) -> None:
    """This machine's, against the store's server: half a minute is too much."""
    (tmp_path / "penstock.yaml").write_text(yaml.safe_dump({"store": url, "server": {"secret": SECRET}}))
    settings = load(tmp_path / "penstock.yaml", {}, registry=KINDS)
    (told,) = (each for each in await examine_store(settings, Skewed(skew_s)) if each.check == "clock")
    assert told.state == state
    if state != "ok":
        assert f"{abs(skew_s):.0f}" in told.found
        assert ("before" if skew_s > 0 else "behind") in told.found
        assert "NTP" in told.do


def test_the_secret_goes_with_the_keys(doctor: Doctor, postgres: PostgresServer, tmp_path: Path) -> None:
    """After a move: another one makes strangers of all keys; a move that has not ended is told of."""
    url = postgres.empty(f"secrets_{tmp_path.name}")
    prepare(tmp_path / "a.db")
    for secret in (SECRET, "another-one-that-is-long-enough"):
        _run(_moved(tmp_path, url, sign_of(secret.encode())))
        state = "ok" if secret == SECRET else "fail"
        lines = doctor.nodes(url, code=0 if secret == SECRET else 1)
        assert found(lines, "secret", state, "moved")
        postgres.run(lambda each: each.execute("DELETE FROM moves"), url.rpartition("/")[2])
    postgres.run(
        lambda each: each.execute("INSERT INTO moves (source, state, secret) VALUES ('x', '{}', '')"),
        url.rpartition("/")[2],
    )
    assert found(doctor.nodes(url, code=1), "move", "fail", "penstock migrate")
    assert found(doctor(1, store=url, server={"secret": None}), "secret", "fail", "PENSTOCK_SECRET")


async def _moved(directory: Path, url: str, sign: str) -> None:
    await move("sqlite:a.db", directory, url, "CNY", sign, lambda *_told: None)


def _run(work: Any) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)


# --- Redis


def test_redis_that_keeps_nothing_is_well(doctor: Doctor, url: str, redis: RedisServer) -> None:
    """It says what is lost with it: leases only."""
    lines = doctor.nodes(url, redis.url)
    assert failures(lines) == []
    assert found(lines, "shared", "ok", "Redis", "round trip")
    assert found(lines, "shared", "ok", "no persistence: leases only, budgets safe")
    assert found(lines, "epoch", "ok", "none in Redis")


def test_redis_that_keeps_everything_says_so(doctor: Doctor, url: str) -> None:
    """By its append-only file; the password is nobody's business, and a wrong one is told of."""
    with redis_server(aof=True, password="sesame-of-redis") as server:
        assert found(doctor.nodes(url, server.url), "shared", "ok", "append-only")
        assert "sesame-of-redis" not in doctor.said
        wrong = server.url.replace("sesame-of-redis", "wrong-word")
        lines = doctor.nodes(url, wrong, code=1)
        assert found(lines, "shared", "fail", "WRONGPASS", "password in `shared`")
        assert "wrong-word" not in doctor.said


def test_redis_that_may_not_evict(doctor: Doctor, url: str, redis: RedisServer) -> None:
    """Noeviction is wanted; full under it, it takes no writes."""
    try:
        for policy, words in (("allkeys-lru", "begin anew"), ("volatile-ttl", "before their time")):
            redis.call("CONFIG", "SET", "maxmemory-policy", policy)
            assert found(doctor.nodes(url, redis.url), "shared", "warn", policy, words, "noeviction")
        redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis.call("CONFIG", "SET", "maxmemory", "1")
        lines = doctor.nodes(url, redis.url, code=1)
        assert found(lines, "shared", "warn", "of its maxmemory")
        assert found(lines, "shared", "fail", "OOM", "raise maxmemory")
    finally:
        redis.call("CONFIG", "SET", "maxmemory", "0")


def test_a_redis_that_is_away_or_far(doctor: Doctor, url: str, redis: RedisServer) -> None:
    """Nobody there, a URL that is none, a round trip that takes too long, a replica."""
    with fault_proxy(redis.port) as proxy:
        proxy.set(latency_s=0.03)
        far = doctor.nodes(url, f"redis://127.0.0.1:{proxy.port}", code=1)
        assert found(far, "shared", "fail", "give up after 50 ms")
        proxy.set(black_hole=True)
        assert found(doctor.nodes(url, f"redis://127.0.0.1:{proxy.port}", code=1), "shared", "fail")
    assert found(doctor.nodes(url, "redis://127.0.0.1:1", code=1), "shared", "fail", "does not answer", "shared")
    with redis_server() as replica:
        replica.call("REPLICAOF", "127.0.0.1", redis.port)
        with suppress(AssertionError):
            lines = doctor.nodes(url, replica.url, code=1)
            assert found(lines, "shared", "fail", "is a replica", "primary")
            assert found(lines, "shared", "fail", "READONLY")
            return
    pytest.fail("a replica is not well")


def test_the_epoch_of_both(doctor: Doctor, url: str, redis: RedisServer) -> None:
    """The same is well; a Redis ahead of PostgreSQL belongs to another gateway."""
    head = "{penstock:money}:head"
    try:
        redis.call("HSET", head, "epoch", 0)
        assert found(doctor.nodes(url, redis.url), "epoch", "ok", "in Redis as in PostgreSQL")
        redis.call("HSET", head, "epoch", 7)
        assert found(doctor.nodes(url, redis.url, code=1), "epoch", "fail", "7 in Redis is ahead of 0")
    finally:
        redis.call("DEL", head)


def test_a_cluster_with_and_without_all_its_slots(doctor: Doctor, url: str) -> None:
    """Three masters serve; without one, what is lent may be out of reach."""
    with redis_cluster() as cluster:
        assert found(doctor.nodes(url, cluster.url), "shared", "ok", "a cluster of 3 masters")
        cluster.servers[0].call("CONFIG", "SET", "cluster-require-full-coverage", "no")
        for server in cluster.servers:
            server.call("CLUSTER", "DELSLOTS", 7)
        assert failures(doctor.nodes(url, cluster.url, code=1))


def test_the_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Both of them."""
    assert run(["--help"]) == 0
    assert {"doctor", "migrate"} <= set(capsys.readouterr().out.split())
