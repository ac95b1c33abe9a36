"""One cell of the table: a peer, a case and a repetition, measured."""

import sys
from dataclasses import dataclass
from typing import Self

import msgspec

from bench.load import peers, processes, wrk
from bench.load.cases import CASES, RSS_REQUESTS, Case
from bench.load.firstbyte import FirstByte
from bench.load.peers import Peer
from bench.load.processes import Process


@dataclass(frozen=True, slots=True)
class Slot:
    """What is to be measured, with the processes it takes."""

    rep: int
    case: Case
    peer: Peer
    secs: float
    process: Process
    upstream: Process

    @property
    def url(self) -> str:
        """Where the peer is asked this case."""
        return self.peer.url(self.case.name)

    def in_order(self) -> list[str]:
        """The peer and the upstream, in an order that changes with the repetition."""
        urls = [self.url, peers.UPSTREAM_URL]
        return urls if self.rep % 2 == 0 else urls[::-1]

    def rss_mb(self) -> float:
        """Of the peer's whole tree."""
        return processes.rss_mb(processes.tree(self.process.pid))


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement. ``cpu_ms`` is the CPU of the peer's process tree per request."""

    peer: str
    case: str
    rep: int
    requests: int = 0
    errors: int = 0
    cpu_ms: float | None = None
    rps: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    use: float | None = None
    """Cores the peer used."""
    others: float | None = None
    """Cores that processes outside this benchmark used meanwhile."""
    one_p50_ms: float | None = None
    """The median at one client."""
    added_p50_ms: float | None = None
    """The same less that of the upstream asked directly, in the same cell."""
    rss_mb: float | None = None
    failed: str = ""
    """Why there is no figure."""


class Spent:
    """CPU over a with-block, by the peer and by others, until the peer has nothing left to do."""

    def __init__(self, peer: Process, upstream: Process) -> None:
        self._trees = (peer.pid, upstream.pid)
        self.peer_s = 0.0
        self.others_s = 0.0

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        processes.wait_idle(processes.tree(self._trees[0]), bound_s=5.0)
        peer, upstream, own, machine = (now - before for now, before in zip(self._now(), self._before, strict=True))
        self.peer_s = peer
        self.others_s = max(0.0, machine - peer - upstream - own)

    def _now(self) -> tuple[float, float, float, float]:
        peer, upstream = (processes.cpu_s(processes.tree(pid)) for pid in self._trees)
        return peer, upstream, processes.own_cpu_s(), processes.machine_busy_s()


def measure(slot: Slot) -> Cell:
    """The cell; which figures it has depends on the case."""
    processes.wait_quiet(2.0)
    if slot.case.name == "ttft":
        return first_byte(slot)
    if slot.case.name == "rss":
        return memory(slot)
    return throughput(slot)


def throughput(slot: Slot) -> Cell:
    """CPU per request under a closed loop, and the median at one client."""
    peer, body = slot.peer, slot.case.body
    wrk.run(slot.url, body, connections=min(16, peer.connections), secs=1)
    processes.wait_idle(processes.tree(slot.process.pid), bound_s=5.0)
    with Spent(slot.process, slot.upstream) as spent:
        load = wrk.run(slot.url, body, connections=peer.connections, secs=slot.secs * peer.secs_factor)
    alone = {url: wrk.run(url, body, connections=1, secs=2) for url in slot.in_order()}
    one, direct = alone[slot.url], alone[peers.UPSTREAM_URL]
    return Cell(
        peer=peer.name,
        case=slot.case.name,
        rep=slot.rep,
        requests=load.requests,
        errors=load.errors + one.errors,
        cpu_ms=spent.peer_s / max(1, load.requests) * 1000,
        rps=load.rps,
        p50_ms=load.p50_us / 1000,
        p99_ms=load.p99_us / 1000,
        use=spent.peer_s / load.wall_s,
        others=spent.others_s / load.wall_s,
        one_p50_ms=one.p50_us / 1000,
        added_p50_ms=(one.p50_us - direct.p50_us) / 1000,
        rss_mb=slot.rss_mb(),
    )


def first_byte(slot: Slot) -> Cell:
    """What the peer adds to the first byte of a stream, at one client."""
    seen = {url: ask_first_byte(url, slot.case.body, min(3.0, slot.secs)) for url in slot.in_order()}
    through, direct = seen[slot.url], seen[peers.UPSTREAM_URL]
    return Cell(
        peer=slot.peer.name,
        case=slot.case.name,
        rep=slot.rep,
        requests=through.requests,
        errors=through.errors,
        one_p50_ms=through.first_p50_us / 1000,
        added_p50_ms=(through.first_p50_us - direct.first_p50_us) / 1000,
    )


def ask_first_byte(url: str, body: str, secs: float) -> FirstByte:
    """The client, in a process of its own on the load's core."""
    command = [sys.executable, "-m", "bench.load.firstbyte", url, str(secs), body]
    text = processes.output(command, core=processes.LOAD_CORE, timeout_s=secs + 60)
    return msgspec.json.decode(text, type=FirstByte)


def memory(slot: Slot) -> Cell:
    """Resident memory after ``RSS_REQUESTS`` more requests, a fifth of the time streams."""
    requests = errors = 0
    bodies = [slot.case.body] * 4 + [CASES["ustream"].body]
    while requests < RSS_REQUESTS:
        for body in bodies:
            load = wrk.run(slot.url, body, connections=slot.peer.connections, secs=4)
            requests += load.requests
            errors += load.errors
    return Cell(
        peer=slot.peer.name,
        case=slot.case.name,
        rep=slot.rep,
        requests=requests,
        errors=errors,
        rss_mb=slot.rss_mb(),
    )
