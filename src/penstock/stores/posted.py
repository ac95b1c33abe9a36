"""From buckets to what scope values spent: the part of ``posted`` that no SQL does, shared by all stores. Pure.

A bucket's ``value`` is the scope value itself, for tags the JSON text of all of them.
"""

from collections.abc import Iterable, Sequence

from penstock.core.budget import SCOPES, key_values
from penstock.errors import StoreError
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.rows import read_tags


def check_scopes(queries: Iterable[PostedQuery]) -> None:
    """Raises StoreError for a scope that no budget has."""
    for query in queries:
        if query.scope not in SCOPES:
            raise StoreError(f"there is no scope {query.scope!r}: one of {', '.join(SCOPES)}")


def by_value(scope: str, buckets: Iterable[Posted]) -> Sequence[Posted]:
    """One sum per scope value, in their order. Who has several tags counts for each of them, who has none for none."""
    sums: dict[str, tuple[int, int]] = {}
    for bucket in buckets:
        for value in _values(scope, bucket.value):
            amount_nano, tokens = sums.get(value, (0, 0))
            sums[value] = amount_nano + bucket.amount_nano, tokens + bucket.tokens
    return [Posted(value, *sums[value]) for value in sorted(sums)]


def _values(scope: str, raw: str) -> Sequence[str]:
    if scope == "key":
        return key_values(raw)
    return [f"{name}={value}" for name, value in read_tags(raw).items()] if scope == "tag" else [raw]
