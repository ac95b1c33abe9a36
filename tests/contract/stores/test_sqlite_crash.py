"""kill -9 loses nothing that a flush acknowledged, and never leaves half an exchange."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLUSHES = (1, 2, 7, 19, 40, 61)
"""After so many the kill comes, in some moment of the next."""


def killed_after(directory: Path, first: int, flushes: int, how: str) -> int:
    """Start a writer, kill it after so many flushes; the number of exchanges it was told are durable."""
    command = [sys.executable, "-m", "tests.contract.stores.crash_writer", str(directory), str(first), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(flushes)]
        process.kill()
        rest = process.stdout.read().decode()
    whole = rest[: rest.rfind("\n") + 1].split()
    return max([*acknowledged, *map(int, whole)])


def test_a_killed_writer_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    """Round after round on one file: the acknowledged exchanges at least, each with its three rows."""
    first = 0
    for flushes in FLUSHES:
        acknowledged = killed_after(tmp_path, first, flushes, "ended")
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            tables = {
                column: {int(id_[3:]) for (id_,) in connection.execute(f"SELECT {column} FROM {table}")}  # noqa: S608 - constants
                for table, column in [("exchanges", "id"), ("attempts", "exchange_id"), ("shares", "attempt_id")]
            }
        exchanges = tables["id"]
        assert tables["exchange_id"] == tables["attempt_id"] == exchanges
        assert exchanges >= set(range(first, acknowledged))
        first = max(exchanges) + 1


CALLS = """
SELECT e.outcome, a.outcome, s.lever FROM exchanges AS e
LEFT JOIN attempts AS a ON a.exchange_id = e.id
LEFT JOIN shares AS s ON s.exchange_id = e.id
ORDER BY e.at
"""


def test_a_killed_writer_leaves_every_call_that_it_began(tmp_path: Path) -> None:
    """What a flush let through is there, wholly open or wholly ended; and ended, if another was begun after it."""
    first = 0
    for flushes in FLUSHES:
        acknowledged = killed_after(tmp_path, first, flushes, "open")
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            calls = connection.execute(CALLS).fetchall()
        assert len(calls) >= acknowledged
        assert set(calls[first:-1]) <= {("ok", "ok", "direct")}
        assert calls[-1] in {("ok", "ok", "direct"), ("open", "open", None)}
        first = len(calls)
