"""What a request costs at several commits, beside nginx: ``python -m bench.commits uniq 3ae8703 HEAD [--rounds 60]``.

On a machine that is shared the same commit takes half as much again within the hour, so what a change costs shows only
side by side: all commits serve at once on one core, each in its turn for a second, in an order that turns around, and
what is compared is the difference of neighbours. CPU is that of all threads, what is written behind included. The
first commit is what the others are held against.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import sqrt
from pathlib import Path
from typing import Final

from bench.load import peers, processes, wrk
from bench.load.cases import CASES

CLIENTS: Final = 64
SLICE_S: Final = 1.0
WARM_S: Final = 1.0
SETTLE_S: Final = 1.5
"""How long what is written behind may take."""
FIRST_PORT: Final = 9601
START: Final = "from penstock.cli.main import main; main()"


def measure(case: str, commits: list[str], rounds: int, directory: Path) -> dict[str, list[float]]:
    """Microseconds of CPU per request, by who served it, a figure per round."""
    figures: dict[str, list[float]] = {}
    with ExitStack() as started:
        started.callback(peers.start_upstream(directory).end)
        served = {"nginx": (peers.PEERS["nginx"].start(directory), peers.PEERS["nginx"].url(case))}
        started.callback(served["nginx"][0].end)
        for number, commit in enumerate(commits):
            served[commit] = started.enter_context(_gateway(commit, FIRST_PORT + 2 * number, directory / str(number)))
        for process, url in served.values():
            peers.await_answer(url, process)
            wrk.run(url, CASES[case].body, connections=CLIENTS, secs=WARM_S)
        for each in range(rounds):
            for name in reversed(served) if each % 2 else served:
                figures.setdefault(name, []).append(_slice(*served[name], case))
    return figures


@contextmanager
def _gateway(commit: str, port: int, directory: Path) -> Iterator[tuple[processes.Process, str]]:
    directory.mkdir()
    packed = ["git", "archive", commit, "src", "prices"]
    archive = subprocess.run(packed, cwd=processes.ROOT, capture_output=True, check=True)  # noqa: S603 (our own commits)
    subprocess.run(["tar", "x"], cwd=directory, input=archive.stdout, check=True)  # noqa: S607 (whichever tar there is)
    config = (peers.HERE / "penstock.yaml").read_text().replace(":9301", f":{port}").replace(":9302", f":{port + 1}")
    (directory / "penstock.yaml").write_text(config)
    process = processes.Process(
        [sys.executable, "-c", START, "serve", "-c", "penstock.yaml"],
        core=processes.GATEWAY_CORE,
        log=directory / "log",
        cwd=directory,
        env=os.environ | {"PYTHONPATH": (directory / "src").as_posix()},
    )
    try:
        yield process, f"http://127.0.0.1:{port}{peers.PATH}"
    finally:
        process.end()


def _slice(process: processes.Process, url: str, case: str) -> float:
    pids = processes.tree(process.pid)
    before_s = processes.cpu_s(pids)
    load = wrk.run(url, CASES[case].body, connections=CLIENTS, secs=SLICE_S)
    processes.wait_idle(pids, bound_s=SETTLE_S)
    if load.errors:
        raise SystemExit(f"{url}: {load.errors} of {load.requests} failed")
    return (processes.cpu_s(pids) - before_s) / load.requests * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=[name for name, case in CASES.items() if case.body])
    parser.add_argument("commits", nargs="+")
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(given.case, given.commits, given.rounds, Path(directory))
    base, nginx_us = figures[given.commits[0]], statistics.median(figures["nginx"])
    sys.stdout.write(f"{given.case}: CPU us per request, {given.rounds} rounds; more than the first: mean +- error\n")
    for name, each in figures.items():
        more = [one - other for one, other in zip(each, base, strict=True)]
        error = statistics.stdev(more) / sqrt(len(more)) if len(more) > 1 else 0.0
        mean = statistics.fmean(more)
        sys.stdout.write(
            f"{name:12} median {statistics.median(each):7.1f}  least {min(each):7.1f}"
            f"  more {mean:+7.1f} +- {error:.1f} = {mean / nginx_us:+.2f}x nginx\n"
        )


if __name__ == "__main__":
    main()
