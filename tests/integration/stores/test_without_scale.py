"""The extra ``scale`` is for those who scale: without it everything else works, and what needs it says so."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_memory_and_sqlite_need_no_extra_and_the_others_name_it(tmp_path: Path) -> None:
    """In a process that can import neither driver: no module asks for one, both serve, commands name the extra."""
    command = [sys.executable, "-m", "tests.support.without_scale", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    memory, sqlite, *refused = done.stdout.splitlines()
    assert (memory, sqlite) == ("memory: 200", "sqlite:here.db 200")
    assert len(refused) == 6
    for line in refused:
        assert line.startswith("1 a store in PostgreSQL needs the extra `scale`: pip install 'penstock[scale]'")
        assert "Traceback" not in line
