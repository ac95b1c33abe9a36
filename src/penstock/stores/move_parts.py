"""What moves from one store to another: tables, each in the order of its key, and their rows as they are kept there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from penstock.stores.months import Months

Row = Sequence[Any]
Key = tuple[Any, ...]

LAST_ID: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Part:
    """A table. Its queries have its name in ``sql/move.sql`` and ``sql/postgres/move.sql``."""

    name: str
    first: Key
    """Comes before every key."""
    key: tuple[int, ...]
    """Where the key stands in a row."""
    month_of: int | None = None
    """Where the id stands whose month the row lies in; None = it has none."""
    bodies: int | None = None
    """Where something large stands."""

    def key_of(self, row: Row) -> Key:
        """By which rows are read in order."""
        return tuple(row[place] for place in self.key)


PARTS: Final = (
    Part("keys", ("",), (0,)),
    Part("budgets", ("",), (0,)),
    Part("balances", ("", "", -inf), (0, 1, 2)),
    Part("purges", (-LAST_ID,), (0,)),
    Part("exchanges", (-inf, ""), (0, 1), month_of=1),
    Part("attempts", ("", ""), (0, 1), month_of=0),
    Part("shares", ("", "", ""), (0, 1, 2), month_of=0),
    Part("results", ("", ""), (0, 1), bodies=7),
    Part("answers", (LAST_ID,), (0,), bodies=18),
)
"""In the order in which they move."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a part, and the key of the last one."""

    part: Part
    rows: Sequence[Row]
    after: Key

    def columns(self, months: Months) -> tuple[list[Sequence[Any]], frozenset[int]]:
        """As the statement takes them; and the months that they lie in."""
        columns: list[Sequence[Any]] = list(zip(*self.rows, strict=True))
        if self.part.month_of is None:
            return columns, frozenset()
        found = list(map(months.of, columns[self.part.month_of]))
        return [found, *columns], frozenset(found)

    def readable(self) -> "Piece":
        """Without the one character that no text there may hold (NUL), in what clients and providers wrote."""
        return Piece(self.part, [[_readable(value) for value in row] for row in self.rows], self.after)


def _readable(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


Progress = Callable[[str, int, int], None]
"""Told of a part, how many rows of it are there, and of how many."""
