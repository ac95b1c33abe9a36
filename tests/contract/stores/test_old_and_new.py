"""Two versions on one PostgreSQL: the old code on the new schema, and the new code on what the old one left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import SchemaTooOld
from penstock.stores.new_key import new_key
from penstock.stores.open import open_reader
from penstock.stores.postgres_schema import FOLDER
from penstock.stores.queries import load_migrations
from tests.contract.stores.postgres_nodes import node
from tests.support.ledger_rows import rows_of
from tests.support.postgres_server import shared_server

ROOT = Path(__file__).parents[3]
OLD = Path(__file__).parent / "old" / "before_0003.zip"


class OldNode:
    """A process of the version before."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, order: str) -> str:
        """What it says to that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, self._process.stderr and self._process.stderr.read()
        return said.strip()


@contextmanager
def _old_node(url: str, directory: Path) -> Iterator[OldNode]:
    """Open until the block ends; it must end well."""
    env = {**os.environ, "PYTHONPATH": f"{OLD}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.contract.stores.old_node", url, str(directory)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=ROOT) as process:
        try:
            yield OldNode(process)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        finally:
            process.kill()


async def test_two_versions_serve_side_by_side(tmp_path: Path) -> None:
    """What one writes the other reads, keys and money alike; the fence holds between them; either may start last."""
    url = shared_server().empty(f"versions_{tmp_path.name}")
    with _old_node(url, tmp_path / "a") as old:
        assert old.do("version") < load_migrations(FOLDER)[-1][0]
        assert old.do("write 1") == "1"
        assert old.do("key made-by-old") == "1"
        with pytest.raises(SchemaTooOld, match="lacks"):
            async with open_reader(url, tmp_path):
                pytest.fail("who only reads changes nothing")
        async with node(url, tmp_path / "b") as new:
            assert await new.requests() == 1
            await new.begin("new")
            new.ledger.append(rows_of(2))
            await new.ledger.flush()
            await new.ledger.settled()
            await new.stores.keys.add(new_key("made-by-new", id_="n", digest=str, now=1.0)[1])
            assert old.do("write 3") == "3"
            assert old.do("keys") == "['made-by-new', 'made-by-old']"
            assert sorted(key.name for key in await new.stores.keys.list()) == ["made-by-new", "made-by-old"]

            new.ledger.append(rows_of(3))  # said again, by whomever, it is there once
            await new.ledger.flush()
            await new.ledger.settled()
            assert await new.requests() == 3
            (theirs,) = [lease.id for lease in await new.leases.alive() if lease.node == "old"]
            assert await new.leases.end(theirs)
            assert old.do("open 4") == "its lease has ended"

            with _old_node(url, tmp_path / "c") as last:
                assert last.do("write 5") == "4"
            assert await new.requests() == 4
