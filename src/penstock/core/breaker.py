"""When a deployment or an account is left alone, and how it is let in again.

A breaker is a machine of three states, and ``TRANSITIONS`` is all of it; the class only decides which signal a report
is. Half-open it lets one call of real traffic pass at a time. A call that was sent before the present state began
says nothing of it and is not heard. Errors are told apart by whom they blame (``blame``): what a client did, or we cut
off ourselves, blames nobody; a 429 lowers the account's share (``core/concurrency.py``) and opens nothing.

Times are monotonic seconds; ``chance`` is uniform in [0, 1).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from penstock.errors import BadAnswer, ProviderAccount, ProviderBusy, ProviderRefused, ProviderTimeout, Unreachable

SPREAD = 0.2
"""An open time is shortened by up to this share, so that breakers of many processes do not probe in step."""
SLOW_FACTOR = 3.0
SLOW_FLOOR_S = 0.25
"""A first byte within this is never slow."""


class State(StrEnum):
    """Closed lets all pass, open nothing, half-open one call at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Signal(StrEnum):
    """What a breaker is told or finds."""

    OK = "ok"
    FAILURE = "failure"
    TRIP = "trip"
    """A failure, and one too many."""
    SENT = "sent"
    """A probe went out."""
    HEALED = "healed"
    """The last good probe it takes."""
    DUE = "due"
    """The open time is over."""


TRANSITIONS: Final[Mapping[tuple[State, Signal], State]] = {
    (State.CLOSED, Signal.OK): State.CLOSED,
    (State.CLOSED, Signal.FAILURE): State.CLOSED,
    (State.CLOSED, Signal.TRIP): State.OPEN,
    (State.OPEN, Signal.DUE): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.SENT): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.OK): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.FAILURE): State.OPEN,
    (State.HALF_OPEN, Signal.HEALED): State.CLOSED,
}


class Trip(NamedTuple):
    """What opens: so many failures in a row, or this rate of at least so many of the latest reports.

    ``lasting_s``: and, while other calls are under way, no answer for so long since the first of those in a row.
    Refusals come at once: of a provider that is late they are all that is heard at first.
    """

    in_a_row: int
    rate: float
    samples: int
    lasting_s: float = 0.0


UNSENT: Final = Trip(3, 1.0, 3, lasting_s=2.0)
"""A third of calls that find nobody there, as where one of three machines behind an address is down, is not this."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``trip`` where others can take over, ``alone`` where none can: then some answers are better than none.

    ``open_s`` doubles with each opening to ``open_most_s``; ``probes`` good ones in a row close (alone: one); a probe
    that never reports gives its place up after ``probe_s``. The latest ``memory`` reports count, for ``window_s``.

    ``unsent``: alone too, where so many calls in a row, over so long, did not even get to the provider. That is proof,
    and finding out whether it is back costs it nothing: it is left alone for ``unsent_open_s``, doubled by each probe
    that does not get there either, to ``unsent_most_s``.
    """

    trip: Trip
    alone: Trip
    open_s: float
    open_most_s: float
    probes: int
    probe_s: float = 30.0
    memory: int = 20
    window_s: float = 10.0
    unsent: Trip = UNSENT
    unsent_open_s: float = 0.5
    unsent_most_s: float = 5.0


DEPLOYMENT: Final = Policy(
    trip=Trip(3, 0.5, 10), alone=Trip(20, 1.0, 20, lasting_s=10.0), open_s=1.0, open_most_s=30.0, probes=3
)
"""At 20 requests/s over two the sick one gives ten reports in a second. Alone, one of which half fail serves on."""
ACCOUNT: Final = Policy(trip=Trip(1, 1.0, 1), alone=Trip(1, 1.0, 1), open_s=30.0, open_most_s=300.0, probes=1)


class Past(NamedTuple):
    """A breaker that is not closed, for another process to go on with."""

    state: State
    since: float
    until: float
    doublings: int


_NOTHING: Final = Past(State.CLOSED, -inf, 0.0, 0)


class Breaker:
    """The health of one deployment, or of one account, as its calls report it."""

    def __init__(self, policy: Policy, past: Past = _NOTHING) -> None:
        """``policy``: ``DEPLOYMENT`` or ``ACCOUNT``. ``past``: where another process left off."""
        self._policy = policy
        self._state = past.state
        self._since = past.since
        self._until = past.until  # open: when it is due; half-open: when the place of the probe is free
        self._probe = -inf  # when the probe that has the place was sent
        self._doublings = past.doublings
        self._in_a_row = 0  # failures while closed, good probes while half-open
        self._failing_since = -inf
        self._unsent = 0  # of the failures in a row, the last ones that did not get to the provider
        self._unsent_since = -inf
        self._recent: deque[tuple[float, bool]] = deque()
        self._failed = 0

    @property
    def is_closed(self) -> bool:
        """Whether all pass; no time that goes by changes that."""
        return self._state is State.CLOSED

    def state(self, now: float) -> State:
        """The state, with the time that has passed."""
        if self._state is State.OPEN and now >= self._until:
            self._enter(Signal.DUE, self._until)
        return self._state

    def past(self, now: float) -> Past | None:
        """What another process has to know to go on; None = nothing is held against it. Its probe is another's."""
        state = self.state(now)
        until = self._until if state is State.OPEN else -inf
        return None if state is State.CLOSED else Past(state, self._since, until, self._doublings)

    def allows(self, now: float) -> bool:
        """Whether a call may be planned here. Takes nothing: ``admit`` does, when the call is made."""
        if self._state is State.CLOSED:
            return True
        state = self.state(now)
        return state is State.CLOSED or (state is State.HALF_OPEN and now >= self._until)

    def until(self, now: float) -> float | None:
        """When it allows a call again, at the latest; None when it does now."""
        if self._state is State.CLOSED:
            return None
        return None if self.allows(now) else self._until

    def admit(self, now: float) -> bool:
        """Note that a call is made. False when it may not be: half-open, another has the place by now."""
        if self._state is State.CLOSED:
            return True
        if not self.allows(now):
            return False
        if self._state is State.HALF_OPEN:
            self._enter(Signal.SENT, now)
            self._probe, self._until = now, now + self._policy.probe_s
        return True

    def forget(self, sent_at: float) -> None:
        """A call ended and says nothing of health (it blames nobody): its place is free for another."""
        if self._state is State.HALF_OPEN and sent_at == self._probe:
            self._until = self._probe = -inf

    def answered(self, sent_at: float, now: float) -> None:
        """Report a call that answered in time, to a breaker that is closed: that opens nothing, whatever else is so."""
        if sent_at >= self._since:
            self._in_a_row = self._unsent = 0
            self._remember(now, failed=False)

    def report(
        self,
        *,
        ok: bool,
        sent_at: float,
        now: float,
        chance: float,
        slow: bool = False,
        alone: bool = False,
        under_way: int = 0,
        unsent: bool = False,
    ) -> None:
        """A call sent at ``sent_at`` answered, or failed in a way that this breaker is blamed for.

        ``slow``: it answered far later than others do (``is_slow``), or is overdue by now and still silent. ``alone``:
        nobody else could have taken it; then slow is good enough. ``under_way``: its calls that have not ended.
        ``unsent``: no connection came about, or none could be used.
        """
        state = self.state(now)
        if state is State.OPEN or sent_at < self._since:
            return
        failed = not ok or (slow and not alone)
        policy = self._policy
        cheap = alone and unsent
        cut_off = self._is_cut_off(now, unsent=unsent) and alone
        if state is State.HALF_OPEN:
            self.forget(sent_at)
            self._judge_probe(now, chance, failed=failed, enough=1 if alone else policy.probes, cheap=cheap)
        elif self._trips(policy.alone if alone else policy.trip, now, under_way, ok=ok, failed=failed) or cut_off:
            calm = now - self._since > policy.open_most_s
            self._doublings = 0 if calm or cheap else self._doublings + 1
            self._open(Signal.TRIP, now, chance, cheap=cheap)
        else:
            self._enter(Signal.FAILURE if failed else Signal.OK, now)

    def _judge_probe(self, now: float, chance: float, *, failed: bool, enough: int, cheap: bool) -> None:
        if failed:
            self._doublings += 1
            self._open(Signal.FAILURE, now, chance, cheap=cheap)
            return
        self._in_a_row += 1
        self._enter(Signal.HEALED if self._in_a_row >= enough else Signal.OK, now)

    def _is_cut_off(self, now: float, *, unsent: bool) -> bool:
        """Count a report; True when nobody has got there for long enough. Any word of the provider's ends that."""
        self._unsent = self._unsent + 1 if unsent else 0
        if self._unsent == 1:
            self._unsent_since = now
        trip = self._policy.unsent
        return self._unsent >= trip.in_a_row and now - self._unsent_since >= trip.lasting_s

    def _trips(self, trip: Trip, now: float, under_way: int, *, ok: bool, failed: bool) -> bool:
        """Count a report; True when it is one failure too many. An answer, though slow, ends a row of failures."""
        self._in_a_row = 0 if ok else self._in_a_row + 1
        if self._in_a_row == 1:
            self._failing_since = now
        self._remember(now, failed=failed)
        if not failed:
            return False
        recent = self._recent
        often = len(recent) >= trip.samples and self._failed >= trip.rate * len(recent)
        enough = often or self._in_a_row >= trip.in_a_row
        return enough and (not under_way or now - self._failing_since >= trip.lasting_s)

    def _remember(self, now: float, *, failed: bool) -> None:
        recent, policy = self._recent, self._policy
        recent.append((now, failed))
        self._failed += failed
        while len(recent) > policy.memory or recent[0][0] <= now - policy.window_s:
            self._failed -= recent.popleft()[1]

    def _open(self, signal: Signal, now: float, chance: float, *, cheap: bool) -> None:
        policy = self._policy
        first_s, most_s = policy.open_s, policy.open_most_s
        if cheap:
            first_s, most_s = policy.unsent_open_s, policy.unsent_most_s
        open_s = min(most_s, first_s * 2.0 ** min(self._doublings, 30))
        self._enter(signal, now)
        self._until = now + open_s * (1 - SPREAD * chance)

    def _enter(self, signal: Signal, at: float) -> None:
        """Follow the table; a new state begins with nothing counted."""
        state = TRANSITIONS[self._state, signal]
        if state is not self._state:
            self._state, self._since, self._until, self._probe = state, at, -inf, -inf
            self._in_a_row = self._failed = self._unsent = 0
            self._recent.clear()


class Blame(StrEnum):
    """Whose health an error is held against."""

    DEPLOYMENT = "deployment"
    ACCOUNT = "account"
    SHARE = "share"
    """The account's share of calls at once."""
    NOBODY = "nobody"


_BY_KIND: Final = {
    Unreachable.kind: Blame.DEPLOYMENT,
    ProviderTimeout.kind: Blame.DEPLOYMENT,
    ProviderBusy.kind: Blame.DEPLOYMENT,
    BadAnswer.kind: Blame.DEPLOYMENT,
    ProviderAccount.kind: Blame.ACCOUNT,
    ProviderRefused.kind: Blame.NOBODY,
}
_BY_STATUS: Final = {
    (ProviderBusy.kind, 429): Blame.SHARE,
    (ProviderBusy.kind, 501): Blame.NOBODY,  # it does not have the endpoint that the client asked for
    (ProviderAccount.kind, 403): Blame.DEPLOYMENT,  # of one model, or of one prompt that a moderator flagged
    (ProviderRefused.kind, 404): Blame.DEPLOYMENT,  # the model is not there
}


def blame(kind: str, status: int | None) -> Blame:
    """Whom an error of that kind and provider's status is held against.

    A deadline that was narrowed by the client, or the exchange's own total one, is our cut-off: do not ask, ``forget``
    it. The same holds for a 404 of an endpoint that a deployment need not have (``count_tokens``).
    """
    blamed = _BY_STATUS.get((kind, status)) if status is not None else None
    return blamed or _BY_KIND.get(kind, Blame.NOBODY)


def is_slow(waited_s: float, usual_s: float | None) -> bool:
    """Whether a first byte that took, or has taken, ``waited_s`` is out of all proportion.

    ``usual_s``: the learned P95 of first-byte times of the *other* healthy deployments of the model, None = unknown.
    Its own would learn the sickness. Only streamed calls count: a whole answer takes as long as it is.
    """
    return usual_s is not None and waited_s > max(SLOW_FLOOR_S, SLOW_FACTOR * usual_s)
