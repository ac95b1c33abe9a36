"""The benchmark's tables and verdicts, against cells made up by hand."""

import pytest

from bench.load.cases import CACHE_MB, RSS_LIMIT_MB
from bench.load.cells import Cell
from bench.load.report import Results, markdown, spread, verdicts

FLOOR = [
    Cell(peer="nginx", case="uniq", rep=rep, requests=1000, cpu_ms=cpu) for rep, cpu in enumerate((0.02, 0.03, 0.025))
]
OURS = [
    Cell(peer="penstock", case="uniq", rep=rep, requests=1000, cpu_ms=cpu) for rep, cpu in enumerate((0.2, 0.3, 0.25))
]


def kept(cells: list[Cell]) -> dict[str, bool]:
    """Each limit by the first word of its name."""
    return {verdict.what.split(":")[0].split(" after")[0]: verdict.kept for verdict in verdicts(Results(cells))}


def test_a_ratio_is_of_medians() -> None:
    """One slow repetition moves nothing."""
    assert Results(FLOOR + OURS).ratio("penstock", "uniq") == pytest.approx(10.0)


def test_what_was_not_measured_is_not_kept() -> None:
    """A limit without a figure fails the check."""
    assert not any(kept([]).values())
    assert not kept(OURS)["uniq"]


@pytest.mark.parametrize(("cpu_ms", "within"), [(0.3, True), (0.31, False)])
def test_a_limit_holds_up_to_itself(cpu_ms: float, *, within: bool) -> None:
    """Twelve times nginx is kept, a little more is not."""
    ours = Cell(peer="penstock", case="uniq", rep=0, requests=1000, cpu_ms=cpu_ms)
    floor = Cell(peer="nginx", case="uniq", rep=0, requests=1000, cpu_ms=0.025)
    assert kept([floor, ours])["uniq"] is within


def test_memory_counts_at_its_worst() -> None:
    """The largest of all repetitions is held against the limit and the cache's configured bytes."""
    limit = RSS_LIMIT_MB + CACHE_MB
    small = Cell(peer="penstock", case="rss", rep=0, requests=10**5, rss_mb=limit)
    large = Cell(peer="penstock", case="rss", rep=1, requests=10**5, rss_mb=limit + 1)
    assert kept([small])["RSS"]
    assert not kept([small, large])["RSS"]


@pytest.mark.parametrize("bad", [{"errors": 2}, {"failed": "no figures"}])
def test_a_cell_of_errors_says_nothing(bad: dict[str, object]) -> None:
    """Errors are quick to answer: their figures are left out, and the table says so."""
    broken = Cell(peer="penstock", case="uniq", rep=7, requests=1000, cpu_ms=0.001, **bad)  # type: ignore[arg-type]  # the fields of a Cell, by name
    results = Results([*FLOOR, *OURS, broken])
    assert results.ratio("penstock", "uniq") == pytest.approx(10.0)
    assert "Left out: penstock uniq, repetition 7" in markdown(results)


def test_the_table_has_a_row_per_peer_and_no_empty_columns() -> None:
    """What no peer has a figure for is no column."""
    text = markdown(Results(FLOOR + OURS))
    assert "| nginx | 0.020 / 0.025 / 0.030 | 1.00 |" in text
    assert "| penstock | 0.200 / 0.250 / 0.300 | 10.00 |" in text
    assert "RSS MB" not in text


def test_a_spread_is_least_middle_most() -> None:
    """In this order, however they came."""
    assert spread([3.0, 1.0, 2.0], 1) == "1.0 / 2.0 / 3.0"
    assert spread([]) == "-"
