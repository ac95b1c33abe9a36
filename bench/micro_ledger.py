"""What the stores cost in CPU: ledger rows written behind, cached answers put and got, reports read.

    python bench/micro_ledger.py [--exchanges 30000]

Every figure is CPU of the whole process, the writer's thread included, per exchange: the median of three runs, less
what the same loop costs without the store. ``busy`` runs 50 us of Python per exchange beside the writer, so that the
two compete for the interpreter; ``idle`` does not. Noise on a shared machine is 20 % and more.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from penstock.clock import SystemClock, TimeIds
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage
from penstock.ports.answers import StoredAnswer
from penstock.ports.ledger import SpendQuery
from penstock.ports.stores import Stores
from penstock.stores.open import open_stores

RUNS = 3
PER_TURN = 10
"""Exchanges that end between two looks of the loop at its sockets."""
GAP_S = 0.0004
BUSY_STEPS = 900
BODY = b"x" * 2048
USAGE = Usage(800, 200, 0, 300, 100)

Load = Callable[[Stores, int], Awaitable[None]]


class Arrivals:
    """A clock by which a request comes every 0.4 ms: names that sort as they came, as in a busy gateway."""

    def __init__(self, count: int) -> None:
        self._now = time.time() - count * GAP_S

    def now(self) -> float:
        """The next instant."""
        self._now += GAP_S
        return self._now


def exchanges(count: int, *, hit: bool) -> list[list[LedgerRow]]:
    """Rows as a miss (1 + 1 + 1) or a hit (1 + 1) writes them."""
    arrivals = Arrivals(count)
    return [_hit(arrivals.now()) if hit else _miss(arrivals.now()) for _ in range(count)]


def _exchange(at: float, ids: TimeIds, cache: str, attempts: int, cost_nano: int) -> ExchangeRow:
    return ExchangeRow(
        id=ids.new("ex"), at=at, endpoint="chat", model="deepseek-flash", deployment="deepseek/deepseek-flash",
        key_id="key_01m80kqx789xz5aa4k5s073ptd", key_name="search-service", team="search", user="user-1234",
        tags={"feature": "search"}, outcome="ok", status=200, cache=cache, attempts=attempts, usage=USAGE,
        baseline_nano=2_345_600, cost_nano=cost_nano, currency="CNY", duration_s=1.25, first_byte_s=0.4,
        overhead_s=0.0004,
    )  # fmt: skip


def _hit(at: float) -> list[LedgerRow]:
    ids = TimeIds(lambda: at)
    row = _exchange(at, ids, "exact", 0, 0)
    return [row, ShareRow(attempt_id=ids.new("at"), exchange_id=row.id, amount_nano=0, lever="exact")]


def _miss(at: float) -> list[LedgerRow]:
    ids = TimeIds(lambda: at)
    row = _exchange(at, ids, "miss", 1, 2_345_600)
    attempt = AttemptRow(
        id=ids.new("at"), exchange_id=row.id, started_at=row.at, ended_at=row.at + 1, provider="deepseek",
        deployment="deepseek/deepseek-flash", region="cn", outcome="ok", status=200,
        upstream_id="chatcmpl-0123456789abcdef0123", usage=USAGE, charged_nano=2_345_600, currency="CNY",
        charged_book_nano=2_345_600, price_source="https://api-docs.deepseek.com/ 2026-01-01",
    )  # fmt: skip
    return [row, attempt, ShareRow(attempt_id=attempt.id, exchange_id=row.id, amount_nano=2_345_600, lever="direct")]


def appending(groups: Sequence[Sequence[LedgerRow]], busy_steps: int) -> Load:
    """Append every exchange, ``PER_TURN`` at a time."""

    async def load(stores: Stores, _run: int) -> None:
        for number, rows in enumerate(groups):
            _work(busy_steps)
            stores.ledger.append(rows)
            if number % PER_TURN == 0:
                await asyncio.sleep(0.0005)
        await stores.ledger.flush()

    return load


def only_working(groups: Sequence[Sequence[LedgerRow]], busy_steps: int) -> Load:
    """The same loop without the ledger."""

    async def load(_stores: Stores, _run: int) -> None:
        for number, _rows in enumerate(groups):
            _work(busy_steps)
            if number % PER_TURN == 0:
                await asyncio.sleep(0.0005)

    return load


def putting(count: int, *, really: bool) -> Load:
    """Make ``count`` answers of 2 KB, and put them ``really``."""

    async def load(stores: Stores, run: int) -> None:
        for number in range(count):
            key, answer = _key(run, number), _answer()
            if really:
                stores.answers.put(key, answer)
            if number % PER_TURN == 0:
                await asyncio.sleep(0.0005)
        await stores.answers.purge(model="none")  # waits until all is written

    return load


def getting(count: int) -> Load:
    """Get what ``putting`` put, from memory."""

    async def load(stores: Stores, run: int) -> None:
        now = time.time()
        for number in range(count):
            if await stores.answers.get(_key(run, number), now) is None:
                sys.exit("an answer was evicted: raise max_answer_bytes")

    return load


async def measured(load: Load, count: int, stores: Stores, run: int = 0) -> float:
    """CPU microseconds per exchange."""
    before = time.process_time()
    await load(stores, run)
    return (time.process_time() - before) / count * 1e6


async def cpu_us(load: Load, count: int) -> float:
    """The median over runs, each on a new store."""
    results = []
    for run in range(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            stores = await opened(Path(directory))
            results.append(await measured(load, count, stores, run))
            await stores.close()
    return statistics.median(results)


async def opened(directory: Path) -> Stores:
    """A new SQLite store."""
    return await open_stores(
        "sqlite:bench.db",
        directory,
        max_answer_bytes=512 << 20,
        sync="normal",
        on_lost=lambda _rows, reason: sys.exit(reason),
        clock=SystemClock(),
    )


async def report_ms(groups: Sequence[Sequence[LedgerRow]], by: str) -> float:
    """Wall milliseconds of one ``spend`` over all exchanges."""
    with tempfile.TemporaryDirectory() as directory:
        stores = await opened(Path(directory))
        for rows in groups:
            stores.ledger.append(rows)
            await asyncio.sleep(0)
        await stores.ledger.flush()
        before = time.perf_counter()
        await stores.reader.spend(SpendQuery(by, 0, time.time() + 60, "Asia/Shanghai"))
        took = time.perf_counter() - before
        await stores.close()
    return took * 1e3


async def answers_us(count: int) -> tuple[float, float]:
    """(put, get): puts on a new store, then gets of the same."""
    with tempfile.TemporaryDirectory() as directory:
        stores = await opened(Path(directory))
        without = await measured(putting(count, really=False), count, stores)
        put = await measured(putting(count, really=True), count, stores) - without
        got = await measured(getting(count), count, stores)
        await stores.close()
    return put, got


async def main(count: int) -> None:
    """Print every figure."""
    for name, hit in [("miss, 3 rows", False), ("hit, 2 rows", True)]:
        groups = exchanges(count, hit=hit)
        for state, steps in [("idle", 0), ("busy", BUSY_STEPS)]:
            with_ledger = await cpu_us(appending(groups, steps), count)
            without = await cpu_us(only_working(groups, steps), count)
            _say(f"{name}, {state}: {with_ledger - without:.1f} us CPU per exchange ({without:.0f} us without)")
    put, got = await answers_us(count)
    _say(f"answer of 2 KB: put {put:.1f} us CPU, get {got:.2f} us CPU")
    for by in ("model", "day", "lever"):
        _say(f"spend --by {by} over {count} exchanges: {await report_ms(exchanges(count, hit=False), by):.0f} ms")


def _work(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total


def _key(run: int, number: int) -> bytes:
    return (number * 2_654_435_761 % 2**32 + (run << 40)).to_bytes(32, "little")


def _answer() -> StoredAnswer:
    now = time.time()
    return StoredAnswer(
        body=BODY + b"y", stored_at=now, expires_at=now + 3600, attempt_id="at_01m80kqx78c864q5eeymvg84ef",
        model="deepseek-flash", tenant="key_01m80kqx789xz5aa4k5s073ptd", tags=("feature=search",),
        deployment="deepseek/deepseek-flash", usage=USAGE, estimated=False,
    )  # fmt: skip


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=30_000)
    asyncio.run(main(parser.parse_args().exchanges))
