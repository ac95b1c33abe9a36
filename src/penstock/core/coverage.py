"""Where the price book is silent: times at which a model was sold and one of its currencies has no price."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf
from typing import NamedTuple

from penstock.core.pricebook import PricedModel


class Gap(NamedTuple):
    """No entry from ``since`` until before ``until``; ``priced_in``: the currencies that have one then."""

    book: str
    model: str
    currency: str
    since: float
    until: float
    priced_in: tuple[str, ...]


def gaps(models: Iterable[PricedModel]) -> list[Gap]:
    """Every gap, merged where it runs on. A currency a model never had is no gap."""
    return [gap for model in models for currency in model.entries for gap in _merged(_holes(model, currency))]


def _holes(model: PricedModel, currency: str) -> Iterator[Gap]:
    edges = sorted({edge for own in model.entries.values() for entry in own for edge in (entry.since, entry.until)})
    for since, until in pairwise(edges):
        priced_in = tuple(code for code in model.entries if _covered(model, code, since))
        if currency not in priced_in and since < inf:
            yield Gap(model.book, model.name, currency, since, until, priced_in)


def _merged(holes: Iterable[Gap]) -> list[Gap]:
    merged: list[Gap] = []
    for hole in holes:
        last = merged[-1] if merged else None
        if last and last.until == hole.since and last.priced_in == hole.priced_in:
            merged[-1] = last._replace(until=hole.until)
        else:
            merged.append(hole)
    return merged


def _covered(model: PricedModel, currency: str, at: float) -> bool:
    return any(entry.since <= at < entry.until for entry in model.entries[currency])
