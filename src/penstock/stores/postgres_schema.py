"""The schema in PostgreSQL, in pairs of migrations.

``NNNN_pre_*.sql`` only adds: it is made before the code that needs it serves, while the code before it still does.
``NNNN_post_*.sql`` takes away what no running code uses any more, when told to. So an unknown ``pre`` is no reason to
stop, and an unknown ``post`` is. Processes that start together take turns by an advisory lock.
"""

from collections.abc import Sequence
from typing import Final

from penstock.errors import SchemaTooNew, SchemaTooOld, StoreError
from penstock.stores.postgres import MIGRATING, REPORT_S, SPACE, Connection, Postgres, connected
from penstock.stores.queries import load_migrations, load_queries

Migrations = Sequence[tuple[str, str]]

FOLDER: Final = "postgres/migrations"

_POST: Final = "post"


async def migrate(url: str, *, post: bool = False, migrations: Migrations | None = None) -> Sequence[str]:
    """Make the migrations that are missing, ``post`` ones too if told so; the names of those that were made.

    Raises StoreError, SchemaTooNew.
    """
    async with connected(url) as pool:
        return await prepare(pool, post=post, migrations=migrations)


async def prepare(pool: Postgres, *, post: bool = False, migrations: Migrations | None = None) -> Sequence[str]:
    """As ``migrate``. A ``post`` migration waits for the ``pre`` ones of its number and of all before it."""
    steps = load_migrations(FOLDER) if migrations is None else migrations

    async def work(connection: Connection) -> Sequence[str]:
        queries = load_queries("postgres/schema")
        if not await connection.fetchval(queries["writable"]):
            raise StoreError(f"the store {pool.name} only reads, as a replica does: let `store` name the primary")
        await connection.execute(queries["lock"], SPACE, MIGRATING, timeout=REPORT_S)
        try:
            return await _made(connection, pool.name, steps, post=post)
        finally:
            if not connection.is_closed():
                await connection.execute(queries["unlock"], SPACE, MIGRATING)

    return await pool.run(work)


async def require_schema(pool: Postgres) -> None:
    """Raises SchemaTooOld, SchemaTooNew, StoreError: for who only reads, and changes nothing."""
    steps = load_migrations(FOLDER)
    applied = await pool.run(_applied)
    if applied is None:
        raise SchemaTooOld(f"there is no store at {pool.name} yet: `penstock serve` creates it")
    _require_known(pool.name, applied, steps)
    missing = [name for name, _ in steps if not _is_post(name) and name not in applied]
    if missing:
        raise SchemaTooOld(
            f"the store {pool.name} lacks {', '.join(missing)}: start `penstock serve` once, which brings it up to date"
        )


async def _made(connection: Connection, name: str, steps: Migrations, *, post: bool) -> Sequence[str]:
    queries = load_queries("postgres/schema")
    applied = await _applied(connection)
    if applied is None:
        if await connection.fetchval(queries["foreign"]):
            raise StoreError(f"{name} is a database with other tables, and not a store of Penstock")
        await connection.execute(queries["begin"])
        applied = set()
    _require_known(name, applied, steps)
    wanted = [step for step in steps if step[0] not in applied and (post or not _is_post(step[0]))]
    for file, script in wanted:
        async with connection.transaction():
            await connection.execute(script, timeout=REPORT_S)
            await connection.execute(queries["note"], file)
    return [file for file, _ in wanted]


async def _applied(connection: Connection) -> set[str] | None:
    """The names of those that were made; None where nothing of ours is."""
    queries = load_queries("postgres/schema")
    if not await connection.fetchval(queries["known"]):
        return None
    return {str(row[0]) for row in await connection.fetch(queries["applied"])}


def _require_known(name: str, applied: set[str], steps: Migrations) -> None:
    unknown = sorted(each for each in applied - {file for file, _ in steps} if _is_post(each))
    if unknown:
        raise SchemaTooNew(
            f"the store {name} has seen {', '.join(unknown)}, of a newer Penstock than this one: use that one"
        )


def _is_post(file: str) -> bool:
    return file.split("_")[1] == _POST
