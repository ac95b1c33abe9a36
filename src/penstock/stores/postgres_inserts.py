"""How the ledger's rows get into PostgreSQL: a group in one transaction of three round trips.

The first takes the locks, the second writes all rows as arrays, the third commits. Which months have partitions is
known from before; a month without one costs a transaction of its own, once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.stores.months import Months
from penstock.stores.postgres import SPACE, SUMMING, Connection, lease_lock
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.queries import load_queries
from penstock.stores.rows import attempt_values, exchange_values, share_values

LATE_S: Final = 1800
"""What is written this long after its time belongs to a quarter of an hour that may be summed up."""

_EXCHANGE_COLUMNS: Final = 32
_ATTEMPT_COLUMNS: Final = 26
_SHARE_COLUMNS: Final = 5

Columns = Sequence[Sequence[Any]]


class Batch(NamedTuple):
    """Rows of a group as the statement takes them, and their months."""

    columns: tuple[Sequence[Any], ...]
    months: frozenset[int]


class Written(NamedTuple):
    """What became of a group."""

    lives: bool
    """Whether its lease lives; one of 0 always does."""
    refused: Sequence[str]
    """The ids of what it was to open, and was not, because the lease has ended."""


class Inserts:
    """Writes groups. What a group holds twice is written once, by the rule of the ledger."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._months = Months()
        queries = load_queries("postgres/ledger")
        self._begin, self._write = queries["begin"], queries["write"]

    def batch(self, rows: Iterable[LedgerRow]) -> Batch:
        """The rows as columns: of rows of one key the last open one, or the first that has ended."""
        exchanges: dict[str, ExchangeRow] = {}
        attempts: dict[tuple[str, str], AttemptRow] = {}
        shares: dict[tuple[str, str, str], ShareRow] = {}
        for row in rows:
            if isinstance(row, ExchangeRow):
                if row.id not in exchanges or exchanges[row.id].outcome == OPEN:
                    exchanges[row.id] = row
            elif isinstance(row, AttemptRow):
                key = row.exchange_id, row.id
                if key not in attempts or attempts[key].outcome == OPEN:
                    attempts[key] = row
            else:
                shares.setdefault((row.exchange_id, row.attempt_id, row.lever), row)
        month = self._months.of
        columns = (
            *_columns([(month(row.id), *exchange_values(row)) for row in exchanges.values()], _EXCHANGE_COLUMNS),
            *_columns([(month(row.exchange_id), *attempt_values(row)) for row in attempts.values()], _ATTEMPT_COLUMNS),
            *_columns([(month(row.exchange_id), *share_values(row)) for row in shares.values()], _SHARE_COLUMNS),
        )
        places = (0, _EXCHANGE_COLUMNS, _EXCHANGE_COLUMNS + _ATTEMPT_COLUMNS)
        return Batch(columns, frozenset().union(*(columns[place] for place in places)))

    async def write(self, connection: Connection, batch: Batch, lease: int, *, fenced: bool = True) -> Written:
        """Write the group. Not ``fenced``: what it opens was let through before."""
        await self._partitions.see_to(connection, batch.months)
        begin = self._begin.format(lease_lock=lease_lock(lease), space=SPACE, summing=SUMMING)
        await connection.execute(begin)
        try:
            row = await connection.fetchrow(self._write, *batch.columns, lease, float(LATE_S), not fenced)
            await connection.execute("COMMIT")
        except BaseException:
            await undo(connection)
            raise
        return Written(*row)


async def undo(connection: Connection) -> None:
    """Roll back where there is still somebody to tell."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except Exception:  # noqa: BLE001 - what failed before is what is told
        connection.terminate()


def readable(row: LedgerRow) -> None:
    """Replace the one character that no text here may hold (NUL) in what clients and providers wrote."""
    if isinstance(row, ExchangeRow):
        row.user, row.model = row.user.replace("\0", "\ufffd"), row.model.replace("\0", "\ufffd")
    elif isinstance(row, AttemptRow):
        row.upstream_id = row.upstream_id.replace("\0", "\ufffd")


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Columns:
    return list(zip(*rows, strict=True)) if rows else [()] * count
