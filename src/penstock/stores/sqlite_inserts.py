"""How the ledger's rows get into SQLite: in blocks, for the driver lets go of the interpreter once per statement."""

import sqlite3
from collections.abc import Iterable
from itertools import chain
from typing import Final

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.stores.queries import block_of, load_queries
from penstock.stores.rows import Values, attempt_values, exchange_values, share_values

_BLOCK: Final = 32
"""Rows per statement at most: measured in docs/adr/0005. What is left over goes in blocks of 16, 8, 4, 2 and 1."""


class Inserts:
    """The statements that write rows, for one row and for blocks of two, four ... ``_BLOCK``."""

    def __init__(self) -> None:
        queries = load_queries("ledger")
        names = ("insert_exchange", "insert_attempt", "insert_share")
        sizes = [1 << power for power in range(_BLOCK.bit_length())]
        self._blocks = [{size: block_of(queries[name], size) for size in sizes} for name in names]

    def all(self, connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> None:
        """Write ``rows`` of any kind, those of a kind in their order. No kind has kinds of its own: that is cheap."""
        exchanges: list[Values] = []
        attempts: list[Values] = []
        shares: list[Values] = []
        for row in rows:
            if type(row) is ExchangeRow:
                exchanges.append(exchange_values(row))
            elif type(row) is AttemptRow:
                attempts.append(attempt_values(row))
            elif type(row) is ShareRow:
                shares.append(share_values(row))
        for blocks, values in zip(self._blocks, (exchanges, attempts, shares), strict=True):
            _insert(connection, blocks, values)


def _insert(connection: sqlite3.Connection, blocks: dict[int, str], values: list[Values]) -> None:
    start, left = 0, len(values)
    while left:
        size = min(_BLOCK, 1 << (left.bit_length() - 1))
        connection.execute(blocks[size], tuple(chain.from_iterable(values[start : start + size])))
        start, left = start + size, left - size
