"""What is counted: by labels, and in buckets. Without locks: one loop writes, and others read copies."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from penstock.observe.exposition import Buckets, Exemplar

OTHER: Final = "other"
OK: Final = "ok"

Labels = tuple[str, ...]


class Count:
    """A number, and the last that it counted."""

    __slots__ = ("exemplar", "value")

    def __init__(self) -> None:
        self.value = 0
        self.exemplar: Exemplar | None = None


Kept = TypeVar("Kept")


class Outcomes(dict[Labels, Kept], Generic[Kept]):
    """Counts by labels of which one is an outcome: no more than ``most``, and one for each of the other labels.

    Beyond, an outcome that is new there counts as ``other``; ``ok`` never does, so that ratios of errors stay true.
    """

    def __init__(self, place: int, most: int, new: Callable[[], Kept]) -> None:
        """``place``: of the outcome among the labels; ``new``: what counts, at 0."""
        super().__init__()
        self.shown: dict[Labels, Kept] = {}
        """Each count once."""
        self._place = place
        self._most = most
        self._new = new

    def __missing__(self, labels: Labels) -> Kept:
        place = self._place
        shown = labels
        if len(self.shown) >= self._most and labels[place] != OK:
            shown = (*labels[:place], OTHER, *labels[place + 1 :])
        count = self[labels] = self.shown.setdefault(shown, self._new())
        return count


class Histogram:
    """Counts per bucket, their sum, and of each bucket the last that it counted."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)

    def observe(self, value: float, request_id: str = "", trace_id: str = "", at: float = 0.0) -> None:
        """Count one value. ``at``: epoch seconds."""
        place = bisect_left(self.bounds, value)
        self.counts[place] += 1
        self.total += value
        self.exemplars[place] = request_id, trace_id, value, at

    def buckets(self, *, with_exemplars: bool = False) -> Buckets:
        """As they are now."""
        exemplars = list(self.exemplars) if with_exemplars else [None] * len(self.counts)
        return Buckets(self.bounds, list(self.counts), self.total, exemplars)
