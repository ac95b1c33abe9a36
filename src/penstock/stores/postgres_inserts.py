"""How the ledger's rows get into PostgreSQL: a group in one call of a function, which is its transaction.

The rows go as JSON: as one array per column they cost the driver five times as much, most of it for the arrays of a
group of three rows. Which months have partitions is known from before; a month without one costs a transaction of its
own, once.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.stores.months import Months
from penstock.stores.postgres import SPACE, SUMMING, Connection, lease_lock
from penstock.stores.postgres_partitions import Partitions
from penstock.stores.queries import load_queries
from penstock.stores.rows import attempt_values, exchange_values, share_values

LATE_S: Final = 1800
"""What is written this long after its time belongs to a quarter of an hour that may be summed up."""

_EXCHANGE: Final = (
    "month at id endpoint model deployment key_id key_name team user tags outcome status cache streamed attempts "
    "input_miss input_hit cache_write output reasoning estimated baseline_nano cost_nano currency duration_s "
    "first_byte_s overhead_s degraded avoided_nano owner parent"
)
_ATTEMPT: Final = (
    "month exchange_id id started_at ended_at provider deployment region outcome status upstream_id input_miss "
    "input_hit cache_write output reasoning estimated charged_nano currency fx_rate charged_book_nano price_source "
    "held_nano held_tokens stops overrun"
)
_SHARE: Final = "month exchange_id attempt_id lever amount_nano"

_encode: Final = msgspec.json.Encoder().encode


def _line(name: str, columns: str) -> type[msgspec.Struct]:
    """A row by the names of its columns."""
    return msgspec.defstruct(name, columns.split(), gc=False)


class Batch(NamedTuple):
    """Rows of a group under the names of their columns, and their months."""

    exchanges: Sequence[msgspec.Struct]
    attempts: Sequence[msgspec.Struct]
    shares: Sequence[msgspec.Struct]
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
        self._write = queries["write"]
        self._exchange = _line("Exchange", _EXCHANGE)
        self._attempt, self._share = _line("Attempt", _ATTEMPT), _line("Share", _SHARE)

    def batch(self, rows: Iterable[LedgerRow]) -> Batch:
        """The rows by name: of rows of one key the last open one, or the first that has ended."""
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
        lines = (
            [self._exchange(month(row.id), *exchange_values(row)) for row in exchanges.values()],
            [self._attempt(month(row.exchange_id), *attempt_values(row)) for row in attempts.values()],
            [self._share(month(row.exchange_id), *share_values(row)) for row in shares.values()],
        )
        ids = {*exchanges, *(key[0] for key in attempts), *(key[0] for key in shares)}
        return Batch(*lines, frozenset(map(month, ids)))

    async def write(self, connection: Connection, batch: Batch, lease: int, *, fenced: bool = True) -> Written:
        """Write the group. Not ``fenced``: what it opens was let through before."""
        await self._partitions.see_to(connection, batch.months)
        texts = (_encode(rows).decode() for rows in (batch.exchanges, batch.attempts, batch.shares))
        locks = lease_lock(lease), SPACE, SUMMING
        return Written(*await connection.fetchrow(self._write, *texts, lease, float(LATE_S), not fenced, *locks))


def readable(row: LedgerRow) -> None:
    """Replace the one character that no text here may hold (NUL) in what clients and providers wrote."""
    if isinstance(row, ExchangeRow):
        row.user, row.model = row.user.replace("\0", "\ufffd"), row.model.replace("\0", "\ufffd")
    elif isinstance(row, AttemptRow):
        row.upstream_id = row.upstream_id.replace("\0", "\ufffd")
