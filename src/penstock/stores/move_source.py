"""The store that is left: a SQLite file that nobody writes meanwhile, read piece by piece."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from penstock.stores.months import Months
from penstock.stores.move_parts import Key, Part, Piece
from penstock.stores.queries import load_queries
from penstock.stores.sqlite_reader import SqliteReader

PIECE_ROWS: Final = 2000
PIECE_BYTES: Final = 8 << 20
"""Bodies of answers may be large: so much of them at a time, and one more."""

_EACH: Final = {"exchanges": "each_exchange", "attempts": "each_attempt", "shares": "each_share"}


class MoveSource:
    """Asks the file at ``path``. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = SqliteReader(path, "penstock-move")
        self._queries = load_queries("move")

    async def name(self) -> str:
        """What makes it this store and no other; "" while it is empty."""
        return str((await self._fetch("source"))[0][0])

    async def currencies(self) -> set[str]:
        """Those that its amounts are in; more than one only where somebody else wrote it."""
        return {str(each) for each in (await self._fetch("currencies"))[0] if each is not None}

    async def state(self) -> Mapping[str, Sequence[int]]:
        """Rows of each part, and a number that changes with what is written."""
        return {str(part): [int(rows), int(mark)] for part, rows, mark in await self._fetch("state")}

    async def counters(self) -> Sequence[tuple[str, int]]:
        """By which processes see that something has changed."""
        return [(str(name), int(value)) for name, value in await self._fetch("counters")]

    async def piece(self, part: Part, after: Key) -> Piece | None:
        """The next rows after a key; None = there are no more."""
        query = self._queries[part.name]

        def read(connection: sqlite3.Connection) -> list[Any]:
            rows, size = [], 0
            for row in connection.execute(query, (*after, PIECE_ROWS)):
                rows.append(row)
                size += 0 if part.bodies is None else len(row[part.bodies])
                if size > PIECE_BYTES:
                    break
            return rows

        rows = await self._reader.run(read)
        return Piece(part, rows, part.key_of(rows[-1])) if rows else None

    async def sums(self) -> Sequence[Sequence[Any]]:
        """To be compared."""

        def read(connection: sqlite3.Connection) -> list[Any]:
            large = [
                (part, month, *sums)
                for part, query in _EACH.items()
                for month, sums in _added_up(connection.execute(self._queries[query])).items()
            ]
            return [*large, *connection.execute(self._queries["sums"])]

        return await self._reader.run(read)

    async def close(self) -> None:
        """Read no more."""
        await self._reader.close()

    async def _fetch(self, name: str) -> list[Any]:
        return await self._reader.run(lambda connection: connection.execute(self._queries[name]).fetchall())


def _added_up(rows: Iterable[Sequence[Any]]) -> Mapping[int, list[Any]]:
    """By month: rows, open ones, four sums, the first id and the last."""
    months, found = Months(), dict[int, list[Any]]()
    for whose, id_, is_open, tokens, amount, other, unknown in rows:
        month = months.of(whose)
        sums = found.get(month)
        if sums is None:
            sums = found[month] = [0, 0, 0, 0, 0, 0, id_, id_]
        sums[0] += 1
        sums[1] += is_open
        sums[2] += tokens
        sums[3] += amount
        sums[4] += other
        sums[5] += unknown
        sums[6] = min(sums[6], id_)
        sums[7] = max(sums[7], id_)
    return found
