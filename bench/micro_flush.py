"""What it costs to be durable before a dispatch: CPU per request, by how many requests come at once.

    python bench/micro_flush.py [--requests 20000]

A request appends its exchange and its attempt as open rows, waits for the flush, and appends the rows of its end
without waiting: what a call under budgets does. Figures are CPU of the whole process, the writer's thread included,
per request: the median of three runs, less what the same tasks cost without the ledger; the wait is the median of one
flush. ``idle`` does nothing else; ``busy`` runs 150 us of Python per request beside the writer, as a gateway does;
``spread`` does so too and lets every call last 5 to 35 ms, so that requests come one by one. Noise on a shared machine
is 20 % and more.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.micro_ledger import exchanges, opened
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import NO_USAGE
from penstock.ports.ledger import Ledger

RUNS = 3
CONCURRENT = (1, 16, 64)
BUSY_STEPS = 2700

Rows = Sequence[LedgerRow]


class Request(NamedTuple):
    """The rows of one request."""

    begin: Rows
    end: Rows


class Beside(NamedTuple):
    """What else a request does."""

    steps: int
    call_s: tuple[float, float]


STATES = {
    "idle": Beside(0, (0, 0)),
    "busy": Beside(BUSY_STEPS, (0, 0)),
    "spread": Beside(BUSY_STEPS, (0.005, 0.035)),
}


class Cost(NamedTuple):
    """Per request."""

    cpu_us: float
    wait_ms: float


def requests(count: int) -> list[Request]:
    """What a miss writes before its call and after."""
    return [Request([opened_row(row) for row in end[:2]], end) for end in exchanges(count, hit=False)]


def opened_row(row: LedgerRow) -> LedgerRow:
    """An exchange or an attempt as it is before its end."""
    if isinstance(row, AttemptRow):
        return AttemptRow(
            id=row.id, exchange_id=row.exchange_id, started_at=row.started_at, ended_at=row.started_at,
            provider=row.provider, deployment=row.deployment, region=row.region, outcome=OPEN, currency=row.currency,
            price_source=row.price_source, held_nano=9_000_000, held_tokens=4000,
        )  # fmt: skip
    if not isinstance(row, ExchangeRow):
        raise TypeError(row)
    return ExchangeRow(
        id=row.id, at=row.at, endpoint=row.endpoint, model=row.model, key_id=row.key_id, key_name=row.key_name,
        team=row.team, user=row.user, tags=row.tags, outcome=OPEN, status=0, usage=NO_USAGE, currency=row.currency,
        duration_s=0.0,
    )  # fmt: skip


async def load(ledger: Ledger | None, asked: Sequence[Request], concurrent: int, beside: Beside) -> list[float]:
    """Make every request, ``concurrent`` at a time; how long each waited."""
    waits: list[float] = []
    coming = iter(asked)
    chance = random.Random(1)  # noqa: S311 - spreads load

    async def client() -> None:
        for begin, end in coming:
            _work(beside.steps)
            if ledger is not None:
                ledger.append(begin)
                before = time.perf_counter()
                await ledger.flush()
                waits.append(time.perf_counter() - before)
            await asyncio.sleep(chance.uniform(*beside.call_s))
            if ledger is not None:
                ledger.append(end)

    await asyncio.gather(*(client() for _ in range(concurrent)))
    if ledger is not None:
        await ledger.flush()
    return waits


async def once(asked: Sequence[Request], concurrent: int, beside: Beside, *, really: bool) -> Cost:
    """One run on a new store."""
    with tempfile.TemporaryDirectory() as directory:
        stores = await opened(Path(directory))
        before = time.process_time()
        waits = await load(stores.ledger if really else None, asked, concurrent, beside)
        cpu_s = time.process_time() - before
        await stores.close()
    return Cost(cpu_s / len(asked) * 1e6, statistics.median(waits or [0.0]) * 1e3)


def measured(count: int, concurrent: int, beside: Beside) -> Cost:
    """The median of the runs."""
    asked = requests(count)
    runs = [uvloop.run(once(asked, concurrent, beside, really=True)) for _ in range(RUNS)]
    without = statistics.median(uvloop.run(once(asked, concurrent, beside, really=False)).cpu_us for _ in range(RUNS))
    cpu_us = statistics.median(run.cpu_us for run in runs)
    return Cost(cpu_us - without, statistics.median(run.wait_ms for run in runs))


def main(count: int) -> None:
    """Print every figure."""
    for state, beside in STATES.items():
        for concurrent in CONCURRENT:
            cost = measured(max(count * concurrent // 64, 1), concurrent, beside)
            sys.stdout.write(
                f"{concurrent} at once, {state}: {cost.cpu_us:.0f} us CPU per request, {cost.wait_ms:.2f} ms wait\n"
            )


def _work(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    main(parser.parse_args().requests)
