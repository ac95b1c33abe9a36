"""The page on two nodes: every command on it, in their order, as they stand there but for the ports."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway_process import PENSTOCK, environment
from tests.support.postgres_server import shared_server
from tests.support.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "scale-out.md"
PATIENCE_S = 120.0
PORTS = (8787, 8788, 8797, 8798)
FILES = ("penstock.yaml", "nodes.yaml")
"""Whose contents the page shows, in this order."""
AROUND = """
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
{commands}
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that keeps nothing."""
    with redis_server() as started:
        yield started


def blocks(language: str) -> list[str]:
    """What the page shows in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [str(each) for each in found]


def free_ports(count: int) -> list[int]:
    """That nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def test_the_page_leads_from_one_process_to_two_nodes(tmp_path: Path, redis: RedisServer) -> None:
    """Nothing is lost on the way: the key, the answer and the bill of the first process are those of the nodes."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    postgres = shared_server()
    postgres.empty("penstock")
    replaced = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {5432: postgres.port, 6379: redis.port}

    def here(text: str) -> str:
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(replaced[int(port[0])]), text)

    for name, content in zip(FILES, blocks("yaml"), strict=True):
        first = f"server: {{listen: 127.0.0.1:{replaced[8787]}, admin_listen: 127.0.0.1:{replaced[8788]}}}\n"
        (tmp_path / name).write_text(first + here(content))
    commands = here("".join(blocks("sh")))
    path = f"{Path(PENSTOCK).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", AROUND.format(commands=commands)],
        cwd=tmp_path,
        env={**environment(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("x-penstock-cache: exact") == 2, done.stdout
    assert "0 fail" in done.stdout
    assert "no persistence: leases only, budgets safe" in done.stdout
    assert "no persistence: leases only, budgets safe" in done.stderr  # at the start of each node
    assert re.search(r"^shop +3 ", done.stdout, re.MULTILINE), done.stdout
    assert "Traceback" not in done.stderr
