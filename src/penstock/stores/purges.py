"""The list of purges as edges read it: by marks that prove themselves, so that no list is taken for another. Pure.

A mark is the number of a purge and its time. Where the list has no such purge any more, another store has taken its
place or the list was cut: then nobody knows what was purged, and the reader is told so.
"""

from collections.abc import Callable, Sequence
from typing import Final

from penstock.errors import BadRequest
from penstock.ports.answers import Purged, PurgesSince

KEPT_PURGES: Final = 10_000
"""Who has not asked for that many purges has to begin anew."""

Place = tuple[int, float]
"""Number and time."""


def mark(id_: int, at: float) -> str:
    """``NUMBER@TIME``."""
    return f"{id_}@{at!r}"


def read_mark(text: str) -> Place:
    """The number and the time in a mark; "" = before the first. Raises BadRequest."""
    if not text:
        return 0, 0.0
    number, _, at = text.partition("@")
    try:
        place = int(number), float(at)
    except ValueError:
        place = -1, 0.0
    if not (0 <= place[0] < 1 << 63 and 0 <= place[1] < 1e12):  # noqa: PLR2004 - SQLite's integers; a time to come
        raise BadRequest(f"{text[:64]!r} is no mark of ours")
    return place


def purges_since(after: Place, found: Sequence[Purged], limit: int, last: Callable[[], Place]) -> PurgesSince:
    """What came after a mark. ``found``: from the mark's own number on; ``last``: where the list ends now."""
    number, at = after
    if number:
        known = bool(found) and (found[0].id, found[0].at) == after
        found = found[1:]
    else:
        known = not found or found[0].id == 1
    if not known:
        return PurgesSince((), mark(*last()), known=False)
    given = tuple(found[:limit])
    return PurgesSince(given, mark(given[-1].id, given[-1].at) if given else mark(number, at), known=True)
