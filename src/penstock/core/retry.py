"""When and where to call again: a schedule, and a budget that keeps retries from becoming the outage.

The schedule (DESIGN part 5, rule 6): another deployment at once; the same one after 1 s, 2 s, 4 s (+-20 %), or after
the provider's Retry-After where that is longer. The budget is a share of the requests of the last seconds, or a small
floor where that is more, so an outage costs at most that share more calls.

Above ``FLOOR`` / (share x ``WINDOW_S``) requests a second (5 at a share of 0.2) calls are over any time at most
(1 + share) x requests + ``FLOOR``, all causes and hedges together. Below, the floor holds: one more call a second.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penstock.errors import Retry

JITTER = 0.2
WINDOW_S = 10.0
FLOOR = 10
"""Retries that are always allowed per window, so that a quiet gateway may retry at all. Not added to the share: at 20
requests a second that alone would be 5 % more."""
HEDGE_FLOOR = 1
HEDGE_PART = 0.5
"""Of the share: hedges leave the rest to failures."""


class Schedule(NamedTuple):
    """``attempts``: calls per exchange over all deployments; ``backoff_s``: the first wait for the same one."""

    attempts: int
    backoff_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """A planned deployment as retry sees it: its name and the account that pays for it."""

    id: str
    account: str


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt that failed: its target's place in the plan, whether another may cure it, its Retry-After."""

    place: int
    retry: Retry
    retry_after_s: float | None


class Step(NamedTuple):
    """Call the target in that ``place`` of the plan after ``delay_s``."""

    place: int
    delay_s: float


def next_step(
    targets: Sequence[Target], made: Sequence[Made], schedule: Schedule, chance: float, out: Collection[int] = ()
) -> Step | None:
    """The next call after the failed ones in ``made`` (at least one), or None to give up.

    ``chance``: uniform in [0, 1), spreads the waits. An error that only another account may cure takes its whole
    account out of this exchange. ``out``: places that no call may go to now; after a wait they may be back.
    """
    if len(made) >= schedule.attempts or made[-1].retry is Retry.NEVER:
        return None
    barred = {targets[failed.place].account for failed in made if failed.retry is not Retry.ANYWHERE}
    allowed = [place for place, target in enumerate(targets) if target.account not in barred]
    tried = [failed.place for failed in made]
    for place in allowed:
        if place not in tried and place not in out:
            return Step(place, 0.0)
    if not allowed:
        return None
    place = min(allowed, key=lambda candidate: (tried.count(candidate), candidate))
    repeats = len(tried) - len(set(tried))
    delay = schedule.backoff_s * 2**repeats * (1 - JITTER + 2 * JITTER * chance)
    asked = [failed.retry_after_s for failed in made if failed.place == place and failed.retry_after_s is not None]
    return Step(place, max([delay, *asked[-1:]]))


class RetryBudget:
    """Calls beyond the first as a share of the requests of the last ``WINDOW_S`` seconds, or ``FLOOR``."""

    def __init__(self, share: float) -> None:
        """``share``: 0.2 = one retry for every five requests; it may change at any time."""
        self.share = share
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()
        self._hedges: deque[float] = deque()

    def request(self, now: float) -> None:
        """Count a request."""
        self._requests.append(now)
        _forget(self._requests, now)

    def retry(self, now: float) -> bool:
        """Take one retry if the budget holds it."""
        if self._left(now) < 1:
            return False
        self._retries.append(now)
        return True

    def hedge(self, now: float) -> bool:
        """Take one hedge if the budget holds it: what a retry takes a hedge cannot, and the other way round."""
        if self.hedges_left(now) < 1:
            return False
        self._hedges.append(now)
        return True

    def hedges_left(self, now: float) -> int:
        """Hedges that it holds now, at most ``HEDGE_PART`` of the share."""
        left = self._left(now)
        allowed = max(HEDGE_PART * self.share * len(self._requests), HEDGE_FLOOR)
        return min(left, int(allowed) - len(self._hedges))

    def _left(self, now: float) -> int:
        for counted in (self._requests, self._retries, self._hedges):
            _forget(counted, now)
        allowed = max(self.share * len(self._requests), FLOOR)
        return int(allowed) - len(self._retries) - len(self._hedges)


def _forget(counted: deque[float], now: float) -> None:
    while counted and counted[0] <= now - WINDOW_S:
        counted.popleft()
