"""B01: whatever kills the gateway, and wherever: what was known is exact, what was cut is covered, nothing is lost."""

from pathlib import Path

import pytest

from penstock.ports.faults import FAIL_POINTS
from tests.support.failpoints import KillAt
from tests.support.kill_loop import Kill, kill_loop


def test_death_at_any_moment_and_at_every_step(tmp_path: Path) -> None:
    """A death at some moment, and one at each fail-point, under mixed load; the books are checked after each."""
    with kill_loop(tmp_path, streams=16, seed=20261122) as loop:
        loop.cycle(Kill())
        for number, point in enumerate(FAIL_POINTS):
            loop.cycle(Kill(point, 3 + 7 * number))
        report = loop.report
    assert report.kills == 1 + len(FAIL_POINTS)
    assert report.figures.exact > 0
    assert report.recovered > 0


def test_a_fail_point_has_a_name() -> None:
    """A misspelt one would never kill."""
    with pytest.raises(ValueError, match="no fail-point"):
        KillAt("setle", 1)
