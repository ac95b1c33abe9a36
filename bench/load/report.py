"""The table of a run: min / median / max over repetitions, ratios to the reference, and what is over its limit."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.load.cases import (
    ADDED_P50_LIMIT_MS,
    CACHE_MB,
    CASES,
    REFERENCE,
    RSS_LIMIT_MB,
    RSS_REQUESTS,
    Case,
)
from bench.load.cells import Cell

OURS = "penstock"
BUDGETED = "budgets"
ERROR_SHARE_LIMIT = 0.001
"""More errors than this, and a cell says nothing about speed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of ours beside its limit; ``measured`` None = it is missing."""

    what: str
    measured: float | None
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether it was measured and is within the limit."""
        return self.measured is not None and self.measured <= self.limit

    def line(self) -> str:
        """A row of the table of limits."""
        measured = "not measured" if self.measured is None else f"{self.measured:.2f}{self.unit}"
        return f"| {self.what} | {measured} | {self.limit:g}{self.unit} | {'yes' if self.kept else '**no**'} |"


class Results:
    """The cells of a run, by peer and case."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = list(cells)

    def values(self, peer: str, case: str, field: str) -> list[float]:
        """The figures of every repetition that has one, sound cells only."""
        found = [getattr(cell, field) for cell in self.of(peer, case) if sound(cell)]
        return sorted(value for value in found if value is not None)

    def median(self, peer: str, case: str, field: str) -> float | None:
        """The middle one; None when there is none."""
        values = self.values(peer, case, field)
        return statistics.median(values) if values else None

    def of(self, peer: str, case: str) -> list[Cell]:
        """The cells of one peer and case."""
        return [cell for cell in self.cells if (cell.peer, cell.case) == (peer, case)]

    def ratio(self, peer: str, case: str) -> float | None:
        """CPU per request in times the reference's, medians of the same run."""
        ours, floor = self.median(peer, case, "cpu_ms"), self.median(REFERENCE, case, "cpu_ms")
        return ours / floor if ours is not None and floor else None

    def peers(self) -> list[str]:
        """In the order in which they appear."""
        return list(dict.fromkeys(cell.peer for cell in self.cells))

    def unsound(self) -> list[Cell]:
        """Cells that failed, or answered with errors."""
        return [cell for cell in self.cells if not sound(cell)]


def sound(cell: Cell) -> bool:
    """Whether the cell's figures are those of answers."""
    return not cell.failed and cell.errors <= cell.requests * ERROR_SHARE_LIMIT


def verdicts(results: Results) -> list[Verdict]:
    """Every limit of the issue, beside what was measured."""
    found = [
        Verdict(f"{case.name}: CPU per request / {REFERENCE}'s", results.ratio(OURS, case.name), case.limit, "x")
        for case in CASES.values()
        if case.limit is not None
    ]
    for name, what in (("uniq", "added P50, one client, whole answer"), ("ttft", "added P50, one client, first byte")):
        found.append(Verdict(what, results.median(OURS, name, "added_p50_ms"), ADDED_P50_LIMIT_MS, " ms"))
    found.append(
        Verdict(f"budgets: CPU per miss more than without, in times {REFERENCE}'s", _dearer(results), 2.5, "x")
    )
    rss_mb = results.values(OURS, "rss", "rss_mb")
    what = f"RSS after {RSS_REQUESTS:,} requests (limit: {RSS_LIMIT_MB:g} MB + {CACHE_MB:g} MB of cache)"
    return [*found, Verdict(what, max(rss_mb, default=None), RSS_LIMIT_MB + CACHE_MB, " MB")]


def _dearer(results: Results) -> float | None:
    """What budgets add to a miss."""
    with_them, without = results.ratio(BUDGETED, "uniq"), results.ratio(OURS, "uniq")
    return None if with_them is None or without is None else with_them - without


def spread(values: Sequence[float], digits: int = 3) -> str:
    """``min / median / max``."""
    if not values:
        return "-"
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def case_section(results: Results, case: Case) -> str:
    """The measurements of one case, a row per peer."""
    columns: dict[str, Callable[[str], str]] = {
        "gateway": lambda peer: peer,
        "CPU ms per request": lambda peer: spread(results.values(peer, case.name, "cpu_ms")),
        "x nginx": lambda peer: "-" if (ratio := results.ratio(peer, case.name)) is None else f"{ratio:.2f}",
        "requests/s": lambda peer: spread(results.values(peer, case.name, "rps"), 0),
        "P50 ms at one client": lambda peer: spread(results.values(peer, case.name, "one_p50_ms"), 2),
        "added": lambda peer: spread(results.values(peer, case.name, "added_p50_ms"), 2),
        "RSS MB": lambda peer: spread(results.values(peer, case.name, "rss_mb"), 0),
        "others' cores": lambda peer: spread(results.values(peer, case.name, "others"), 2),
    }
    peers = [peer for peer in results.peers() if any(sound(cell) for cell in results.of(peer, case.name))]
    rows = [[column(peer) for column in columns.values()] for peer in peers]
    used = [i for i, name in enumerate(columns) if name == "gateway" or any(row[i] != "-" for row in rows)]
    head = list(columns)
    return f"### {case.name}\n\n" + table([head[i] for i in used], [[row[i] for i in used] for row in rows])


def markdown(results: Results) -> str:
    """The limits, then every case, then what went wrong."""
    limits = "\n".join(verdict.line() for verdict in verdicts(results))
    parts = ["## Limits\n\n| figure | measured (median) | limit | kept |\n|---|---|---|---|\n" + limits]
    parts.append("## Cases\n\nmin / median / max over the repetitions.")
    parts += [case_section(results, case) for case in CASES.values() if any(c.case == case.name for c in results.cells)]
    for cell in results.unsound():
        why = cell.failed.splitlines()[0][:200] if cell.failed else f"{cell.errors} errors in {cell.requests} requests"
        parts.append(f"- Left out: {cell.peer} {cell.case}, repetition {cell.rep}: {why}")
    return "\n\n".join(parts) + "\n"
