"""Where the CPU goes: py-spy samples the gateway under one case's load (``pip install py-spy``)."""

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
    command = [spy, "record", "-p", str(process.pid), "-d", str(round(secs)), "-r", str(SAMPLES_PER_S)]
    log = directory / "py-spy.log"
    sampler = Process([*command, "-f", "raw", "-o", raw.as_posix()], core=processes.LOAD_CORE, log=log)
    wrk.run(peer.url(case.name), case.body, connections=peer.connections, secs=secs + 3)
    sampler.end()
    if not raw.exists():
        raise RuntimeError(f"py-spy gave no samples: {log.read_text()[-500:]}")
    return summary(raw.read_text())


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
