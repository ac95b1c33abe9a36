"""B19 in full: twenty restarts and two hundred reloads, a third of them invalid, under load. Prints its figures."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.support.restart_loop import Load, Report, restart_loop

RESTARTS = 20
RELOADS = 200
LOAD = Load(rate=200, streams=64, gap_ms=70, poor_tokens=20_000)


def show(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for people."""
    table = Table("B19: restarts under load", f"{LOAD.rate} requests per second, {LOAD.streams} long streams")
    for name, value in report.rows:
        table.add_row(name, value)
    with capsys.disabled():
        Console(width=100).print("", table)


@pytest.mark.soak
def test_twenty_restarts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing fails, nothing is cut, no row is lost, and the books are exact."""
    with restart_loop(tmp_path, LOAD) as loop:
        try:
            loop.run(restarts=RESTARTS, reloads=RELOADS)
        finally:
            show(loop.report, capsys)
        report = loop.report
    assert [(each.marker, each.status, each.why) for each in report.failed] == []
    assert report.cut == []
    assert (len(report.restart_s), report.reloads, report.refused_reloads) == (RESTARTS, RELOADS, RELOADS // 3)
    assert report.over_budget > 0
    assert report.figures.estimated == 0
