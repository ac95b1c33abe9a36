"""``penstock demo`` as a user runs it: a process of its own, real HTTP on loopback, real time sped up."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PENSTOCK = Path(sys.executable).with_name("penstock").as_posix()
PATIENCE_S = 60.0


def free_ports() -> tuple[str, str]:
    """Two that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return str(one.getsockname()[1]), str(other.getsockname()[1])


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A short and quick demo."""
    port, admin = free_ports()
    return [
        PENSTOCK,
        "demo",
        "--port",
        port,
        "--admin-port",
        admin,
        "--requests",
        "60",
        "--speed",
        "8",
        "--svg",
        f"{tmp_path}/demo.svg",
    ]


@pytest.fixture
def still_serving(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A demo that goes on serving, with its output to be read; gone afterwards."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.alone
def test_the_demo_tells_what_was_saved(command: list[str], tmp_path: Path) -> None:
    """Without a key or a network: 40 % from the cache, a smaller bill, a month, a picture, and nothing on stderr."""
    done = subprocess.run([*command, "--no-serve"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"Cache hit rate +│ +0\.0 % │ +40\.0 % │ +\+40\.0 points", done.stdout)
    month = re.search(r"A month of 12,800 CNY .* becomes\s+([\d,]+) CNY", done.stdout)
    assert month is not None
    assert 7_000 < int(month[1].replace(",", "")) < 9_500
    assert "<svg" in (tmp_path / "demo.svg").read_text("utf-8")


def test_it_goes_on_serving_until_it_is_told_to_end(still_serving: subprocess.Popen[str]) -> None:
    """The ledger can be asked meanwhile; Ctrl-C is a normal end."""
    assert still_serving.stdout is not None
    said = ""
    while "Ctrl-C ends it" not in said:
        line = still_serving.stdout.readline()
        assert line, f"it ended after saying: {said}"
        said += line
    config = re.search(r"-c (\S+)", said)
    assert config is not None
    spend = [PENSTOCK, "spend", "--by", "lever", "--format", "csv", "-c", config[1]]
    asked = subprocess.run(spend, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert {line.split(",")[0] for line in asked.stdout.splitlines()} >= {"lever", "direct", "exact"}
    still_serving.send_signal(signal.SIGINT)
    assert still_serving.wait(PATIENCE_S) == 0
    assert not Path(config[1]).exists()


def test_a_taken_port_is_named(command: list[str]) -> None:
    """The message says which, and what to do; no traceback."""
    with socket.create_server(("127.0.0.1", int(command[3]))):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{command[3]} is in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
