"""What it costs to be one node of many: CPU of the gateway per request, against the embedded default, and P99 of a hit.

    python -m bench.nodes [--requests 2000] [--at-once 1]

Starts a PostgreSQL, a Redis and a provider of its own on loopback, one gateway with SQLite, and two that share. Each
client has one connection and asks one request after the other: the CPU is the gateway's own, the latency what such a
client sees. Noise on a shared machine is 20 % and more.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.plain_gateway import plain_config, question
from tests.support.postgres_server import database_of, end_shared_server
from tests.support.redis_server import redis_server
from tests.support.upstream import Upstream, upstream

SECRET = "a-secret-that-all-nodes-share-in-benches"  # noqa: S105 - of this bench alone
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
IDLE_S = 3.0


class Cost(NamedTuple):
    """Of one kind of request."""

    cpu_us: float
    p50_us: float
    p99_us: float


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS_PER_S


def _idle(node: GatewayProcess) -> float:
    """The share of a CPU that it takes when nobody asks."""
    since, used_s = time.perf_counter(), _cpu_s(node.pid)
    time.sleep(IDLE_S)
    return (_cpu_s(node.pid) - used_s) / (time.perf_counter() - since)


def _measure(node: GatewayProcess, texts: Sequence[str], cache: str, at_once: int) -> Cost:
    """All of them must be answered from there."""
    idle, since, used_s = _idle(node), time.perf_counter(), _cpu_s(node.pid)
    with ThreadPoolExecutor(at_once) as clients:
        parts = clients.map(lambda number: _ask(node, texts[number::at_once], cache), range(at_once))
        cuts = statistics.quantiles([wait_us for part in parts for wait_us in part], n=100)
    cpu_s = _cpu_s(node.pid) - used_s - idle * (time.perf_counter() - since)
    return Cost(cpu_s / len(texts) * 1e6, cuts[49], cuts[98])


def _ask(node: GatewayProcess, texts: Sequence[str], cache: str) -> list[float]:
    """One client's connection; how long it waited for each, in microseconds."""
    connection, waits_us = HTTPConnection("127.0.0.1", node.port), list[float]()
    headers = {"content-type": "application/json", "authorization": "Bearer any"}
    for text in texts:
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(question(text)), headers)
        response = connection.getresponse()
        response.read()
        waits_us.append((time.perf_counter() - began) * 1e6)
        if response.headers["x-penstock-cache"] != cache:
            raise AssertionError(response.headers["x-penstock-cache"])
    connection.close()
    return waits_us


def _print(what: str, cost: Cost) -> None:
    print(f"{what:34} {cost.cpu_us:8.0f} {cost.p50_us:8.0f} {cost.p99_us:8.0f}")  # noqa: T201 - its output


def _run(directory: Path, up: Upstream, requests: int, at_once: int) -> None:
    up.script.reply().forever()
    texts = [f"question {number}" for number in range(requests)]
    print(f"{'':34} {'CPU us':>8} {'P50 us':>8} {'P99 us':>8}")  # noqa: T201 - likewise
    (directory / "alone").mkdir()
    with gateway_process(directory / "alone", **plain_config(up)) as alone:
        _print("alone, a miss", _measure(alone, texts, "miss", at_once))
        _print("alone, a hit in memory", _measure(alone, texts, "exact", at_once))
    for name in ("on", "a", "b"):
        (directory / name).mkdir()
    sections = {**plain_config(up), "server": {"secret": SECRET}}
    with gateway_process(directory / "on", **sections, store=database_of(directory / "on")) as on:
        _print("on PostgreSQL, a miss", _measure(on, texts, "miss", at_once))
    with redis_server() as redis:
        sections |= {"store": database_of(directory), "shared": redis.url}
        with gateway_process(directory / "a", **sections) as a, gateway_process(directory / "b", **sections) as b:
            _print("of many, a miss", _measure(a, texts, "miss", at_once))
            _print("of many, a hit in memory", _measure(a, texts, "exact", at_once))
            _print("of many, a hit through Redis", _measure(b, texts, "exact", at_once))


def main(arguments: list[str]) -> None:
    """Start, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=1)
    wanted = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as directory, upstream() as up:
            _run(Path(directory), up, wanted.requests, wanted.at_once)
    finally:
        end_shared_server()


if __name__ == "__main__":
    main(sys.argv[1:])
