"""Where the CPU goes: py-spy samples the gateway under one case's load (``pip install py-spy``).

Only samples that hold the interpreter lock count, by function. What C code does without the lock (SQLite's writing) is
in the line above them, which splits the CPU per request between the event loop's thread and all others.
"""

import shutil
from collections import Counter
from pathlib import Path

from bench.load import processes, wrk
from bench.load.cases import Case
from bench.load.peers import Peer
from bench.load.processes import Process

SAMPLES_PER_S = 500
SHOWN = 40


def profile(peer: Peer, case: Case, secs: float, process: Process, directory: Path) -> str:
    """Load the gateway and sample it meanwhile; the functions by their own and by their whole share."""
    spy = shutil.which("py-spy") or "py-spy"
    raw = directory / f"profile-{peer.name}-{case.name}.txt"
    command = [
        spy,
        "record",
        "-p",
        str(process.pid),
        "-d",
        str(round(secs)),
        "-r",
        str(SAMPLES_PER_S),
        "--gil",
        "--function",
    ]
    log = directory / "py-spy.log"
    before = processes.thread_cpu_s(process.pid)
    sampler = Process([*command, "-f", "raw", "-o", raw.as_posix()], core=processes.LOAD_CORE, log=log)
    load = wrk.run(peer.url(case.name), case.body, connections=peer.connections, secs=secs + 3)
    processes.wait_idle([process.pid], bound_s=5.0)
    spent = {tid: now - before.get(tid, 0.0) for tid, now in processes.thread_cpu_s(process.pid).items()}
    sampler.end()
    if not raw.exists():
        raise RuntimeError(f"py-spy gave no samples: {log.read_text()[-500:]}")
    return threads(spent, process.pid, load.requests) + summary(raw.read_text())


def threads(spent_s: dict[int, float], main: int, requests: int) -> str:
    """CPU per request of the event loop's thread, and of all others; sampling has its price in both."""
    loop_ms, all_ms = (1000 * seconds / max(1, requests) for seconds in (spent_s[main], sum(spent_s.values())))
    return f"event loop {loop_ms:.3f} ms, other threads {all_ms - loop_ms:.3f} ms per request\n"


def summary(raw: str) -> str:
    """py-spy's raw stacks (``a;b;c 12``) as two columns: own share, and share with callees."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = max(1, own.total())
    lines = [f"{100 * own[f] / total:6.1f} % {100 * whole[f] / total:6.1f} %  {f}" for f, _ in own.most_common(SHOWN)]
    return "\n".join(["     own    whole  function", *lines])
