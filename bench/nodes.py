"""What it costs to be one node of many: CPU of the gateway per request, against the embedded default and nginx.

    python -m bench.nodes [--reps 3] [--secs 3]

Starts a PostgreSQL, a Redis, nginx and the mock provider of ``bench/load`` on loopback, a gateway with SQLite, one with
PostgreSQL alone, and two that share Redis as well. Method and unit are those of ``bench/load``: the gateway (or nginx)
has core 0, wrk and all servers have core 1; 64 connections, then one for the latencies; CPU until the gateway is idle
again, less what it takes when nobody asks. ``servers`` is what PostgreSQL and Redis took meanwhile.

The second of those that share keeps next to nothing in its own memory and is asked what the first has answered: each
of its hits comes through Redis. What was answered from where is held against ``/metrics``.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from bench.load import peers, processes, wrk
from bench.load.cases import CASES, NUMBER, Case, chat
from tests.support.gateway_process import PENSTOCK, GatewayProcess
from tests.support.metrics_text import samples
from tests.support.postgres_server import database_of, end_shared_server, shared_server
from tests.support.redis_server import RedisServer, redis_server

SECRET: Final = "a-secret-that-all-nodes-share-in-benches"  # noqa: S105 - of this bench alone
CONNECTIONS: Final = 64
IDLE_S: Final = 2.0
LIMIT: Final = 6.0
"""How many times nginx's CPU per request sharing may cost over the embedded default (issue 5)."""
KEPT: Final = 2000
"""Questions that are asked again and again."""
SMALL: Final = {"cache": {"exact": {"ttl": "1h", "max_bytes": "256KiB"}, "join": True}}
"""Of a node whose memory holds a tenth of them."""
AGAIN: Final = Case("again", chat(f"Question {NUMBER} of those that come again, how are you?"), None)


class Figures(NamedTuple):
    """Of one kind of request, in microseconds."""

    cpu_us: float
    servers_us: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands beside those that are measured."""

    upstream: processes.Process
    redis: RedisServer
    secs: float
    rows: dict[str, list[Figures]] = field(default_factory=lambda: defaultdict(list))

    def servers_s(self) -> float:
        """What PostgreSQL and Redis have used."""
        return processes.cpu_s([*processes.tree(shared_server().pid), *processes.tree(self.redis.pid)])


def _measure(scene: Scene, what: str, target: "Target", case: Case, span: int = 0) -> None:
    """At 64 connections the CPU, at one the latencies. All must be answered as the case has it."""
    url, root = target.url, target.pid
    wrk.run(url, case.body, connections=16, secs=1, span=span)
    processes.wait_idle(processes.tree(root), bound_s=1.0)
    idle = _idle(root)
    before, cpu_s, servers_s, since = target.answered(), _cpu_s(root), scene.servers_s(), time.monotonic()
    load = wrk.run(url, case.body, connections=CONNECTIONS, secs=scene.secs, span=span)
    processes.wait_idle(processes.tree(root), bound_s=1.0)
    cpu_s = _cpu_s(root) - cpu_s - idle * (time.monotonic() - since)
    servers_s = scene.servers_s() - servers_s
    one = wrk.run(url, case.body, connections=1, secs=scene.secs, span=span)
    target.require(before, load.requests + one.requests)
    if load.errors or one.errors:
        raise RuntimeError(f"{what}: {load.errors + one.errors} errors")
    each = 1e6 / load.requests
    scene.rows[what].append(Figures(cpu_s * each, servers_s * each, one.p50_us, one.p99_us))


def _cpu_s(pid: int) -> float:
    return processes.cpu_s(processes.tree(pid))


def _idle(pid: int) -> float:
    """The share of a CPU that it takes when nobody asks."""
    since, used_s = time.monotonic(), _cpu_s(pid)
    time.sleep(IDLE_S)
    return (_cpu_s(pid) - used_s) / (time.monotonic() - since)


class Target(NamedTuple):
    """Who is asked. ``cache``: from where its answers must be; "" = nobody says."""

    url: str
    pid: int
    gateway: GatewayProcess | None = None
    cache: str = ""

    def answered(self) -> float:
        """How many came from there."""
        if self.gateway is None:
            return 0
        found = samples(self.gateway.metrics())
        return sum(
            value
            for (name, labels), value in found.items()
            if name == "penstock_requests_total" and ("cache", self.cache) in labels
        )

    def require(self, before: float, requests: int) -> None:
        """So many more came from there since; some of the ends of a load are not counted by who asked."""
        if self.gateway is not None and self.answered() - before < requests:
            raise RuntimeError(f"of {requests} only {self.answered() - before:g} were answered by {self.cache}")


@contextmanager
def _gateway(directory: Path, **sections: Any) -> Iterator[GatewayProcess]:
    """On the core of those that are measured."""
    directory.mkdir(exist_ok=True)
    document = yaml.safe_load((peers.HERE / "penstock.yaml").read_text())
    gateway = GatewayProcess(directory)
    gateway.program = (*processes.pinned(processes.GATEWAY_CORE), PENSTOCK)
    del document["server"], document["store"]
    gateway.configure(**{**document, **sections})
    gateway.start()
    try:
        yield gateway
        gateway.stop()
    finally:
        gateway.kill()


def _target(gateway: GatewayProcess, cache: str) -> Target:
    return Target(f"{gateway.origin}{peers.PATH}", gateway.pid, gateway, cache)


def _rep(directory: Path, scene: Scene, nginx: processes.Process) -> None:
    """Each of them once, on empty stores. Whoever is not measured does not run."""
    directory.mkdir()
    scene.redis.call("FLUSHALL")
    _measure(scene, "nginx, a call", Target(peers.PEERS["nginx"].url("uniq"), nginx.pid), CASES["uniq"])
    with _gateway(directory / "alone") as alone:
        _measure(scene, "alone, a miss", _target(alone, "miss"), CASES["uniq"])
        _measure(scene, "alone, a hit in memory", _target(alone, "exact"), CASES["hit"])
    with _gateway(directory / "on", store=database_of(directory / "on"), server={"secret": SECRET}) as on:
        _measure(scene, "on PostgreSQL, a miss", _target(on, "miss"), CASES["uniq"])
    shared: dict[str, Any] = {
        "store": database_of(directory / "many"),
        "shared": scene.redis.url,
        "server": {"secret": SECRET},
    }
    with _gateway(directory / "a", **shared) as a:
        _measure(scene, "of many, a miss", _target(a, "miss"), CASES["uniq"])
        _measure(scene, "of many, a hit in memory", _target(a, "exact"), CASES["hit"])
        _fill(_target(a, "miss"))
        with _gateway(directory / "b", **shared, **SMALL) as b:
            _measure(scene, "of many, a hit through Redis", _target(b, "exact"), AGAIN, KEPT)


def _fill(target: Target) -> None:
    """Ask until each question has its answer."""
    missed = -1.0
    while missed != target.answered():
        missed = target.answered()
        wrk.run(target.url, AGAIN.body, connections=CONNECTIONS, secs=2, span=KEPT)


def _print(rows: dict[str, list[Figures]]) -> None:
    """The medians of the repetitions, and whether the limit is kept."""
    say = sys.stdout.write
    say(f"{'':30} {'CPU us':>8} {'x nginx':>8} {'servers':>8} {'P50 us':>8} {'P99 us':>8}\n")
    medians = {what: Figures(*map(statistics.median, zip(*each, strict=True))) for what, each in rows.items()}
    floor = medians["nginx, a call"].cpu_us
    for what, row in medians.items():
        say(
            f"{what:30} {row.cpu_us:8.0f} {row.cpu_us / floor:8.1f} {row.servers_us:8.0f} {row.p50_us:8.0f} "
            f"{row.p99_us:8.0f}\n"
        )
    for shared, alone in (
        ("of many, a miss", "alone, a miss"),
        ("of many, a hit through Redis", "alone, a hit in memory"),
    ):
        more = medians[shared].cpu_us - medians[alone].cpu_us
        kept = "kept" if more <= LIMIT * floor else "not kept"
        say(f"{shared}: {more:.0f} us more than {alone}, {more / floor:.1f}x nginx (limit {LIMIT:g}x: {kept})\n")


def _run(reps: int, secs: float) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.chmod(0o755)
        upstream = peers.start_upstream(directory)
        stack.callback(upstream.end)
        stack.callback(end_shared_server)
        redis = stack.enter_context(redis_server())
        nginx = peers.PEERS["nginx"].start(directory)
        stack.callback(nginx.end)
        peers.await_answer(peers.UPSTREAM_URL, upstream)
        peers.await_answer(peers.PEERS["nginx"].url("uniq"), nginx)
        scene = Scene(upstream, redis, secs)
        for number in range(reps):
            _rep(directory / f"rep {number}", scene, nginx)
        _print(scene.rows)


def main(arguments: Sequence[str]) -> None:
    """Start, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", type=float, default=3.0)
    wanted = parser.parse_args(arguments)
    os.sched_setaffinity(0, {int(processes.LOAD_CORE)})
    _run(wanted.reps, wanted.secs)


if __name__ == "__main__":
    main(sys.argv[1:])
