"""The head of RESULTS.md: where, when and of what the figures are."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.load.processes import LOAD_CORE, output
from bench.load.session import Plan

_HEADING = """\
# Load benchmark

Made by `python bench/run.py --reps {reps} --secs {secs:g} --peers {peers}` on {day}.

- Machine: {machine}; gateway on core 0, load and mock provider on core 1.
- Versions: {versions}.
- Unit: CPU milliseconds per request of the gateway's whole process tree, from /proc, from the first request until the
  tree is idle again (what is written behind counts too). [load/README.md](load/README.md) explains cases and method.

"""


def heading(plan: Plan) -> str:
    """The text above the tables."""
    wrk = output(["sh", "-c", "wrk -v 2>&1 | head -1"], core=LOAD_CORE, timeout_s=10).split(" [")[0].strip()
    return _HEADING.format(
        reps=plan.reps,
        secs=plan.secs,
        peers=",".join(peer.name for peer in plan.peers),
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        versions="; ".join([*(peer.version() for peer in plan.peers), wrk]),
    )


def machine() -> str:
    """The processor and the system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    return f"{model}, {os.cpu_count()} cores, Linux {kernel}, Python {sys.version.split()[0]}"
