"""From buckets to groups: the part of ``spend`` that no SQL does, shared by all stores. Pure.

A bucket is a partial sum over exchanges. Its ``group`` is raw: the quarter of an hour (epoch seconds // 900) for hours
and days, the JSON text of all tags for tags, the group itself otherwise. Quarters are exact: since 2012 every zone's
offset from UTC, and every change of it, falls on one (checked against the zone data by a test).
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final

from penstock.core.days import name_of
from penstock.errors import StoreError
from penstock.ports.ledger import SpendQuery, SpendRow
from penstock.stores.rows import read_tags
from penstock.stores.span import find_zone

QUARTER_S: Final = 900

GROUPINGS: Final = ("model", "deployment", "endpoint", "key", "team", "user", "tag", "hour", "day", "lever")

TIMED: Final = ("hour", "day")

_SUMMED: Final = tuple(field.name for field in fields(SpendRow) if field.type is int)


def check_query(query: SpendQuery) -> None:
    """Raises StoreError when the grouping or the time zone is unknown."""
    if query.by not in GROUPINGS:
        raise StoreError(f"cannot group by {query.by!r}: one of {', '.join(GROUPINGS)}")
    find_zone(query.timezone)


def grouped(query: SpendQuery, buckets: Iterable[SpendRow]) -> tuple[Sequence[SpendRow], SpendRow]:
    """The groups, dearest first, hours and days in order; and their total over distinct exchanges.

    An exchange with several tags counts in the group of each, and once in the total. Raises StoreError when buckets are
    in different currencies.
    """
    timed = query.by in TIMED
    buckets = sorted(buckets, key=lambda bucket: int(bucket.group)) if timed else buckets
    groups: dict[str, SpendRow] = {}
    total = _nothing("total")
    for bucket in buckets:
        total = _sum("total", total, bucket)
        for group in _groups(query, bucket.group):
            groups[group] = _sum(group, groups.get(group, _nothing(group)), bucket)
    rows = list(groups.values())
    return rows if timed else sorted(rows, key=lambda row: (-row.cost_nano, row.group)), total


def _groups(query: SpendQuery, raw: str) -> Iterable[str]:
    if query.by == "tag":
        return [f"{name}={value}" for name, value in read_tags(raw).items()] or [""]
    if query.by in TIMED:
        local = datetime.fromtimestamp(int(raw) * QUARTER_S, find_zone(query.timezone))
        return [name_of("day" if query.by == "day" else "hour", local)]
    return [raw]


def _nothing(group: str) -> SpendRow:
    return SpendRow(group, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _sum(group: str, left: SpendRow, right: SpendRow) -> SpendRow:
    sums = {name: getattr(left, name) + getattr(right, name) for name in _SUMMED}
    return SpendRow(group, **sums, currency=_common(left.currency, right.currency))


def _common(left: str, right: str) -> str:
    if left and right and left != right:
        raise StoreError(
            f"the ledger has rows in {left} and in {right}, which have no sum: ask for a span with one of them"
        )
    return left or right
