"""When an alert was active, and when it fired, from what Prometheus kept of it.

``ALERTS_FOR_STATE`` has a sample at each step at which the alert was pending or firing, whose value is since when
(epoch seconds); ``ALERTS{alertstate="firing"}`` has one at each step at which it fired.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

FLAPS_S: Final = 900.0
"""What fires again so soon after it ended flaps."""
SHORT_S: Final = 300.0
"""What fired for less was over before somebody had looked."""

Sample = tuple[float, float]
"""Epoch seconds and value."""


class Episode(NamedTuple):
    """An alert of one label set, from when its expression became true. Epoch seconds."""

    since: float
    until: float
    """The first step at which it was no more."""
    fired_at: float | None
    """None = it was pending all the time."""

    @property
    def active_s(self) -> float:
        """How long its expression was true."""
        return self.until - self.since

    @property
    def fired_s(self) -> float:
        """How long it fired."""
        return 0.0 if self.fired_at is None else self.until - self.fired_at


def episodes(active: Iterable[Sample], firing: Collection[float], step_s: float) -> list[Episode]:
    """Those of one label set, in order. ``firing``: the instants at which it fired, of the same steps as ``active``.

    A gap of more than a step and a half ends one, and so does a later beginning than the last sample: it ended and
    began again between two steps. An earlier or equal one goes on, for a restart of Prometheus may shift it a little.
    """
    return [_episode(run, firing, step_s) for run in _runs(sorted(active), step_s)]


def flaps(fired: Sequence[Episode]) -> int:
    """How often it fired again within ``FLAPS_S`` of its end. ``fired``: of one label set, in order."""
    return sum(
        after.fired_at is not None and after.fired_at - before.until < FLAPS_S for before, after in pairwise(fired)
    )


def _runs(active: Sequence[Sample], step_s: float) -> Iterator[list[Sample]]:
    run: list[Sample] = []
    for at, since in active:
        if run and (at - run[-1][0] > 1.5 * step_s or since > run[-1][0]):
            yield run
            run = []
        run.append((at, since))
    if run:
        yield run


def _episode(run: Sequence[Sample], firing: Collection[float], step_s: float) -> Episode:
    (first, since), (last, _) = run[0], run[-1]
    fired_at = min((at for at, _ in run if at in firing), default=None)
    return Episode(since if 0 < since < first else first, last + step_s, fired_at)
