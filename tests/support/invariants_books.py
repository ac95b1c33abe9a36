"""What the invariants are checked on: the ledger's rows, and beside them a test's budgets, bank and bill."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.core.bank import Bank
from penstock.core.budget import Budget, Payer
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage
from tests.support.bill_provider_lines import BilledCall

_TABLES: Final[Mapping[str, type[LedgerRow]]] = {
    "exchanges": ExchangeRow,
    "attempts": AttemptRow,
    "shares": ShareRow,
}


@dataclass(frozen=True, slots=True)
class Books:
    """The ledger and what it is held against. ``rows``: as appended (open ones before their ends), or as stored."""

    rows: Sequence[LedgerRow]
    budgets: Sequence[Budget] = ()
    bank: Bank | None = None
    """The accounts of the process that wrote the rows, nothing of which has been forgotten."""
    bill: Sequence[BilledCall] | None = None
    """The oracle's; None = there is none to join."""
    running: bool = False
    """Something is still under way: open rows are no breach."""
    exchanges: dict[str, ExchangeRow] = field(init=False, default_factory=dict)
    attempts: dict[str, AttemptRow] = field(init=False, default_factory=dict)
    """As they stand in the end: what was open is written over."""
    shares: list[ShareRow] = field(init=False, default_factory=list)
    ends: dict[str, int] = field(init=False, default_factory=dict)
    """How many rows of an id say that it has ended."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if isinstance(row, ShareRow):
                self.shares.append(row)
                continue
            self.ends[row.id] = self.ends.get(row.id, 0) + (row.outcome != OPEN)
            if isinstance(row, ExchangeRow):
                _keep(self.exchanges, row)
            else:
                _keep(self.attempts, row)

    def payer(self, attempt: AttemptRow) -> Payer:
        """Whose money an attempt is."""
        asked = self.exchanges[attempt.exchange_id]
        tags = tuple(f"{name}={value}" for name, value in asked.tags.items())
        return Payer(asked.team, asked.key_name, asked.user, asked.model, tags)

    @property
    def by_marker(self) -> dict[str, list[AttemptRow]]:
        """The attempts of each marker of the load client, in the order in which they were made."""
        out: dict[str, list[AttemptRow]] = {}
        for attempt in sorted(self.attempts.values(), key=lambda row: row.started_at):
            exchange = self.exchanges.get(attempt.exchange_id)
            marker = exchange.tags.get("marker", "") if exchange is not None else ""
            out.setdefault(marker, []).append(attempt)
        return out


def stored_rows(path: Path) -> list[LedgerRow]:
    """Every row of a SQLite store, read by column names and by nothing of ours."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [row for table in _TABLES for row in rows_of(table, map(dict, _all(connection, table)))]


def rows_of(table: str, found: Iterable[dict[str, Any]]) -> Iterator[LedgerRow]:
    """The rows of one of the three tables, from what a store has in its columns."""
    kind = _TABLES[table]
    for values in found:
        if "input_miss" in values:
            values["usage"] = Usage(*(values[name] for name in Usage._fields))
        if "tags" in values:
            values["tags"] = json.loads(values["tags"] or "{}")
        known = {name: values[name] for name in kind.__struct_fields__}
        yield msgspec.convert(known, kind, strict=False)


def integrity(path: Path) -> str:
    """What SQLite says of the file: ``ok``."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _keep(rows: dict[str, Any], row: ExchangeRow | AttemptRow) -> None:
    """An end is never written over by something that is open."""
    if row.outcome != OPEN or row.id not in rows or rows[row.id].outcome == OPEN:
        rows[row.id] = row


def _all(connection: sqlite3.Connection, table: str) -> Iterable[Any]:
    return connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of three names
