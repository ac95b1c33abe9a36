"""How many calls at once: an account's share as its provider's 429s teach it, and what a server bears without a queue.

Both count calls in flight and never fall below one. Times are monotonic seconds.
"""

from math import inf
from typing import Final, NamedTuple

CUT: Final = 0.9
"""What is left after a refusal."""
RECOVERY: Final = 0.01
"""Of the limit that was met, won back per second."""
LEAST_RECOVERY_PER_S: Final = 0.1
SPEED_UP_S: Final = 30.0
"""After so long without a refusal the recovery is twice as fast, after twice as long three times."""
LONGEST_PAUSE_S: Final = 60.0


class Lesson(NamedTuple):
    """What 429s have taught, for another process to go on with."""

    base: float = inf
    """Calls at once right after the last cut; infinite = no limit was met."""
    met: float = inf
    cut_at: float = -inf
    rises_from: float = -inf
    single_until: float = -inf


class AccountShare:
    """Calls in flight at one account, held to its limit: the one its row names, else the one its 429s show.

    A 429 lowers the limit to 0.9 of what was in flight, once per round trip: a refusal of a call sent before the last
    cut says nothing new. Then the limit rises by 1 % of what was met per second, and faster the longer nobody objects:
    where a limit of the rate, and not of calls at once, was met, the lesson is soon forgotten. It never exceeds
    the known limit, so an account used by us alone is never refused for it.

    A call that was refused with no other in flight met no limit of calls at once: nothing is learned, but until the
    provider's own Retry-After is over, calls go there one at a time.
    """

    def __init__(self, known: int | None) -> None:
        """``known``: calls at once that the provider allows (DeepSeek: 2500, 500), None = nobody says."""
        self.known = known
        self.in_flight = 0
        self.heed(Lesson())

    def heed(self, lesson: Lesson) -> None:
        """Go on from what another process has learned."""
        self._base, self._met, self._cut_at, self._rises_from, self._single_until = lesson

    @property
    def lesson(self) -> Lesson:
        """What another process need not learn again."""
        return Lesson(self._base, self._met, self._cut_at, self._rises_from, self._single_until)

    def limit(self, now: float) -> float:
        """Calls at once that may be made now, infinite where nothing is known."""
        if now < self._single_until:
            return 1
        if self._base == inf:
            return inf if self.known is None else self.known
        risen_s = max(0.0, now - self._rises_from)
        rate = max(RECOVERY * self._met, LEAST_RECOVERY_PER_S)
        learned = self._base + rate * risen_s * (1 + risen_s / SPEED_UP_S)
        return max(1.0, min(learned, inf if self.known is None else self.known))

    def allows(self, now: float) -> bool:
        """Whether one more call may be planned here. Takes nothing."""
        return self.in_flight + 1 <= self.limit(now)

    def enter(self, now: float) -> bool:
        """Take a place; False when none is free."""
        if not self.allows(now):
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Give a place back: at the last byte, however the call ended."""
        self.in_flight -= 1

    def refused(self, sent_at: float, now: float, retry_after_s: float | None = None) -> bool:
        """The provider said 429 to a call sent at ``sent_at``, which is still counted as in flight.

        True when it says something new: the last refusal had been heeded when the call was sent.
        """
        if sent_at <= self._cut_at:
            return False
        self._cut_at = now
        pause_s = min(retry_after_s or 0.0, LONGEST_PAUSE_S)
        if self.in_flight <= 1:
            self._single_until = now + pause_s
            return True
        met = max(1.0, min(self.in_flight, self.limit(now)))
        self._base, self._met = max(1.0, CUT * met), met
        self._rises_from = now + pause_s
        return True


class Sense(NamedTuple):
    """How a wait is read. ``tolerance``: so many times the floor are no queue, fewer where calls are alike."""

    tolerance: float
    enough: int
    """Samples of a window that lasted at least ``SHORTEST_S``; one of ``longest_s`` needs half of them only."""
    longest_s: float
    slower: float
    """So many times the wait that a queue could explain is none: the server has become slower."""
    reach: float
    """So many times what it has borne without a queue may be tried: that bounds the first seconds of an overload."""


FIRST_BYTES: Final = Sense(1.25, 16, 2.0, 2.0, 1.5)
"""Enough to keep a server busy, too little to be felt."""
WHOLE_ANSWERS: Final = Sense(1.75, 32, 10.0, 3.0, 1.7)
"""They take as long as they are, so it takes more of them, and more of a rise, to tell a queue from longer answers."""
FELT: Final = 1.25
VARIED: Final = 0.7
"""Where calls differ little, less than ``tolerance`` is a queue: this, and so much of what the lower waits differ."""
SETTLING: Final = 0.2
"""Of what they differ in one more window."""
SHORTEST_S: Final = 0.1
LOW: Final = 8
"""Of a window's waits, in order of size, the one at this part counts."""
SLACK_S: Final = 0.02
EVIDENCE: Final = 2.0
EVIDENCE_SHARE: Final = 0.05
"""So many calls in the server's queue, and of all in flight, are one; fewer are noise."""
GROWTH: Final = 0.1
GROWTH_MOST: Final = 1.0
"""The limit grows by these shares: doubled each time that nothing came of it, beyond where it queued last."""
IN_USE: Final = 0.8
"""Of the limit: below, nothing is learned by raising it."""
SINK: Final = 0.1
DRIFT: Final = 0.02
"""How much of a fall of the wait the floor follows per window, and of a rise, while we are not the cause of it."""
DOUBT: Final = 0.5
"""Added to the tolerance when a rise has turned out to be no queue, until the limit is idle: such waits vary."""
LESS: Final = 0.7
"""Of the calls in flight: no cut is deeper, and if so few wait as long as all did (``AS_LONG``) it was no queue."""
AS_LONG: Final = 0.9
LASTING: Final = 1.0
"""A wait that no queue explains is a stall, not a slower server, until it was seen for so many times itself."""
RECHECK_S: Final = 5.0
RECHECK_WAITS: Final = 10.0
RECHECK_MOST: Final = 16.0
"""A floor that was raised is tried with ``LESS`` in flight after so long, and so many waits; each time that it holds
twice as late, up to so many times."""
TRIAL_WAITS: Final = 4.0
"""A trial that has told nothing after so many waits is over."""
FELL: Final = 0.85
"""A queue of ``LESS`` is ``LESS`` as long; what is no queue stays. Twice in a row below the middle is no chance."""
ALWAYS_TRIED: Final = 64
"""So many may be tried at once whatever it has borne."""
FORGET_S: Final = 600.0
"""What it has borne counts for half after so long, unless it does so again."""


class Trial(NamedTuple):
    """What was so when fewer calls were let in flight, to see whether they wait less."""

    in_flight: int
    wait_s: float
    limit: float
    began: float
    fell: bool = False
    """The last window said that it is a queue."""


class AdaptiveLimit:
    """What one server bears: calls in flight until they begin to queue there.

    The signal is the wait before a call is *begun* to be answered: the first byte of streamed calls. Whole answers give
    none but their whole time, which is as long as they are; they are read with more care (``WHOLE_ANSWERS``). A queue
    delays every call alike, long prompts only some, so of each window the lowest eighth counts, against a floor learned
    over the long term.

    How much to take back is not guessed: what waits in the server is the rate of first bytes x the wait beyond the
    floor (Little's law). The limit is set to what was in flight without them, in one step, and since a late
    sample names the same number, hearing of one queue twice does not cut twice. It takes two windows in a row, and
    more than a few calls: a quiet server keeps its limit.

    If the wait does not fall although fewer calls are in flight, they are not the cause (a slower model, longer
    prompts, other users): the floor is learned anew and the limit goes back. So it cannot collapse. A wait that
    no queue of so many explains tells the same when it lasts; before, it may be a stall, which says nothing. A floor
    that was raised may have been a mistake, and would hold itself up by the queue that it allows: so it is tried with
    fewer calls in flight from time to time, and falls when they wait less. It starts at
    ``most``: without evidence nobody waits. From then on it is never above ``reach`` times what has been borne, so
    that a sudden overload is not all sent before its first call is late; each window that bears it raises that.
    """

    def __init__(self, least: int, most: int, sense: Sense = FIRST_BYTES) -> None:
        """``least`` and ``most`` calls in flight, 1 <= least <= most."""
        self.least = least
        self.most = most
        self._sense = sense
        self._limit = float(most)
        self._changed_at = -inf
        self._floor_s = inf
        self._began = 0.0
        self._samples: list[tuple[float, int]] = []
        self._growth = GROWTH
        self._queued_at = 0
        self._suspected = False
        self._doubt = 0.0
        self._varied: float | None = None
        self._peak = 0.0
        self._queued: tuple[int, float] | None = None  # calls in flight and their wait when the queue was largest
        self._strange_since: float | None = None
        self._trial: Trial | None = None
        self._recheck_at = inf
        self._held = 1.0  # so many times longer is a floor left alone, for each trial that it has held
        self._call_s: float | None = None
        self._borne = inf
        self._borne_at = -inf
        self.limit = most
        """Calls in flight that it bears."""

    def allows(self, in_flight: int) -> bool:
        """Whether one more may be sent beside those."""
        return in_flight < self.limit

    def observe(self, wait_s: float, in_flight: int, now: float) -> None:
        """A call was begun to be answered after ``wait_s``; ``in_flight``: with it, when it was sent."""
        if not self._samples:
            self._began = now
        self._samples.append((wait_s, in_flight))
        lasted_s, count, sense = now - self._began, len(self._samples), self._sense
        if (count >= sense.enough and lasted_s >= SHORTEST_S) or (
            2 * count >= sense.enough and lasted_s >= sense.longest_s
        ):
            self._close(now)

    def look(self, now: float, call_s: float | None) -> None:
        """Time has passed: a window with enough samples need not wait for one more to be closed.

        ``call_s``: how long calls usually take, to their last byte; None = not known.
        """
        self._call_s = call_s
        if len(self._samples) >= self._sense.enough and now - self._began >= SHORTEST_S:
            self._close(now)

    def _close(self, now: float) -> None:
        """Judge the window and begin another."""
        samples, self._samples = sorted(self._samples), []
        count = len(samples)
        wait_s, in_flight = samples[count // LOW]
        most = max(in_flight for _, in_flight in samples)
        if self._is_strange(wait_s, most, now):
            return
        if self._trial is not None:
            self._try(self._trial, wait_s, in_flight, now)
        elif self._judge(wait_s, in_flight, (count - 1) / (now - self._began), now):
            well_s = max(wait_s, self._allowed_s)
            self._bear(max(beside for waited_s, beside in samples if waited_s <= well_s), now)
            self._learn_variety(samples[count // 4][0] - samples[count // 16][0], wait_s)

    def _learn_variety(self, between_s: float, wait_s: float) -> None:
        """How much the lower waits of a window differ, where nobody waited in the server."""
        varied = between_s / wait_s if wait_s > 0 else 1.0
        self._varied = varied if self._varied is None else self._varied + SETTLING * (varied - self._varied)

    def _is_strange(self, wait_s: float, in_flight: int, now: float) -> bool:
        """Whether no queue of so many explains that wait. When it lasts, it is what the server takes now."""
        if wait_s <= self._explicable_s(in_flight):
            self._strange_since = None
            return False
        if self._strange_since is None:
            self._strange_since = now
        if now - self._strange_since < LASTING * wait_s:
            return True
        self._strange_since = None
        self._raise_floor(wait_s, now)
        return False

    def _raise_floor(self, wait_s: float, now: float) -> None:
        """It was no queue. That is tried again."""
        self._floor_s, self._queued, self._doubt = wait_s, None, DOUBT
        self._held = 1.0
        self._recheck(wait_s, now)

    def _recheck(self, wait_s: float, now: float) -> None:
        self._recheck_at = now + self._held * max(RECHECK_S, RECHECK_WAITS * wait_s)

    def _try(self, trial: Trial, wait_s: float, in_flight: int, now: float) -> None:
        """What a window says while fewer are in flight than might be."""
        late = now - trial.began > TRIAL_WAITS * trial.wait_s + SHORTEST_S
        if self._began - wait_s <= trial.began or in_flight > LESS * trial.in_flight + 1:  # of before it
            self._trial = None if late else trial
        elif wait_s >= FELL * trial.wait_s:
            self._trial = None
        elif not trial.fell:
            self._trial = trial._replace(fell=True)
        else:  # it was our queue, and there may be more of it
            self._trial, self._floor_s, self._held, self._recheck_at = None, wait_s, 1.0, now
            return
        if self._trial is None:
            self._set(max(self._limit, trial.limit), now)
            self._held = min(2 * self._held, RECHECK_MOST)
            self._recheck(trial.wait_s, now)

    def _explicable_s(self, in_flight: int) -> float:
        """A longer wait is no queue of so many: a server that has borne b calls does b in the time that one takes."""
        if self._call_s is None or self._borne == inf:
            return inf
        return self._sense.slower * (self._floor_s + self._call_s * max(0.0, in_flight / self._borne - 1)) + SLACK_S

    def _judge(self, wait_s: float, in_flight: int, rate: float, now: float) -> bool:
        """What a window of samples says: the wait, how many were in flight with it, first bytes per second.

        True when nobody waited.
        """
        if wait_s < self._floor_s:
            self._floor_s = wait_s if self._floor_s == inf else self._floor_s + SINK * (wait_s - self._floor_s)
        allowed_s = self._allowed_s
        in_use = in_flight >= IN_USE * self.limit
        queued = rate * (wait_s - self._floor_s)
        if wait_s > allowed_s and queued >= max(EVIDENCE, EVIDENCE_SHARE * in_flight):
            if self._suspected:
                self._cut(in_flight, wait_s, in_flight - rate * (wait_s - allowed_s), now)
            self._suspected = True
            return False
        self._queued, self._suspected = None, False
        if not in_use:
            self._floor_s += DRIFT * (wait_s - self._floor_s)
            self._doubt *= 1 - DRIFT
        elif now >= self._recheck_at and in_flight >= self.limit - 1:
            self._trial = Trial(in_flight, wait_s, self._limit, now)
            self._set(LESS * in_flight, now)
        elif self._began - wait_s > self._changed_at:  # this was sent under the present limit
            self._set(self._limit + max(1.0, self._growth * self._limit), now)
            if self._limit > self._queued_at:
                self._growth = min(2 * self._growth, GROWTH_MOST)
        return True

    @property
    def _allowed_s(self) -> float:
        most = self._sense.tolerance
        tolerance = most if self._varied is None else min(most, FELT + VARIED * self._varied)
        return (tolerance + self._doubt) * self._floor_s + SLACK_S

    def _bear(self, in_flight: int, now: float) -> None:
        """So many were in flight with one that did not wait."""
        faded = self._borne * 0.5 ** ((now - self._borne_at) / FORGET_S) if self._borne < inf else 0.0
        self._borne, self._borne_at = max(faded, in_flight), now
        self._relimit()

    def _cut(self, in_flight: int, wait_s: float, bears: float, now: float) -> None:
        """Take the queue out of flight, unless a smaller number has shown that it is none."""
        queued = self._queued
        self._peak = float(in_flight) if queued is None else max(self._peak, in_flight)
        if queued is None or in_flight > queued[0]:
            self._queued = in_flight, wait_s
        elif in_flight <= LESS * queued[0]:
            if wait_s >= AS_LONG * queued[1]:
                self._raise_floor(wait_s, now)
                self._set(max(self._limit, self._peak), now)
                return
            self._queued = in_flight, wait_s
        self._growth, self._queued_at = GROWTH, in_flight
        self._set(min(self._limit, max(bears, LESS * in_flight)), now)

    def _set(self, limit: float, now: float) -> None:
        self._limit = min(max(limit, float(self.least)), float(self.most))
        self._changed_at = now
        self._relimit()

    def _relimit(self) -> None:
        """What is not above the reach of what was borne."""
        reach = max(float(ALWAYS_TRIED), self._sense.reach * self._borne)
        self.limit = int(min(max(min(self._limit, reach), self.least), self.most))


HEARD_S: Final = 30.0
"""A kind of call of which nothing was heard for so long does not bind: what it taught may be over."""


class Capacity:
    """What a deployment bears, as its streams and its whole answers tell, each by its own sense."""

    def __init__(self, least: int, most: int) -> None:
        """``least`` and ``most`` calls in flight, 1 <= least <= most."""
        self._streams = AdaptiveLimit(least, most)
        self._wholes = AdaptiveLimit(least, most, WHOLE_ANSWERS)
        self._heard: dict[AdaptiveLimit, float] = {}
        self._binding: tuple[AdaptiveLimit, ...] = (self._streams, self._wholes)

    @property
    def limit(self) -> int:
        """Calls in flight that it bears."""
        return min([each.limit for each in self._binding])

    def allows(self, in_flight: int) -> bool:
        """Whether one more may be sent beside those."""
        return in_flight < self.limit

    def began(self, wait_s: float, in_flight: int, now: float) -> None:
        """A stream began after ``wait_s``; ``in_flight``: with it, when it was sent."""
        self._hear(self._streams, wait_s, in_flight, now)

    def answered(self, took_s: float, in_flight: int, now: float) -> None:
        """A whole answer came."""
        self._hear(self._wholes, took_s, in_flight, now)

    def look(self, now: float, call_s: float | None) -> None:
        """Time has passed. ``call_s``: how long calls usually take, to their last byte; None = not known."""
        for each in self._heard:
            each.look(now, call_s)
        recent = tuple(each for each, heard_at in self._heard.items() if now - heard_at < HEARD_S)
        self._binding = recent or self._binding

    def _hear(self, limit: AdaptiveLimit, wait_s: float, in_flight: int, now: float) -> None:
        if limit not in self._binding:
            self._binding = (*self._binding, limit)
        self._heard[limit] = now
        limit.observe(wait_s, in_flight, now)
