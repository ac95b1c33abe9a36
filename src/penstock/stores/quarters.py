"""A span of time as quarters of an hour that are summed up, and the rest that is not. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.stores.spend import QUARTER_S

_EVER: Final = 1e15

Run = tuple[int, int]
"""Quarters [first, past)."""
Span = tuple[float, float]
"""Epoch seconds [since, until)."""


class Parts(NamedTuple):
    """What of a span is read from sums, and what row by row: together all of it, nothing twice."""

    runs: Sequence[Run]
    spans: Sequence[Span]


def bounds(since: float, until: float) -> Run:
    """The quarters that lie wholly within a span."""
    since, until = max(since, -_EVER), min(until, _EVER)
    return math.ceil(since / QUARTER_S), math.floor(until / QUARTER_S)


def parted(since: float, until: float, summed: Iterable[Run]) -> Parts:
    """``summed``: runs of quarters that are summed up, in their order, apart from each other."""
    since, until = max(since, -_EVER), min(until, _EVER)
    first, past = bounds(since, until)
    runs = [(max(run[0], first), min(run[1], past)) for run in summed]
    runs = [run for run in runs if run[0] < run[1]]
    edges = [since, *(float(edge * QUARTER_S) for run in runs for edge in run), until]
    spans = [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]
    return Parts(runs, spans)


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same instants, each in one span."""
    found: list[Span] = []
    for since, until in sorted(spans):
        if found and since <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], until)
        else:
            found.append((since, until))
    return found
