"""``penstock serve`` on a machine whose clock is wrong: the same code path, in a world of another time.

python -m tests.support.gateway_with_clock CONFIG SECONDS
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import uvloop

from penstock.clock import SystemClock
from penstock.observe.logs import configure_logs
from tests.support.bill_provider import ROOT
from tests.support.gateway_with_failpoints import main, world_of
from tests.support.many_nodes import House, Node


class Skewed(SystemClock):
    """Ahead, or behind; what is measured is right."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def now(self) -> float:
        """Seconds since the epoch, as far as this machine knows."""
        return super().now() + self._by_s


class SkewedNode(Node):
    """A node on such a machine."""

    by_s = 0.0

    def launch(self) -> None:
        """Begin to serve; do not wait for it."""
        command = [sys.executable, "-m", "tests.support.gateway_with_clock", str(self.config), str(self.by_s)]
        with (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=stderr, stderr=stderr)


def skewed_node(house: House, by_s: float) -> SkewedNode:
    """One more of the house, not started."""
    plain = house.node()
    node = SkewedNode(plain.directory)
    node.by_s, node.port, node.admin_port = by_s, plain.port, plain.admin_port
    house.all_nodes[-1] = node
    return node


if __name__ == "__main__":
    configure_logs()
    world = world_of(words="words")
    world.clock = Skewed(float(sys.argv[2]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), world))
