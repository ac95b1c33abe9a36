"""The port AuditStore in PostgreSQL: questions that no request asks, and the one change that settled rows may see.

Re-rating fills in what is NULL and nothing else. A row that got its charge meanwhile keeps it, and then the whole group
is given up, because its costs were summed without that. Sums that hold what is changed are taken out of use.
"""

from collections.abc import Sequence

from penstock.core.reconcile import Balance, Charges
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.rerate import Entry
from penstock.errors import StoreError
from penstock.ports.ledger import Extent
from penstock.stores.months import Months
from penstock.stores.postgres import SPACE, SUMMING, Connection, Postgres
from penstock.stores.postgres_ledger_reader import book_currency
from penstock.stores.queries import load_queries
from penstock.stores.rows import read_attempt, read_exchange, read_share, share_values


class PostgresAudit:
    """The port AuditStore. Durable when a call returns."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        self._months = Months()
        self._queries = {**load_queries("postgres/ledger"), **load_queries("postgres/audit")}

    async def currency(self) -> str | None:
        """Of the ledger's book; None while it is empty."""
        return await book_currency(self._pool)

    async def extent(self, provider: str, billed_at: str) -> Extent | None:
        """When calls to ``provider`` were charged; None = never."""
        ((since, until),) = await self._pool.fetch(self._queries["extent"], provider, billed_at)
        return None if since is None else Extent(since, until)

    async def charges(self, provider: str, since: float, until: float, billed_at: str) -> Sequence[Charges]:
        """What calls were charged whose tariff instant is in [since, until), per quarter, deployment and currency."""
        rows = await self._pool.fetch(self._queries["charges"], provider, since, until, billed_at)
        return [Charges(*row) for row in rows]

    async def unpriced(self, after: tuple[float, str], limit: int) -> Sequence[Entry]:
        """Up to ``limit`` exchanges that lack a cost, a baseline or an attempt's charge, after the one at ``after``."""

        async def work(connection: Connection) -> Sequence[Entry]:
            rows = await connection.fetch(self._queries["unpriced"], *after, limit)
            return [await self._entry(connection, read_exchange(row)) for row in rows]

        return await self._pool.view(work)

    async def rerate(self, changed: Sequence[Entry]) -> None:
        """Write charges, shares, costs and baselines in one transaction. Raises StoreError where a charge is there."""
        times = [each.exchange.at for each in changed] + [row.started_at for each in changed for row in each.attempts]

        async def work(connection: Connection) -> None:
            await connection.execute(self._queries["lock"], SPACE, SUMMING)
            for entry in changed:
                await self._rerate(connection, entry)
            await connection.execute(self._queries["touch"], times)
            await connection.execute(self._queries["unsum"], times)

        await self._pool.write(work)

    async def last_balances(self, provider: str) -> Sequence[Balance]:
        """The youngest snapshot of each currency."""
        return [Balance(*row) for row in await self._pool.fetch(self._queries["last_balances"], provider)]

    async def keep_balances(self, balances: Sequence[Balance]) -> None:
        """Store snapshots."""
        await self._pool.write(lambda connection: connection.executemany(self._queries["keep_balance"], balances))

    async def _entry(self, connection: Connection, exchange: ExchangeRow) -> Entry:
        place = self._months.of(exchange.id), exchange.id
        attempts = [read_attempt(row) for row in await connection.fetch(self._queries["attempts_of"], *place)]
        shares = [read_share(row) for row in await connection.fetch(self._queries["shares_of"], *place)]
        return Entry(exchange, attempts, shares)

    async def _rerate(self, connection: Connection, entry: Entry) -> None:
        exchange, attempts, shares = entry
        month = self._months.of(exchange.id)
        written = [await self._charge(connection, month, row) for row in attempts]
        sums = month, exchange.id, exchange.cost_nano, exchange.baseline_nano
        written.append(await connection.execute(self._queries["rerate_exchange"], *sums))
        if set(written) != {"UPDATE 1"}:
            raise StoreError(f"the exchange {exchange.id} was changed by another process meanwhile: ask again")
        await connection.executemany(self._queries["insert_share"], [(month, *share_values(row)) for row in shares])

    async def _charge(self, connection: Connection, month: int, row: AttemptRow) -> str:
        return await connection.execute(
            self._queries["rerate_attempt"], month, row.exchange_id, row.id, row.charged_nano, row.currency,
            row.fx_rate, row.charged_book_nano, row.price_source,
        )  # fmt: skip
