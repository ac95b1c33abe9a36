"""One run of the benchmark: peers started together, measured in turn, every cell on disk as soon as it is there."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from bench.load import peers
from bench.load.cases import CASES
from bench.load.cells import Cell, Slot, measure
from bench.load.peers import Peer
from bench.load.processes import Process
from bench.load.report import OURS


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    peers: Sequence[Peer]
    cases: Sequence[str]
    reps: int
    secs: float

    def cells(self) -> Iterator[tuple[int, str, Peer]]:
        """Repetition by repetition, so that a disturbance meets every peer; memory once, and ours only."""
        for rep in range(self.reps):
            for case in self.cases:
                yield from ((rep, case, peer) for peer in self.peers if case != "rss" or (peer.name, rep) == (OURS, 0))


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of a run."""

    upstream: Process
    gateways: dict[str, Process]


@contextmanager
def running(chosen: Sequence[Peer], directory: Path) -> Iterator[Running]:
    """The upstream and every peer, seen to answer and then stopped; all are ended afterwards."""
    with ExitStack() as stack:
        upstream = peers.start_upstream(directory)
        stack.callback(upstream.end)
        peers.await_answer(peers.UPSTREAM_URL, upstream)
        gateways = {}
        for peer in chosen:
            home = directory / peer.name
            home.mkdir()
            process = gateways[peer.name] = peer.start(home)
            stack.callback(process.end)
            peers.await_answer(peer.url("uniq"), process)
            peers.check_cache(peer)
            process.pause()
        yield Running(upstream, gateways)


def measure_all(plan: Plan, out: Path, directory: Path) -> None:
    """Every cell that ``out`` does not hold yet, appended to it one by one."""
    done = {(cell.rep, cell.case, cell.peer) for cell in load_cells(out)}
    todo = [(rep, case, peer) for rep, case, peer in plan.cells() if (rep, case, peer.name) not in done]
    if not todo:
        return
    with running(plan.peers, directory) as run:
        for rep, case, peer in todo:
            slot = Slot(rep, CASES[case], peer, plan.secs, run.gateways[peer.name], run.upstream)
            slot.process.resume()
            time.sleep(0.3)
            cell = measured(slot)
            slot.process.pause()
            with out.open("ab") as file:
                file.write(msgspec.json.encode(cell) + b"\n")
            click.echo(line(cell), err=True)


def measured(slot: Slot) -> Cell:
    """The cell, or the reason why there is none: one failure does not end the run."""
    try:
        return measure(slot)
    except (RuntimeError, OSError, msgspec.DecodeError) as error:
        return Cell(peer=slot.peer.name, case=slot.case.name, rep=slot.rep, failed=str(error))


def load_cells(path: Path) -> list[Cell]:
    """What a run has measured; cells that failed are left out, to be measured again."""
    if not path.exists():
        return []
    cells = [msgspec.json.decode(line, type=Cell) for line in path.read_bytes().splitlines() if line]
    return [cell for cell in cells if not cell.failed]


def line(cell: Cell) -> str:
    """Progress, one line per cell."""
    if cell.failed:
        return f"{cell.rep} {cell.case:8} {cell.peer:9} FAILED: {cell.failed[:300]}"
    figures = {"cpu_ms": cell.cpu_ms, "added_p50_ms": cell.added_p50_ms, "rss_mb": cell.rss_mb, "others": cell.others}
    shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
    return f"{cell.rep} {cell.case:8} {cell.peer:9} requests {cell.requests} errors {cell.errors} {shown}"
