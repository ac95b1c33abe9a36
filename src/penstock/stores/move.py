"""Everything a SQLite store holds, moved to a PostgreSQL one: nothing lost, nothing twice, whatever ends it meanwhile.

How far it has come stands in the target, in the same transaction as the rows. A move that was ended goes on from there;
if the source was written to since then, it begins anew. At the end both sides are counted and compared; only a move
that compares is done, and until then no server starts on the target. Fails closed: each mistake ends it, and no row is
given up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.errors import ConfigError, StoreError
from penstock.stores.location import describe, is_postgres, sqlite_path
from penstock.stores.months import NO_MONTH, name_of
from penstock.stores.move_parts import PARTS, Part, Progress
from penstock.stores.move_source import MoveSource
from penstock.stores.move_target import Begun, Mark, MoveTarget
from penstock.stores.open import sole_use
from penstock.stores.postgres import REPORT_S, REPORTING, Postgres
from penstock.stores.postgres_schema import prepare
from penstock.stores.postgres_stores import wrong_currency

State = Mapping[str, Sequence[int]]

SUMS: Final = "quarters summed up"
"""What is told of beside the parts."""

_FIELDS: Final = ("rows", "open", "tokens", "amount_nano", "other_nano", "unknown", "first", "last")


class Sums(NamedTuple):
    """What a side holds of a part in a month. ``amount_nano`` is what was paid, ``other_nano`` all other amounts."""

    rows: int = 0
    open: int = 0
    tokens: int = 0
    amount_nano: int = 0
    other_nano: int = 0
    unknown: int = 0
    first: str = ""
    last: str = ""


class Compared(NamedTuple):
    """Both sides of one part in one month."""

    part: str
    month: str
    """``2026-11``; "" = of no month."""
    here: Sums
    there: Sums

    @property
    def differs(self) -> Sequence[str]:
        """In what they are not the same."""
        return [name for name, one, other in zip(_FIELDS, self.here, self.there, strict=True) if one != other]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a move. ``begun``: ``anew``, ``again``, ``on``, or ``done``: it had ended before."""

    begun: str
    ended_at: str
    rows: int
    """Written this time."""
    compared: Sequence[Compared]

    @property
    def same(self) -> bool:
        """Whether both sides are."""
        return not any(each.differs for each in self.compared)


async def move(  # noqa: PLR0917 - what is asked for, in the order in which it is looked at
    source: str, directory: Path, to: str, currency: str, secret: str, progress: Progress
) -> Moved:
    """Move the store at ``source`` to the database at ``to``.

    ``secret``: tells the secret of its keys, "" = it has none. Raises StoreError, also while a server uses either.
    """
    if is_postgres(source) or not is_postgres(to):
        raise StoreError("a store moves from sqlite:PATH to postgresql://USER:PASSWORD@HOST/DATABASE")
    path = sqlite_path(source, directory)
    if not path.exists():
        raise StoreError(f"there is no store at {path}: there is nothing to move")
    async with sole_use(source, directory), _target(to) as pool, sole_use(to, directory):
        left = MoveSource(path)
        try:
            return await _Move(left, MoveTarget(pool), describe(to), progress).make(currency, secret)
        finally:
            await left.close()


@asynccontextmanager
async def _target(url: str) -> AsyncIterator[Postgres]:
    pool = Postgres(url, size=2, deadline_s=REPORT_S, settings={**REPORTING, "synchronous_commit": "off"})
    try:
        await prepare(pool)
        yield pool
    finally:
        await pool.close()


class _Move:
    """One run of it."""

    def __init__(self, source: MoveSource, target: MoveTarget, name: str, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._progress = progress
        self._written = 0

    async def make(self, currency: str, secret: str) -> Moved:
        await self._require_currency(currency)
        source, state = await self._source.name(), await self._source.state()
        before = await self._before(source, state)
        if before is not None and before.ended:
            return Moved("done", before.ended_at, 0, ())
        if before is None or before.state != state:
            await self._target.begin(source, state, secret)
        await self._copy(state)
        await self._target.look()
        compared = compare(await self._source.sums(), await self._target.sums())
        begun = "anew" if before is None else "on" if before.state == state else "again"
        moved = Moved(begun, "", self._written, compared)
        if moved.same:
            await self._target.count(await self._source.counters())
            await self._sum_up()
            await self._target.end(source)
        return moved

    async def _require_currency(self, wanted: str) -> None:
        kept = await self._source.currencies()
        if len(kept) > 1:
            both = " and ".join(sorted(kept))
            raise StoreError(f"the ledger in {self._source.path} has amounts in {both}: nobody could add them up")
        if kept - {wanted}:
            raise ConfigError([wrong_currency(str(self._source.path), kept.pop(), wanted)])

    async def _before(self, source: str, state: State) -> Begun | None:
        """The move of this store that began here before. Raises StoreError where anything else is here."""
        begun = await self._target.begun()
        found = next((each for each in begun if each.source == source), None)
        if found is None and (begun or await self._target.is_used()):
            raise StoreError(f"{self._name} holds rows of another store: give it an empty database of its own")
        if found is not None and found.ended and found.state != state:
            raise StoreError(
                f"this store was moved to {self._name} on {found.ended_at} UTC, and written to since then: what came "
                "later is not there. Move it to an empty database, or leave it and serve from that one"
            )
        return found

    async def _copy(self, state: State) -> None:
        marks = await self._target.marks()
        for part in PARTS:
            mark, total = marks.get(part.name, Mark(part.first, 0)), state[part.name][0]
            self._progress(part.name, mark.rows, total)
            async for rows in self._pieces(part, mark):
                self._progress(part.name, rows, total)

    async def _pieces(self, part: Part, mark: Mark) -> AsyncIterator[int]:
        """How many rows are there, after each piece. The next is read while one is written."""
        piece, rows = await self._source.piece(part, mark.after), mark.rows
        while piece is not None:
            coming = asyncio.ensure_future(self._source.piece(part, piece.after))
            try:
                await self._target.write(piece, rows + len(piece.rows))
            finally:
                following = (await asyncio.gather(coming, return_exceptions=True))[0]
            rows, self._written = rows + len(piece.rows), self._written + len(piece.rows)
            yield rows
            if isinstance(following, BaseException):
                raise following
            piece = following

    async def _sum_up(self) -> None:
        done = 0
        while quarters := await self._target.sum_up():
            done += quarters
            self._progress(SUMS, done, done)


def compare(here: Iterable[Sequence[Any]], there: Iterable[Sequence[Any]]) -> list[Compared]:
    """Both sides, by part and month, in the order of the parts."""
    sides = _by_place(here), _by_place(there)
    order = {part.name: place for place, part in enumerate(PARTS)}
    places = sorted(sides[0].keys() | sides[1].keys(), key=lambda place: (order[place[0]], place[1]))
    return [
        Compared(part, _month(month), *(side.get((part, month), Sums()) for side in sides)) for part, month in places
    ]


def _by_place(rows: Iterable[Sequence[Any]]) -> Mapping[tuple[str, int], Sums]:
    plain: Callable[[Any], Any] = lambda value: value if isinstance(value, str) else int(value)  # noqa: E731 - one word
    return {(str(part), int(month)): Sums(*map(plain, sums)) for part, month, *sums in rows}


def _month(month: int) -> str:
    return "" if month == NO_MONTH else name_of(month).replace("_", "-")
