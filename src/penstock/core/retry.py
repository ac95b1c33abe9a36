"""When and where to call again: a schedule, and a budget that keeps retries from becoming the outage.

The schedule (DESIGN part 5, rule 6): another deployment at once; the same one after 1 s, 2 s, 4 s (+-20 %), or after
the provider's Retry-After where that is longer. The budget is a share of the requests of the last seconds, or a small
floor where that is more, so an outage costs at most that share more calls.

A call that never got to a provider costs none of this, for it cost the provider nothing. One whose connection broke
before its client had a byte is *moved*: once per exchange it may be made elsewhere out of what the last minute has not
used, for nobody works on the first any more, and when a machine dies all its calls break at once. All calls together
are then over any time at most (1 + share) x requests, what the floors give, and one minute's share.

Above ``FLOOR`` / (share x ``WINDOW_S``) requests a second (5 at a share of 0.2) calls are over any time at most
(1 + share) x requests + ``FLOOR``, all causes and hedges together. Below, the floor holds: one more call a second.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from penstock.errors import Retry

JITTER = 0.2
WINDOW_S = 10.0
FLOOR = 10
"""Retries that are always allowed per window, so that a quiet gateway may retry at all. Not added to the share: at 20
requests a second that alone would be 5 % more."""
MOVE_WINDOWS = 6
"""So many windows back the budget of moved calls looks: a minute."""
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


class Permit(NamedTuple):
    """Leave to make one more call."""

    counted: tuple[deque[float], ...] = ()
    """Where it is."""
    at: float = 0.0

    def give_back(self) -> None:
        """It is not made: another may be."""
        for each in self.counted:
            if self.at in each:  # else it is too long ago to count
                each.remove(self.at)


FREE = Permit()
"""For a call in the place of one that never got to its provider."""


class RetryBudget:
    """Calls beyond the first as a share of the requests of the last ``WINDOW_S`` seconds, or ``FLOOR``."""

    def __init__(self, share: float) -> None:
        """``share``: 0.2 = one retry for every five requests; it may change at any time."""
        self.share = share
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()
        self._hedges: deque[float] = deque()
        self._further: deque[float] = deque()
        """Of all causes, in the windows of ``_spans``."""
        self._spans: deque[int] = deque([0], MOVE_WINDOWS + 1)
        """Requests of the window that runs and of those before it."""
        self._span_ends = -inf

    def request(self, now: float) -> None:
        """Count a request."""
        self._requests.append(now)
        _forget(self._requests, now - WINDOW_S)
        if now >= self._span_ends:
            self._turn(now)
        self._spans[-1] += 1

    def retry(self, now: float) -> Permit | None:
        """Take one retry; None when the budget does not hold it."""
        return self._take(now, self._retries) if self._left(now) >= 1 else None

    def move(self, now: float) -> Permit | None:
        """Take one for a call whose connection broke, to be made elsewhere."""
        self._turn(now)
        self._forget_further()
        allowed = max(self.share * sum(self._spans), FLOOR * MOVE_WINDOWS)
        if len(self._further) + 1 > allowed:
            return self.retry(now)
        self._further.append(now)
        return Permit((self._further,), now)

    def hedge(self, now: float) -> Permit | None:
        """Take one hedge if the budget holds it: what a retry takes a hedge cannot, and the other way round."""
        return self._take(now, self._hedges) if self.hedges_left(now) >= 1 else None

    def hedges_left(self, now: float) -> int:
        """Hedges that it holds now, at most ``HEDGE_PART`` of the share."""
        left = self._left(now)
        allowed = max(HEDGE_PART * self.share * len(self._requests), HEDGE_FLOOR)
        return min(left, int(allowed) - len(self._hedges))

    def _take(self, now: float, counted: deque[float]) -> Permit:
        self._turn(now)
        self._forget_further()
        counted.append(now)
        self._further.append(now)
        return Permit((counted, self._further), now)

    def _turn(self, now: float) -> None:
        """Begin the window in which ``now`` lies, if it is another."""
        if now >= self._span_ends + MOVE_WINDOWS * WINDOW_S:
            self._spans.clear()
            self._spans.append(0)
            self._span_ends = now + WINDOW_S
        while now >= self._span_ends:
            self._spans.append(0)
            self._span_ends += WINDOW_S

    def _forget_further(self) -> None:
        since = self._span_ends - len(self._spans) * WINDOW_S
        while self._further and self._further[0] < since:
            self._further.popleft()

    def _left(self, now: float) -> int:
        for counted in (self._requests, self._retries, self._hedges):
            _forget(counted, now - WINDOW_S)
        allowed = max(self.share * len(self._requests), FLOOR)
        return int(allowed) - len(self._retries) - len(self._hedges)


def _forget(counted: deque[float], until: float) -> None:
    while counted and counted[0] <= until:
        counted.popleft()
