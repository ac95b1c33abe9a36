"""B01 in full: two hundred deaths under sixty-four streams, half of them at fail-points. Prints its figures."""

import random
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from penstock.ports.faults import FAIL_POINTS
from tests.support.kill_loop import Kill, Report, kill_loop

KILLS = 200
STREAMS = 64
SEED = 20261122


def deaths(rng: random.Random) -> list[Kill]:
    """At some moment, and at each fail-point in turn."""
    points = [Kill(FAIL_POINTS[number % len(FAIL_POINTS)], rng.randint(1, 2 * STREAMS)) for number in range(KILLS // 2)]
    return [kill for point in points for kill in (Kill(), point)]


def show(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for people."""
    table = Table("B01: kill -9", f"{STREAMS} streams, seed {SEED}")
    for name, value in report.rows:
        table.add_row(name, value)
    with capsys.disabled():
        Console(width=100).print("", table)


@pytest.mark.soak
def test_two_hundred_deaths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After each of them the books are checked as a whole against the bill."""
    with kill_loop(tmp_path, streams=STREAMS, seed=SEED) as loop:
        try:
            for kill in deaths(random.Random(SEED)):  # noqa: S311 - chance, no secret
                loop.cycle(kill)
        finally:
            show(loop.report, capsys)
        assert loop.report.kills == KILLS
