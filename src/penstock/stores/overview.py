"""The answer to ``overview`` from what each store finds: the part that no SQL does. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from penstock.core.records import ExchangeRow
from penstock.errors import StoreError
from penstock.ports import Overview, OverviewQuery, Speed, SpendQuery, SpendRow
from penstock.stores.spend import check_query

Grouped = tuple[Sequence[SpendRow], SpendRow]
SpeedFields = tuple[str, bool, str, int, float, float]
"""Of ``Speed``, in its order."""

_STORED = ("exact", "similar")


def spend_queries(query: OverviewQuery) -> Sequence[SpendQuery]:
    """The query of each grouping. Raises StoreError where there is none, or one of them is unknown."""
    if not query.groupings:
        raise StoreError("an overview needs a grouping")
    asked = [SpendQuery(by, query.since, query.until, query.timezone) for by in query.groupings]
    for each in asked:
        check_query(each)
    return asked


def overview(
    asked: Sequence[SpendQuery],
    spend: Sequence[Grouped],
    measured: Iterable[SpeedFields],
    outcomes: Iterable[tuple[str, int]],
) -> Overview:
    """``spend``: groups and total of each query; the total is the same in all."""
    found = [Speed(fields[0], bool(fields[1]), *fields[2:]) for fields in measured]
    return Overview(
        {query.by: groups for query, (groups, _) in zip(asked, spend, strict=True)},
        spend[0][1],
        sorted(found, key=lambda speed: (speed.model, speed.cached, speed.to)),
        dict(sorted(outcomes, key=lambda pair: (-pair[1], pair[0]))),
    )


def speeds(ended: Iterable[ExchangeRow]) -> Iterator[SpeedFields]:
    """By the rules of ``sql/ledger.sql``."""
    found: defaultdict[tuple[str, bool, str], list[float]] = defaultdict(list)
    for row in ended:
        if row.outcome == "ok":
            stored = row.cache in _STORED
            found[row.model, stored, "end"].append(row.duration_s)
            if row.streamed and row.first_byte_s is not None:
                found[row.model, stored, "first_byte"].append(row.first_byte_s)
    for (model, stored, part), seconds in found.items():
        seconds.sort()
        yield model, stored, part, len(seconds), _nearest_rank(seconds, 50), _nearest_rank(seconds, 95)


def _nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The least of them that at least so many percent of them do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
