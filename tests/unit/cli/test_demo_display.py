"""What the demo prints: progress, result, and the picture of it."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from penstock.cli.demo_display import NOT_CLAIMED, Progress, capture, result
from penstock.cli.demo_report import Leg
from penstock.cli.demo_traffic import Tally
from penstock.cli.main import run

BEFORE = Leg(10, 1, 0, 20_000_000, [2.0] * 9)
AFTER = Leg(10, 0, 4, 12_660_000, [1.0] * 10)


def console(*, terminal: bool) -> Console:
    """One that writes to memory."""
    return Console(file=StringIO(), force_terminal=terminal, width=200, legacy_windows=False)


def printed(target: Console) -> str:
    """What it has printed."""
    assert isinstance(target.file, StringIO)
    return target.file.getvalue()


def test_a_pipe_gets_a_line_per_tenth() -> None:
    """Ten lines at most, however often one looks, each complete in itself."""
    before, after, target = Tally(), Tally(), console(terminal=False)
    progress = Progress(target, 50, before, after)
    with progress.live():
        for _ in range(50):
            before.answered += 1
            before.cost_nano += 2_000_000
            after.answered += 1
            after.hits += after.answered % 5 < 2
            after.cost_nano += 1_000_000
            after.latencies_s.append(1.5)
            progress.step()
            progress.step()
    lines = printed(target).splitlines()
    assert len(lines) == 10
    assert lines[-1] == (
        "50/50 questions, 40.0 % from the cache, cost 0.0500 CNY instead of 0.1000 CNY (50.0 % saved), P95 1.50 s"
    )


def test_a_terminal_gets_both_ways_side_by_side() -> None:
    """And no lines between."""
    target = console(terminal=True)
    progress = Progress(target, 50, Tally(answered=3, cost_nano=10**9), Tally(answered=5, hits=2, cost_nano=10**8))
    progress.step()
    assert printed(target) == ""
    target.print(progress.picture())
    text = printed(target)
    assert "without Penstock" in text
    assert "5 of 50 questions" in text
    assert "90.0 %" in text


def test_the_result_says_what_it_claims_and_what_not() -> None:
    """The table, the month, the ledger's levers, and the levers that are not counted."""
    target = console(terminal=False)
    for part in result(BEFORE, AFTER, 7_340_000, "exact 0.0073 CNY"):
        target.print(part)
    text = printed(target)
    assert "A month of 12,800 CNY (6.4 million questions like these) becomes 8,102 CNY: 4,698 CNY saved" in text
    assert "Repeated questions were 36.7 % of the bill" in text
    assert "exact 0.0073 CNY" in text
    assert NOT_CLAIMED[:40] in text


def test_only_what_became_better_is_green() -> None:
    """A P95 that rose is red; what did not change has no colour."""
    target = console(terminal=True)
    after = Leg(10, 1, 4, 12_660_000, [1.0] * 8 + [3.0])
    target.print(*result(BEFORE, after, 0, ""))
    lines = {
        line.split("│")[1].strip(): line
        for line in printed(target).splitlines()
        if line.count("│") == 5 and "before" not in line
    }
    green, red = "\x1b[32m", "\x1b[31m"
    assert {name: ("green" if green in line else "red" if red in line else "") for name, line in lines.items()} == {
        "Cost": "green", "Saved": "green", "Mean time to answer": "green", "P95 time to answer": "red",
        "Cache hit rate": "green", "Error rate": "",
    }  # fmt: skip


@pytest.mark.parametrize("where", ["nowhere/demo.svg", "."])
def test_a_picture_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 at once."""
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--svg", where, "--no-serve"]) == 2
    assert "--svg" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["A month of", "12,800", "-36.7"])
def test_the_picture_shows_the_result_and_loads_nothing(tmp_path: Path, word: str) -> None:
    """A picture in a README must not fetch a font from somewhere."""
    path = tmp_path / "demo.svg"
    capture(path, lambda target: target.print(*result(BEFORE, AFTER, 0, "")))
    text = path.read_text("utf-8").replace("&#160;", " ")
    assert word in text
    assert "url(http" not in text
    assert "@font-face" not in text
