"""Leases in PostgreSQL: who may open attempts. The fence is the lock of a lease (docs/adr/0014-many-nodes.md).

Who writes under a lease holds its lock with others; who ends it holds it alone. So when ``end`` returns, all that was
opened under it is there, and nothing more will be. No clock is asked. Raises StoreError; nothing is assumed then.
"""

from collections.abc import Sequence

from penstock.core.records import AttemptRow, ExchangeRow
from penstock.ports.leases import Epoch, Lease
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.postgres import EPOCHS, SPACE, Connection, Postgres, lease_lock
from penstock.stores.postgres_charges import DEAD, ONE, PostgresCharges, Wanted
from penstock.stores.postgres_ledger_reader import PostgresLedgerReader
from penstock.stores.queries import load_queries


class PostgresLeases:
    """The port Leases."""

    def __init__(self, pool: Postgres, reports: Postgres) -> None:
        """``pool``: patient enough to wait for the end of a transaction; ``reports``: for sums."""
        self._pool = pool
        self._charges = PostgresCharges(reports)
        self._reader = PostgresLedgerReader(reports)
        self._queries = load_queries("postgres/leases")

    async def begin(self, node: str) -> int:
        """A new lease of ``node``, a name for people; its id."""

        async def work(connection: Connection) -> int:
            await connection.execute(self._queries["share_epochs"], SPACE, EPOCHS)
            return int(await connection.fetchval(self._queries["begin"], node))

        return await self._pool.write(work)

    async def end(self, lease: int) -> bool:
        """Let nothing be opened under it any more; False when that was so already."""

        async def work(connection: Connection) -> bool:
            ended = await self._end(connection, lease)
            if ended:
                await connection.execute(self._queries["tell"], "leases")
            return ended

        return await self._pool.write(work)

    async def alive(self) -> Sequence[Lease]:
        """Those that have not ended, oldest first."""
        return [Lease(*row) for row in await self._pool.fetch(self._queries["living"])]

    async def epoch(self) -> Epoch:
        """The one that holds."""
        return Epoch(*(await self._pool.fetch(self._queries["epoch"]))[0])

    async def next_epoch(self, redis_id: str, expected: int) -> Epoch:
        """Begin the epoch after ``expected``, on that Redis, and end all leases; or the one that others began."""

        async def work(connection: Connection) -> Epoch:
            await connection.execute(self._queries["lock_epochs"], SPACE, EPOCHS)
            now = Epoch(*await connection.fetchrow(self._queries["epoch"]))
            if now.number != expected:
                return now
            for id_, *_ in await connection.fetch(self._queries["living"]):
                await self._end(connection, id_)
            await connection.execute(self._queries["next_epoch"], expected + 1, redis_id)
            await connection.execute(self._queries["tell"], "epochs")
            return Epoch(expected + 1, redis_id)

        return await self._pool.write(work)

    async def spent(self, lease: int, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``Ledger.posted``, of the attempts of one lease; those that are open count what they hold."""
        return await self._charges.posted(queries, wanted=Wanted(ONE, lease, held=True))

    async def base(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``spent``, of all attempts that are of no living lease."""
        return await self._charges.posted(queries, wanted=Wanted(DEAD, held=True))

    async def open_of(self, lease: int) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """As ``Ledger.open_rows``, of exchanges with an attempt under this lease."""
        return await self._reader.open_rows(lease)

    async def unsettled(self) -> Sequence[int]:
        """Leases that have ended with something open under them; 0 = under none at all."""
        return [int(row[0]) for row in await self._pool.fetch(self._queries["unsettled"])]

    async def _end(self, connection: Connection, lease: int) -> bool:
        await connection.execute(self._queries["lock_lease"], lease_lock(lease))
        return await connection.fetchval(self._queries["end"], lease) is not None
