"""Whether a PostgreSQL store is well, as a node would find it."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from penstock.config.settings import Settings
from penstock.config.units import format_size
from penstock.core.findings import Finding, State, fail, ok, warn
from penstock.errors import SchemaTooNew, SchemaTooOld, StoreError
from penstock.ports.clock import Clock
from penstock.ports.leases import Epoch
from penstock.stores.pepper import find_pepper, sign_of
from penstock.stores.postgres import Postgres
from penstock.stores.postgres_leases import PostgresLeases
from penstock.stores.postgres_schema import require_schema
from penstock.stores.queries import load_queries

OLDEST: Final = 14
NODE_CONNECTIONS: Final = 11
SLOW_S: Final = 0.02
"""A request waits for one commit before it is sent on."""
SKEW_S: Final = 1.0
"""Windows of budgets begin by the nodes' own clocks."""
FAR_SKEW_S: Final = 30.0


class _Server(NamedTuple):
    version: int
    name: str
    writable: bool
    durable: bool
    free: int
    size: int
    creates: bool


async def examine_postgres(pool: Postgres, settings: Settings, clock: Clock) -> list[Finding]:
    """What a start on it would find, the clock, and the secret of its keys."""
    queries = load_queries("postgres/checkup")
    try:
        server = _Server(*(await pool.fetch(queries["server"]))[0])
        began = clock.monotonic()
        asked_at, theirs = clock.now(), float(await pool.fetchval(queries["clock"]))
        took_s = clock.monotonic() - began
    except StoreError as error:
        return [fail("store", error.public)]
    skew_s = theirs - (asked_at + took_s / 2)
    findings = [*_server(pool.name, server, took_s), *_clock(skew_s)]
    schema = await _schema(pool, writable=server.creates)
    return [*findings, schema, *(await _moved(pool, settings) if schema.state is State.OK else [])]


async def epoch_of(pool: Postgres) -> Epoch:
    """The one that holds. Raises StoreError."""
    return await PostgresLeases(pool, pool).epoch()


def _server(name: str, server: _Server, took_s: float) -> Iterator[Finding]:
    found = f"{name}: PostgreSQL {server.name}, {format_size(server.size)}, answers in {took_s * 1000:.1f} ms"
    if not server.writable:
        yield fail("store", f"{name} only reads, as a replica does", "let `store` name the primary")
    elif server.version < OLDEST:
        yield fail("store", found, f"Penstock needs PostgreSQL {OLDEST} or newer")
    elif took_s > SLOW_S:
        yield warn("store", found, "every request waits for a commit before it is sent on: put it nearer")
    else:
        yield ok("store", found)
    if not server.durable:
        cure = "set fsync and synchronous_commit on: after a loss of power the ledger may lack what was billed"
        yield warn("store", "it acknowledges rows before they are on its disk", cure)
    if server.free < NODE_CONNECTIONS:
        yield warn(
            "store",
            f"{server.free} connections are left of its max_connections",
            f"a node takes up to {NODE_CONNECTIONS}: raise max_connections, or run fewer nodes",
        )


def _clock(skew_s: float) -> Iterator[Finding]:
    found = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'before'} the store's server"
    cure = "synchronise this machine's clock (NTP): windows of budgets and tariffs begin by it"
    if abs(skew_s) < SKEW_S:
        yield ok("clock", "the same as the store's server has")
    else:
        yield (fail if abs(skew_s) >= FAR_SKEW_S else warn)("clock", f"this machine's clock is {found}", cure)


async def _schema(pool: Postgres, *, writable: bool) -> Finding:
    try:
        await require_schema(pool)
    except SchemaTooOld as error:
        if writable:
            return warn("schema", error.public, "the first `penstock serve` makes what is missing")
        return fail("schema", error.public, "give this user the right to create tables there")
    except SchemaTooNew as error:
        return fail("schema", error.public, "use that Penstock")
    except StoreError as error:
        return fail("schema", error.public, "give this user the rights to the tables there")
    return ok("schema", "up to date")


async def _moved(pool: Postgres, settings: Settings) -> list[Finding]:
    """Whether a move to it has ended, and keys are hashed with the secret they came with."""
    moves = await pool.fetch(load_queries("postgres/checkup")["moves"])
    if any(unfinished for _, unfinished in moves):
        return [fail("move", "a move to this store has not ended", "run `penstock migrate` again: it goes on")]
    wanted = {secret for secret, _ in moves if secret}
    if settings.server.secret is None or not wanted:
        return []
    pepper = find_pepper(settings)
    if pepper is not None and sign_of(pepper) in wanted:
        return [ok("secret", "the one that the keys which were moved here are hashed with")]
    cure = "set PENSTOCK_SECRET to what stood beside the SQLite store: until then these keys are strangers"
    return [fail("secret", "server.secret is not the one that the moved keys are hashed with", cure)]
