"""B15 in full: long deadlines, a byte in ten seconds, two rounds on one gateway. Prints its figures."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.chaos.test_stalls import check_stalls
from tests.support.stalls import End, Scale, stalls

LONG = Scale(connect_s=5.0, first_byte_s=20.0, between_s=14.0, total_s=50.0, byte_s=10.0, comment_s=1.0)
ROUNDS = 2


def show(rounds: list[dict[str, End]], capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for people."""
    table = Table("B15: silent providers", "deadline", "s", *(f"round {number + 1}" for number in range(len(rounds))))
    for name, end in rounds[0].items() if rounds else ():
        limit = f"{getattr(LONG, f'{end.way.deadline}_s'):g}" if end.way.deadline else ""
        table.add_row(name, end.way.deadline, limit, *(f"{ends[name].took_s:.2f}" for ends in rounds))
    with capsys.disabled():
        Console(width=120).print("", table)


@pytest.mark.soak
def test_every_silence_ends_at_its_deadline_again_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To a tenth, in every round, and after each of them nothing is kept."""
    with stalls(tmp_path, LONG) as place:
        rounds = [check_stalls(place) for _ in range(ROUNDS)]
    show(rounds, capsys)
