"""The answer to ``overview`` from what each store finds: the part that no SQL does. Pure."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from penstock.core.records import ExchangeRow
from penstock.errors import StoreError
from penstock.ports.ledger import Overview, OverviewQuery, Speed, SpendQuery, SpendRow
from penstock.stores.spend import check_query

Grouped = tuple[Sequence[SpendRow], SpendRow]
SpeedFields = tuple[str, bool, str, int, float, float]
"""Of ``Speed``, in its order."""
Times = tuple[str, bool, float, float | None]
"""Of an answer: its model, whether it came from a store, seconds to its end, and to its first byte if streamed."""

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
    quantiles: Iterable[SpeedFields],
    outcomes: Iterable[tuple[str, int]],
) -> Overview:
    """``spend``: groups and total of each query; the total is the same in all."""
    found = [Speed(fields[0], bool(fields[1]), *fields[2:]) for fields in quantiles]
    return Overview(
        {query.by: groups for query, (groups, _) in zip(asked, spend, strict=True)},
        spend[0][1],
        sorted(found, key=lambda speed: (speed.model, speed.cached, speed.to)),
        dict(sorted(outcomes, key=lambda pair: (-pair[1], pair[0]))),
    )


def speeds(answers: Iterable[Times]) -> Iterator[SpeedFields]:
    """Quantiles of the answers that went well."""
    found: defaultdict[tuple[str, bool, str], array[float]] = defaultdict(lambda: array("d"))
    for model, stored, to_end_s, to_first_byte_s in answers:
        found[model, stored, "end"].append(to_end_s)
        if to_first_byte_s is not None:
            found[model, stored, "first_byte"].append(to_first_byte_s)
    for (model, stored, part), seconds in found.items():
        ordered = sorted(seconds)
        yield model, stored, part, len(ordered), _nearest_rank(ordered, 50), _nearest_rank(ordered, 95)


def times(ended: Iterable[ExchangeRow]) -> Iterator[Times]:
    """By the rules of ``sql/ledger.sql``."""
    for row in ended:
        if row.outcome == "ok":
            yield row.model, row.cache in _STORED, row.duration_s, row.first_byte_s if row.streamed else None


def _nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The least of them that at least so many percent of them do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
