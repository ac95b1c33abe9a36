"""The store that is moved to: rows of a piece and how far it has come in one transaction, so that each is there once.

Commits do not wait for the disk, but for the last: a server that loses power loses rows and marks alike, from the end.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock.errors import StoreError
from penstock.stores.months import Months
from penstock.stores.move_parts import Key, Piece
from penstock.stores.postgres import Connection, Postgres
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.postgres_sums import PostgresSums
from penstock.stores.queries import load_queries


class Begun(NamedTuple):
    """A move that began here."""

    source: str
    state: Mapping[str, Sequence[int]]
    secret: str
    ended: bool
    ended_at: str


class Mark(NamedTuple):
    """How far a part has come."""

    after: Key
    rows: int


async def require_whole(pool: Postgres) -> None:
    """Raises StoreError where a move to this store began and did not end: budgets would go by half a ledger."""
    if await pool.fetchval(load_queries("postgres/move")["unfinished"]):
        raise StoreError(
            f"the store {pool.name} is being moved to, and not whole yet: run `penstock migrate` again, it goes on"
        )


class MoveTarget:
    """Writes to a database that nobody serves from. Raises StoreError."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._partitions = Partitions()
        self._months = Months()
        self._queries = load_queries("postgres/move")

    async def begun(self) -> Sequence[Begun]:
        """Every move that ever began here: one at most."""
        rows = await self._pool.fetch(self._queries["moves"])
        return [Begun(source, json.loads(state), *rest) for source, state, *rest in rows]

    async def is_used(self) -> bool:
        """Whether there are rows of anybody."""
        return bool(await self._pool.fetchval(self._queries["used"]))

    async def begin(self, source: str, state: Mapping[str, Sequence[int]], secret: str) -> None:
        """Begin, or begin anew: what was moved before is forgotten."""

        async def work(connection: Connection) -> None:
            await connection.execute(self._queries["forget"])
            await connection.execute(self._queries["begin"], source, json.dumps(state), secret)

        await self._pool.write(work)

    async def marks(self) -> Mapping[str, Mark]:
        """How far each part has come."""
        rows = await self._pool.fetch(self._queries["marks"])
        return {part: Mark(tuple(json.loads(after)), rows) for part, after, rows in rows}

    async def write(self, piece: Piece, rows: int) -> None:
        """``rows``: of this part, with these."""
        try:
            await self._write(piece, rows)
        except StoreError as error:
            if not self._pool.refuses(error.__cause__ or error):
                raise
            await self._write(piece.readable(), rows)

    async def _write(self, piece: Piece, rows: int) -> None:
        columns, months = piece.columns(self._months)
        query, mark = self._queries[piece.part.name], (piece.part.name, json.dumps(piece.after), rows)

        async def work(connection: Connection) -> None:
            await self._partitions.see_to(connection, months)
            async with connection.transaction():
                await connection.execute(query, *columns)
                await connection.execute(self._queries["mark"], *mark)

        await self._pool.run(work)

    async def count(self, counters: Sequence[tuple[str, int]]) -> None:
        """Let whoever looks see that something has changed."""

        async def work(connection: Connection) -> None:
            await connection.executemany(self._queries["counter"], counters)

        await self._pool.write(work)

    async def sum_up(self) -> int:
        """Some days, so that the first report is as quick as later ones; how many quarters of an hour that were."""
        return await PostgresSums(self._pool, quiet_s=0.0).sweep()

    async def look(self) -> None:
        """Let the server see what it has got, for its plans."""
        await self._pool.run(lambda connection: connection.execute(self._queries["analyze"]))

    async def sums(self) -> Sequence[Sequence[Any]]:
        """To be compared."""
        return await self._pool.fetch(self._queries["sums"])

    async def end(self, source: str) -> None:
        """It is all there, and on the disk."""

        async def work(connection: Connection) -> None:
            await connection.execute(self._queries["durable"])
            await connection.execute(self._queries["end"], source)

        await self._pool.write(work)
