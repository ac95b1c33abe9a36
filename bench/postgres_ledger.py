"""PostgreSQL as the ledger: rows per second from one node, and a month of ten million rows summed up and asked for.

    python bench/postgres_ledger.py [EXCHANGES]

Starts a server of its own, on loopback, without fsync: what is measured is our statements and the server's work on
them, not a disk. Rows of the month are made by the server itself. An exchange is three rows.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from penstock.clock import SystemClock
from penstock.core.records import LedgerRow
from penstock.ports.ledger import PostedQuery, SpendQuery
from penstock.stores.months import begin_of
from penstock.stores.open import open_stores
from penstock.stores.postgres import connected
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.postgres_sums import PostgresSums
from tests.support.ledger_rows import attempt_row, exchange_row, share_row
from tests.support.postgres_server import PostgresServer, binaries

EXCHANGES: Final = 3_400_000
WRITTEN: Final = 20_000
MONTH: Final = 2026 * 12 + 9
DAYS: Final = 31

MADE: Final = """
CREATE TEMP TABLE made AS
SELECT
    n, $1::float8 + n * ($2::float8 / $3::float8) AS at,
    'model-' || n % 7 AS model, 'user-' || (n * 7919) % 5000 AS "user", 'team-' || n % 20 AS team,
    'key-' || n % 50 AS key_name,
    lpad(to_hex((($1::float8 + n * ($2::float8 / $3::float8)) * 1000)::bigint), 12, '0')
        || lpad(to_hex(n), 20, '0') AS id
FROM generate_series(0, $4::bigint - 1) AS n;
INSERT INTO exchanges
SELECT $5::int, 'ex_' || id, at, 'chat', model, 'deepseek/' || model, '', key_name, team, "user",
    CASE n % 3 WHEN 0 THEN '' ELSE '{"feature":"f' || n % 11 || '"}' END, 'ok', 200, 'miss', 0, 1,
    800, 200, 0, 300, 0, 0, 900000, 700000, 'CNY', 1.5, 0.4, 0.001, '', 0, '', '' FROM made;
INSERT INTO attempts
SELECT $5::int, 'ex_' || id, 'at_' || id, at + 0.01, at + 1.5, 'deepseek', 'deepseek/' || model, '', 'ok', 200,
    'up' || n, 800, 200, 0, 300, 0, 0, 700000, 'CNY', '1', 700000, 'book', 900000, 2000, 0, 0, 1 FROM made;
INSERT INTO shares SELECT $5::int, 'ex_' || id, 'at_' || id, 'direct', 700000 FROM made;
ANALYZE exchanges; ANALYZE attempts; ANALYZE shares;
"""


async def timed(what: str, work: Awaitable[Any]) -> Any:
    """The result, and a line that says how long it took."""
    began = time.perf_counter()
    result = await work
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)  # noqa: T201 - a script
    return result


async def write(url: str, directory: Path) -> None:
    """Exchanges of three rows, as fast as the ledger takes them."""
    stores = await open_stores(
        url, directory, max_answer_bytes=0, sync="normal", on_lost=lambda _rows, why: sys.exit(why), clock=SystemClock()
    )
    now = time.time()
    groups: list[list[LedgerRow]] = []
    for number in range(WRITTEN):
        id_ = f"{int(now * 1000):012x}{number:020x}"
        exchange, attempt = f"ex_{id_}", f"at_{id_}"
        groups.append([exchange_row(exchange, at=now), attempt_row(attempt, exchange), share_row(attempt, exchange, 7)])
    await stores.ledger.flush()
    for _ in range(2):
        began, cpu = time.perf_counter(), time.process_time()
        for number, group in enumerate(groups):
            stores.ledger.append(group)
            if not number % 300:
                await stores.ledger.flush()
        await stores.ledger.flush()
        took, burnt = time.perf_counter() - began, time.process_time() - cpu
        rows = 3 * WRITTEN
        print(f"ledger: {rows / took:,.0f} rows/s, {burnt / rows * 1e6:.1f} us of our CPU per row", flush=True)  # noqa: T201 - a script
        groups = [[replaced(row) for row in group] for group in groups]
    await stores.close()


def replaced(row: Any) -> Any:
    """The same again under another name."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    for name in ("id", "exchange_id", "attempt_id"):
        if name in fields:
            fields[name] = fields[name] + "x"
    return type(row)(**fields)


async def report(url: str, exchanges: int) -> None:
    """A month, row by row and from sums."""
    since = begin_of(MONTH)
    until = begin_of(MONTH + 1)
    async with connected(url, deadline_s=1200) as pool:
        await pool.run(lambda connection: Partitions().see_to(connection, [MONTH]))
        span = float(DAYS * 86_400)
        await timed(f"made {3 * exchanges:,} rows", pool.run(lambda each: make(each, since, span, exchanges)))
    from_rows = SpendQuery("model", since, until, "Asia/Shanghai")
    async with connected(url, deadline_s=1200) as pool:
        reader = PostgresLedgerReader(pool)
        if exchanges < EXCHANGES:
            await timed("spend of the month by model, row by row", reader.spend(from_rows))
        done = await timed("summing it up", PostgresSums(pool).sweep(most=99))
        print(f"summed up {done} quarters", flush=True)  # noqa: T201 - a script
        for by in ("model", "user", "tag", "day"):
            query = from_rows.__class__(by, since, until, "Asia/Shanghai")
            _, total = await timed(f"spend of the month by {by}, from sums", reader.spend(query))
            assert total.requests == exchanges  # noqa: S101 - else it measures something else
        asked = [PostedQuery(scope, since, until) for scope in ("global", "user", "key")]
        await timed("posted of the month for three scopes", reader.posted(asked, excluding=()))


async def make(connection: Any, since: float, span: float, exchanges: int) -> None:
    """The rows, by the server."""
    for statement in filter(str.strip, MADE.split(";\n")):
        values = {"$1": since, "$2": span, "$3": exchanges, "$4": exchanges, "$5": MONTH}
        for name, value in values.items():
            statement = statement.replace(name, str(value))  # noqa: PLW2901 - numbers of ours
        await connection.execute(statement)


def main() -> None:
    """Measure."""
    exchanges = int(sys.argv[1]) if len(sys.argv) > 1 else EXCHANGES
    programs = binaries()
    if programs is None:
        sys.exit("there is no PostgreSQL on this machine")
    server = PostgresServer(programs)
    try:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(write(server.fresh("written"), Path(directory)))
        asyncio.run(report(server.fresh("month"), exchanges))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
