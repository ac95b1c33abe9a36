"""What the clients of two regions saw while one was out: pure arithmetic on their answers and a few marks in time.

Times are seconds since the start. An answer belongs to the phase in which it ended, for one that a kill cuts was sent
before it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

from penstock.cli.demo_report import percent, quantile, time

CUT: Final = "cut"
"""The answer had begun and broke off: nothing can be retried then."""
REFUSED: Final = "refused"
"""No answer began."""
STEADY: Final = 10
"""So many answers in a row are no probe."""

BEFORE: Final = "before"
OUT: Final = "out"
TRIAL: Final = "on trial"
AFTER: Final = "after"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as its client saw it. ``home``: the client's region."""

    home: str
    sent_s: float
    began_s: float | None
    """When the first byte came, of a stream; of a whole answer, all of it."""
    ended_s: float
    streamed: bool
    served_by: str
    """The region that answered; "" = none."""
    calls: int
    """How many calls the gateway made for it."""
    failure: str = ""
    """"" = answered, else ``CUT`` or ``REFUSED``."""

    @property
    def first_byte_s(self) -> float | None:
        """How long the client waited for the first byte of a stream."""
        return self.began_s - self.sent_s if self.streamed and self.began_s is not None else None


@dataclass(slots=True)
class Marks:
    """What happened to the region that is killed; None = not yet, or never."""

    region: str
    killed_s: float | None = None
    ejected_s: float | None = None
    """Its breakers had opened: nothing is sent there any more but to see whether it is back."""
    back_s: float | None = None
    """Its process listened again."""
    healed_s: float | None = None
    """A breaker of it had closed."""
    returned_s: float | None = None
    """Its clients were answered by it again."""
    end_s: float | None = None
    """No more questions from here on."""


class Phase(NamedTuple):
    """A part of the time, with what the clients saw in it. ``home``: only those of the region that was killed."""

    name: str
    since_s: float
    until_s: float
    requests: int
    failed: int
    cut: int
    helped: int
    """Answered after a call that failed: their clients did not notice."""
    answered_by: Mapping[str, int]
    home_answered: int
    home_answered_there: int
    home_p50_s: float
    """To the first byte, of streams."""
    home_p95_s: float
    home_gap_s: float
    """The longest time between two answers."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    regions: Sequence[str]
    marks: Marks
    phases: Sequence[Phase]
    fail_over_s: float | None
    """From the kill to the first answer of another region to a client of the killed one."""

    @property
    def requests(self) -> int:
        """All."""
        return sum(phase.requests for phase in self.phases)

    @property
    def failed(self) -> int:
        """Those whose clients got no whole answer."""
        return sum(phase.failed for phase in self.phases)

    @property
    def cut(self) -> int:
        """Those of them whose answer had begun."""
        return sum(phase.cut for phase in self.phases)

    @property
    def gap_s(self) -> float:
        """The longest time without an answer from the kill on, for clients of the killed region."""
        return max((phase.home_gap_s for phase in self.phases if phase.name != BEFORE), default=0.0)

    @property
    def fail_back_s(self) -> float | None:
        """From the moment it listened again to the first of ``STEADY`` answers in a row to its own clients."""
        return _after(self.marks.returned_s, self.marks.back_s)

    @property
    def extra_s(self) -> tuple[float, float]:
        """How much longer its clients waited for a first byte while it was out: the median, and P95."""
        by_name = {phase.name: phase for phase in self.phases}
        if OUT not in by_name:
            return 0.0, 0.0
        before, out = by_name[BEFORE], by_name[OUT]
        return out.home_p50_s - before.home_p50_s, out.home_p95_s - before.home_p95_s


def report(seen: Sequence[Seen], marks: Marks, regions: Sequence[str]) -> Report:
    """What it came to; ``marks.end_s`` is set."""
    home = [each for each in seen if each.home == marks.region]
    cut = _Phases(seen, marks, regions)
    phases = [cut.phase(*span) for span in _spans(marks)]
    return Report(regions, marks, phases, _fail_over_s(home, marks))


def returned_at_s(seen: Iterable[Seen], marks: Marks) -> float | None:
    """When the region's own clients were served by it again, steadily."""
    if marks.back_s is None:
        return None
    row: list[Seen] = []
    home = [each for each in seen if each.home == marks.region and each.sent_s >= marks.back_s]
    for each in sorted(home, key=lambda each: each.sent_s):
        if each.began_s is None:
            continue
        row = [*row, each] if each.served_by == marks.region else []
        if len(row) == STEADY:
            return min(first.began_s for first in row if first.began_s is not None)
    return None


def _fail_over_s(home: Iterable[Seen], marks: Marks) -> float | None:
    killed_s = marks.killed_s
    if killed_s is None:
        return None
    began = [each.began_s for each in home if each.began_s is not None and each.served_by not in {"", marks.region}]
    return min((began_s - killed_s for began_s in began if began_s >= killed_s), default=None)


def _spans(marks: Marks) -> list[tuple[str, float, float]]:
    """The phases that there were."""
    starts = [(BEFORE, 0.0), (OUT, marks.killed_s), (TRIAL, marks.back_s), (AFTER, marks.returned_s)]
    known = [(name, at_s) for name, at_s in starts if at_s is not None]
    ends = [*(at_s for _, at_s in known[1:]), marks.end_s or 0.0]
    return [(name, since_s, until_s) for (name, since_s), until_s in zip(known, ends, strict=True)]


class _Phases:
    """Cuts what was seen into phases."""

    def __init__(self, seen: Sequence[Seen], marks: Marks, regions: Sequence[str]) -> None:
        self._seen = seen
        self._region = marks.region
        self._regions = regions
        self._end_s = marks.end_s or 0.0
        self._gaps_s = _gaps((each for each in seen if each.home == marks.region), self._end_s)

    def phase(self, name: str, since_s: float, until_s: float) -> Phase:
        """One; the last one has what ended later, too."""

        def is_in(at_s: float) -> bool:
            return since_s <= at_s and (at_s < until_s or until_s == self._end_s)

        mine = [each for each in self._seen if is_in(each.ended_s)]
        answered = [each for each in mine if not each.failure]
        home = [each for each in answered if each.home == self._region]
        waits_s = [each.first_byte_s for each in home if each.first_byte_s is not None]
        return Phase(
            name=name,
            since_s=since_s,
            until_s=until_s,
            requests=len(mine),
            failed=len(mine) - len(answered),
            cut=sum(each.failure == CUT for each in mine),
            helped=sum(each.calls > 1 for each in answered),
            answered_by={region: sum(each.served_by == region for each in answered) for region in self._regions},
            home_answered=len(home),
            home_answered_there=sum(each.served_by == self._region for each in home),
            home_p50_s=quantile(waits_s, 50),
            home_p95_s=quantile(waits_s, 95),
            home_gap_s=max((gap_s for ended_s, gap_s in self._gaps_s if is_in(ended_s)), default=0.0),
        )


def _gaps(home: Iterable[Seen], end_s: float) -> list[tuple[float, float]]:
    """(when it ended, how long it was) of every time without an answer."""
    ends_s = sorted(each.ended_s for each in home if not each.failure)
    if ends_s and ends_s[-1] < end_s:
        ends_s.append(end_s)
    return [(later_s, later_s - earlier_s) for earlier_s, later_s in pairwise(ends_s)]


# --- for programs


def rows(found: Report) -> list[dict[str, object]]:
    """A row per phase."""
    return [
        {
            "phase": phase.name,
            "seconds": _rounded(phase.until_s - phase.since_s),
            "requests": phase.requests,
            "failed": phase.failed,
            "cut": phase.cut,
            "helped": phase.helped,
            **{f"answered_by_{region}": phase.answered_by[region] for region in found.regions},
            "home_answered": phase.home_answered,
            "home_answered_there": phase.home_answered_there,
            "first_byte_p50_s": _rounded(phase.home_p50_s),
            "first_byte_p95_s": _rounded(phase.home_p95_s),
            "longest_gap_s": _rounded(phase.home_gap_s),
        }
        for phase in found.phases
    ]


def total(found: Report) -> dict[str, object]:
    """What it came to in all; a time that never came is null."""
    marks = found.marks
    return {
        "region": marks.region,
        "requests": found.requests,
        "failed": found.failed,
        "cut": found.cut,
        "killed_at_s": _rounded(marks.killed_s),
        "ejected_s": _rounded(_after(marks.ejected_s, marks.killed_s)),
        "fail_over_s": _rounded(found.fail_over_s),
        "extra_p50_s": _rounded(found.extra_s[0]),
        "extra_p95_s": _rounded(found.extra_s[1]),
        "longest_gap_s": _rounded(found.gap_s),
        "back_at_s": _rounded(marks.back_s),
        "healed_s": _rounded(_after(marks.healed_s, marks.back_s)),
        "fail_back_s": _rounded(found.fail_back_s),
    }


def _rounded(seconds: float | None) -> float | None:
    """To the millisecond."""
    return None if seconds is None else round(seconds, 3)


def _after(later_s: float | None, earlier_s: float | None) -> float | None:
    return None if later_s is None or earlier_s is None else later_s - earlier_s


# --- for people


class Line(NamedTuple):
    """A line of the table: what, and a cell per phase; without cells it heads those below it."""

    what: str
    cells: Sequence[str] = ()


def heads(found: Report) -> list[str]:
    """Of the columns."""
    named = {BEFORE: "before", OUT: "out", TRIAL: "on trial", AFTER: "back"}
    return [named[phase.name] for phase in found.phases]


def table(found: Report) -> list[Line]:
    """The manager's table, top to bottom."""
    phases = found.phases

    def line(what: str, cell: Callable[[Phase], str]) -> Line:
        return Line(f"  {what}", [cell(phase) if phase.requests else "-" for phase in phases])

    return [
        Line("all clients"),
        Line("  seconds", [f"{phase.until_s - phase.since_s:.1f}" for phase in phases]),
        line("requests", lambda phase: f"{phase.requests:,}"),
        line("failed", _failed),
        line("saved by another call", lambda phase: f"{phase.helped:,}"),
        *(line(f"answered by {each.title()}", partial(_answered, region=each)) for each in found.regions),
        Line(f"clients in {found.marks.region.title()}"),
        line("answered there", lambda phase: percent(phase.home_answered_there, phase.home_answered)),
        line("first byte, P50", lambda phase: time(phase.home_p50_s)),
        line("first byte, P95", lambda phase: time(phase.home_p95_s)),
        line("longest silence", lambda phase: time(phase.home_gap_s)),
    ]


def _failed(phase: Phase) -> str:
    return f"{phase.failed:,} ({percent(phase.failed, phase.requests)})" if phase.failed else "0"


def _answered(phase: Phase, region: str) -> str:
    return f"{phase.answered_by[region]:,}"


def story(found: Report) -> list[str]:
    """The same in sentences."""
    marks, title = found.marks, found.marks.region.title()
    if marks.killed_s is None:
        return ["It ended before anything happened."]
    median_s, p95_s = found.extra_s
    return [
        f"{title} was killed {marks.killed_s:.1f} s after the start. {_ejected(found)} {_over(found)}",
        (
            f"Of {found.requests:,} requests {found.failed} failed: {found.cut} while the answer was being written "
            f"(after its first byte nothing is asked again), {found.failed - found.cut} without any answer."
        ),
        (
            f"While {title} was out, its clients waited {_signed(median_s)} (P50) and {_signed(p95_s)} (P95) for the "
            f"first byte than before. From the kill on, their longest time without an answer was {time(found.gap_s)}."
        ),
        _back(found),
    ]


def _ejected(found: Report) -> str:
    after_s = _after(found.marks.ejected_s, found.marks.killed_s)
    return "Its breakers did not open." if after_s is None else f"Its breakers had opened after {time(after_s)}."


def _over(found: Report) -> str:
    if found.fail_over_s is None:
        return "No other region answered its clients."
    return f"Its clients had the first answer from elsewhere after {time(found.fail_over_s)}."


def _back(found: Report) -> str:
    marks, title = found.marks, found.marks.region.title()
    if marks.back_s is None:
        return f"{title} did not come back."
    since = f"{title} listened again {marks.back_s - (marks.killed_s or 0.0):.1f} s after the kill."
    healed_s = _after(marks.healed_s, marks.back_s)
    if healed_s is None:
        return f"{since} Its breakers did not close before the end."
    healed = f"{since} Single requests found it well, and a breaker closed, after {time(healed_s)};"
    if found.fail_back_s is None:
        return f"{healed} its clients did not go back before the end."
    return f"{healed} it stayed so, and its clients went back after {time(found.fail_back_s)}."


def _signed(seconds: float) -> str:
    return f"{time(abs(seconds))} {'more' if seconds >= 0 else 'less'}"
