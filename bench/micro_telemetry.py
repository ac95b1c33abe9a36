"""What OTLP costs a request: the same gateway four times in one process, turn by turn, as ``micro_metrics`` does it.

    python -m bench.micro_telemetry [--turns 40]

Off; metrics; traces and metrics with 10 % recorded, and with all. What a turn has recorded is sent within the turn,
compressed, to a server of another process, and all of it counts. Bar: at 10 % no more than 3 times what nginx takes.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvloop

from bench.load import peers, processes
from bench.micro_metrics import CONFIG, REQUESTS, cpu_us, nginx_us, opened
from penstock.gateway.gateway import Gateway
from penstock.observe.metrics import Metrics
from penstock.server.app import DataPlane

OFF: Final = "off"
SECTIONS: Final = {
    OFF: "",
    "metrics": "telemetry: {otlp: 'http://127.0.0.1:9100', traces: false}\n",
    "10 %": "telemetry: {otlp: 'http://127.0.0.1:9100', sample: 0.1}\n",
    "100 %": "telemetry: {otlp: 'http://127.0.0.1:9100', sample: 1.0}\n",
}
PATIENCE_S: Final = 10.0


class Told:
    """The data plane of a gateway that tells a collector what became of a turn's requests before the turn is over."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._app = DataPlane(gateway)

    async def turn_us(self, case: str) -> float:
        """CPU per request, the posts included."""
        return await cpu_us(self._app, case, self._gateway.telemetry.traces.flush)

    @property
    def lost(self) -> int:
        """Requests whose spans were not taken: then the figure is of something else."""
        tally = self._gateway.telemetry.traces.tally
        return tally.dropped + tally.refused + len(self._gateway.telemetry.traces)


async def costs(turns: int) -> dict[str, dict[str, float]]:
    """By case and section: what is added to a request, in microseconds of CPU; ``off``: the whole request."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        gateways = [await opened(Path(directory), Metrics, CONFIG + section) for section in SECTIONS.values()]
        told = [Told(gateway) for gateway in gateways]
        for case in REQUESTS:
            runs = [await _turn(told, case, first) for first in range(turns)]
            found[case] = {
                name: statistics.median(run[place] - (run[0] if place else 0) for run in runs)
                for place, name in enumerate(SECTIONS)
            }
        if any(each.lost for each in told):
            raise RuntimeError("the collector did not take all spans")
        for gateway in gateways:
            await gateway.close()
    return found


async def _turn(told: list[Told], case: str, first: int) -> list[float]:
    """What each takes. Another is first each time, and none pays for the garbage of the one before it."""
    found = [0.0] * len(told)
    for place in sorted(range(len(told)), key=lambda place: (place - first) % len(told)):
        gc.collect()
        found[place] = await told[place].turn_us(case)
    return found


async def _await(process: processes.Process) -> None:
    """Until the server listens."""
    async with asyncio.timeout(PATIENCE_S):
        while not process.ended:
            with suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", 9100))[1].close()
                return
            await asyncio.sleep(0.05)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="CPU per request with OTLP and without.")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--no-nginx", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        collector = peers.start_upstream(Path(directory))
        try:
            uvloop.run(_await(collector))
            found = uvloop.run(costs(asked.turns))
        finally:
            collector.end()
    floor = {} if asked.no_nginx else nginx_us()
    names = [name for name in SECTIONS if name != OFF]
    sys.stdout.write(f"| case | us without | {' | '.join(f'{name} adds (x nginx)' for name in names)} | nginx |\n")
    sys.stdout.write(f"|---{'|---' * (len(names) + 2)}|\n")
    for case, added in found.items():
        cells = [
            f"{added[name]:.1f} ({added[name] / floor[case]:.2f})" if floor else f"{added[name]:.1f}" for name in names
        ]
        sys.stdout.write(f"| {case} | {added[OFF]:.0f} | {' | '.join(cells)} | {floor.get(case, 0):.1f} |\n")


if __name__ == "__main__":
    main()
