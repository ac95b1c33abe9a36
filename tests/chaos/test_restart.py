"""B19: restarts and reloads under load fail nothing, cut nothing and lose nothing."""

from pathlib import Path

from tests.support.restart_loop import Load, restart_loop


def test_restarts_and_reloads_under_load(tmp_path: Path) -> None:
    """Three processes after each other, twelve reloads of which four are invalid; the books are exact."""
    with restart_loop(tmp_path, Load(rate=50, streams=8, stream_words=60)) as loop:
        loop.run(restarts=3, reloads=12)
        report = loop.report
    assert [(each.marker, each.status, each.why) for each in report.failed] == []
    assert report.cut == []
    assert (len(report.restart_s), report.reloads, report.refused_reloads) == (3, 12, 4)
    assert report.closed > 0
    assert report.over_budget > 0
    assert report.figures.estimated == 0
    assert report.figures.exact == report.figures.attempts
