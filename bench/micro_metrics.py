"""What metrics cost a request: the same gateway twice in one process, with metrics and without, turn by turn.

    python -m bench.micro_metrics [--turns 60]

Without: everything is as it is, and nothing is counted. A turn is some requests of one kind to each of the two, one
after the other, in this process and without a network; the figure is the median over the turns of the difference in
CPU per request. Beside it, in the same run, what nginx takes for a proxied request of that kind (needs nginx and wrk,
see load/README.md; ``--no-nginx`` leaves it out). Bar: metrics cost no more than nginx does.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

from bench.load import peers, processes, wrk
from bench.load.cases import CASES
from bench.load.cells import Spent
from penstock.clock import SystemClock
from penstock.compose import World, open_gateway
from penstock.config.load import load
from penstock.core.records import AttemptRow, ExchangeRow, ShareRow
from penstock.gateway.gateway import Gateway
from penstock.observe.metrics import Metrics
from penstock.providers.registry import KINDS
from penstock.providers.scripted import Scripted
from penstock.server.app import DataPlane
from penstock.server.replies import row_of
from tests.support.asgi_client import Asking, http_scope

CONFIG: Final = """
store: "memory:"
server: {secret: a-pepper-of-at-least-thirty-two-bytes}
providers: {one: {kind: scripted, prices: {input: 2, cached_input: 0.5, output: 8, currency: CNY}}}
models: {m: {deployments: [{provider: one, model: m-1}]}}
"""
REQUESTS: Final = {"uniq": 200, "hit": 400, "ustream": 20}
"""Of a turn, by case of the load benchmark: a miss, an exact hit, a stream of a hundred chunks."""
CHUNKS: Final = 100
OK: Final = 200
LOAD_S: Final = 3.0
_NUMBERS: Final = count()


class Unmeasured(Metrics):
    """Counts nothing."""

    def observe(
        self, row: ExchangeRow, attempts: Sequence[AttemptRow], shares: Sequence[ShareRow], trace_id: str = ""
    ) -> None:
        """Look away."""


async def opened(directory: Path, metrics: type[Metrics], config: str = CONFIG) -> Gateway:
    """A gateway whose provider answers at once."""
    clock = SystemClock()
    provider = Scripted(clock)
    provider.stream(["word "] * CHUNKS).forever()
    path = directory / "penstock.yaml"
    path.write_text(config)
    world = World(clock, transports={"scripted": provider}, metrics=metrics)
    return await open_gateway(load(path, {}, registry=KINDS), lambda error: row_of(error).status, world)


async def cpu_us(app: DataPlane, case: str, end: Callable[[], Awaitable[None]] | None = None) -> float:
    """Per request of a turn; ``end``: what is done at its end. Raises RuntimeError when one is not answered."""
    bodies = [_body(case) for _ in range(REQUESTS[case])]
    before = time.process_time()
    for body in bodies:
        lines = [(b"content-length", b"%d" % len(body))]
        asking = await Asking(app, http_scope("/v1/chat/completions", lines), [body]).done()
        if asking.status != OK:
            raise RuntimeError(asking.body.decode())
    if end is not None:
        await end()
    return (time.process_time() - before) / len(bodies) * 1e6


def _body(case: str) -> bytes:
    asked: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "How are you today?"}]}
    if case != "hit":
        asked["seed"] = next(_NUMBERS)
    if case == "ustream":
        asked["stream"] = True
    return json.dumps(asked).encode()


async def costs(turns: int) -> dict[str, tuple[float, float]]:
    """By case: CPU per request without metrics, and what metrics add, in microseconds."""
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        gateways = [await opened(Path(directory), metrics) for metrics in (Metrics, Unmeasured)]
        apps = [DataPlane(gateway) for gateway in gateways]
        for case in REQUESTS:
            runs = [[await cpu_us(app, case) for app in apps] for _ in range(turns)]
            without = statistics.median(off for _, off in runs)
            found[case] = without, statistics.median(on - off for on, off in runs)
        for gateway in gateways:
            await gateway.close()
    return found


def nginx_us() -> dict[str, float]:
    """CPU per request of nginx, by case."""
    with tempfile.TemporaryDirectory() as name:
        upstream = peers.start_upstream(Path(name))
        nginx = peers.PEERS["nginx"]
        process = nginx.start(Path(name))
        try:
            peers.await_answer(nginx.url("uniq"), process)
            return {case: _loaded_us(nginx.url(case), case, process, upstream) for case in REQUESTS}
        finally:
            process.end()
            upstream.end()


def _loaded_us(url: str, case: str, process: processes.Process, upstream: processes.Process) -> float:
    wrk.run(url, CASES[case].body, connections=16, secs=1)
    with Spent(process, upstream) as spent:
        load = wrk.run(url, CASES[case].body, connections=64, secs=LOAD_S)
    return spent.peer_s / load.requests * 1e6


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="CPU per request with metrics and without.")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--no-nginx", action="store_true")
    asked = parser.parse_args()
    found = uvloop.run(costs(asked.turns))
    floor = {} if asked.no_nginx else nginx_us()
    sys.stdout.write("| case | us without metrics | metrics add | nginx | metrics / nginx |\n|---|---|---|---|---|\n")
    for case, (without, added) in found.items():
        beside = f"{floor[case]:.1f} | {added / floor[case]:.2f}" if floor else "- | -"
        sys.stdout.write(f"| {case} | {without:.0f} | {added:.1f} | {beside} |\n")


if __name__ == "__main__":
    main()
