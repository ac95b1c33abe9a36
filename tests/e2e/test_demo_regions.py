"""``penstock demo --regions`` as a user runs it: real processes, one of which is killed and started again."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_demo import PATIENCE_S, PENSTOCK, free_ports

SECONDS = 16


def command(*more: str) -> list[str]:
    """A short and quick one."""
    port, admin = free_ports()
    return [PENSTOCK, "demo", "--regions", "--port", port, "--admin-port", admin, "--speed", "5", *more]


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(each) for each in listed.split()]


def ends(process: int) -> bool:
    """Whether the process of that descriptor ends."""
    return bool(select.select([process], [], [], PATIENCE_S)[0])


@pytest.mark.alone
def test_the_clients_are_answered_elsewhere_and_go_back() -> None:
    """Its clients lose only answers that were being written; its breakers open, and close; nothing on stderr."""
    asked = command("--seconds", str(SECONDS), "--format", "json")
    done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    phases, total = {row["phase"]: row for row in said["rows"]}, said["total"]
    assert list(phases) == ["before", "out", "on trial", "after"]
    before, out, trial, after = phases.values()
    assert before["failed"] == trial["failed"] == after["failed"] == 0
    assert total["failed"] == total["cut"] == out["cut"] < 15
    assert before["home_answered_there"] == before["home_answered"] > 10
    assert out["answered_by_beijing"] <= 2, "only what was on its way when it was killed"
    assert out["home_answered"] > 10
    assert after["home_answered_there"] > 0.6 * after["home_answered"]
    assert total["ejected_s"] < 2
    assert total["fail_over_s"] < 2
    assert 0.1 * SECONDS <= total["fail_back_s"] - total["healed_s"] < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_its_regions_end_with_it(number: signal.Signals) -> None:
    """Interrupted or killed, it leaves no process behind."""
    with subprocess.Popen(command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Both regions" not in process.stdout.readline():
            pass
        regions = [os.pidfd_open(each) for each in children(process.pid)]
        assert len(regions) == 2
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (130 if number is signal.SIGINT else -number)
    assert errors == ""
    assert all(map(ends, regions))
    for each in regions:
        os.close(each)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--regions", "--requests", "10"], "--requests does nothing with --regions"),
        (["--format", "json"], "--format does nothing without --regions"),
        (["--regions", "--seconds", "90"], "60"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options: list[str], words: str) -> None:
    """Bad usage, before anything starts."""
    done = subprocess.run([PENSTOCK, "demo", *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert words in done.stderr
