"""B13: a disk that is full or broken at every n-th write, and copies of the store that were taken in the middle of one.

Under ``refuse`` nobody is answered whose request is not durably on the books; under ``answer`` the rows are late and
none is lost. Either heals by itself.
"""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.config.load import load
from penstock.providers.registry import KINDS
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.bill_provider_lines import PRICES
from tests.support.failpoints_disk import sick_disk
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books, integrity, stored_rows
from tests.support.kill_client import Question, Told, ask

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: apt install strace")

NTH = range(1, 9)
AT_ONCE = 4
COPIES = 12


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[BillProvider]:
    """The oracle."""
    with bill_provider(tmp_path / "bill.jsonl") as made:
        yield made


def config(provider: BillProvider, **ledger: str) -> dict[str, Any]:
    """Everything is fsynced, so that every kind of call can fail."""
    one = {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "api_key": "sk-disk"}
    return {
        "providers": {"one": one},
        "models": {"completes": {"deployments": [{"provider": "one", "model": "completes"}]}},
        "budgets": [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "total"}],
        "ledger": {"sync": "full", **ledger},
    }


class Sick:
    """A gateway whose disk fails now and then, and its clients."""

    def __init__(self, gateway: GatewayProcess, provider: BillProvider) -> None:
        self.gateway = gateway
        self.provider = provider
        self.number = 0
        self.statuses: list[int] = []

    def ask(self, count: int = AT_ONCE) -> list[int]:
        """So many at once; whoever is answered has its row, at that moment."""
        return asyncio.run(self._ask(count))

    async def _ask(self, count: int) -> list[int]:
        numbers = range(self.number, self.number + count)
        self.number += count
        told = await asyncio.gather(*(self._one(number) for number in numbers))
        self.statuses += [each.status for each in told]
        return [each.status for each in told]

    async def _one(self, number: int) -> Told:
        told = await ask(self.gateway.port, Question(f"mk-{number:06}", streamed=number % 2 == 0, say=3))
        if told.status == 200 and self.strict:
            assert self.has_row(f"mk-{number:06}"), f"mk-{number:06} was answered without a durable row"
        return told

    strict = True

    def has_row(self, marker: str) -> bool:
        """Whether the file says so, to another process."""
        query = "SELECT count(*) FROM exchanges JOIN attempts ON attempts.exchange_id = exchanges.id WHERE tags LIKE ?"
        with closing(sqlite3.connect(f"file:{self.gateway.store}?mode=ro", uri=True)) as connection:
            return bool(connection.execute(query, (f"%{marker}%",)).fetchone()[0])

    def heal(self) -> None:
        """Wait until it serves again, by itself."""
        wait_for(lambda: self.gateway.admin("/readyz")[0] == 200, "the gateway to heal")
        assert self.ask(2) == [200, 200]

    def check(self) -> Figures:
        """The books, and the file."""
        assert self.gateway.admin("/admin/spend")[0] == 200  # flushes
        assert integrity(self.gateway.store) == "ok"
        budgets = load(self.gateway.config, {}, registry=KINDS).budgets
        return check_money(Books(stored_rows(self.gateway.store), budgets, None, self.provider.calls()))


def pid_of(gateway: GatewayProcess) -> int:
    """Of the process that serves the store: its lock names it."""
    return int(gateway.store.with_name(f"{gateway.store.name}.lock").read_text("ascii").strip())


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_no_answer_without_a_durable_row(tmp_path: Path, provider: BillProvider, error: str) -> None:
    """Each n-th write or sync fails once, then all of them; refused is what could not be recorded, and nothing else."""
    with gateway_process(tmp_path, **config(provider)) as gateway:
        sick = Sick(gateway, provider)
        assert sick.ask() == [200] * AT_ONCE
        for nth in NTH:
            with sick_disk(pid_of(gateway), error, str(nth)):
                sick.ask()
                sick.ask()
            sick.heal()
        with sick_disk(pid_of(gateway), error, "1+"):
            assert set(sick.ask()) == {503}
            assert set(sick.ask()) == {503}
        sick.heal()
        assert set(sick.statuses) == {200, 503}
        figures = sick.check()
        assert figures.exact >= sick.statuses.count(200)


@needs_strace
def test_answering_on_loses_nothing_either(tmp_path: Path, provider: BillProvider) -> None:
    """The declared degraded mode: everybody is answered, and the rows come when there is room."""
    with gateway_process(tmp_path, **config(provider, on_failure="answer")) as gateway:
        sick = Sick(gateway, provider)
        sick.strict = False
        with sick_disk(pid_of(gateway), "ENOSPC", "1+"):
            assert sick.ask(16) == [200] * 16
            assert not sick.has_row("mk-000000")
        wait_for(lambda: sick.has_row("mk-000015"), "the late rows")
        assert sick.ask() == [200] * AT_ONCE
        figures = sick.check()
        assert (figures.exact, figures.estimated) == (20, 0)


def test_a_copy_in_the_middle_of_a_write_is_a_store(tmp_path: Path, provider: BillProvider) -> None:
    """Copied as the machine might stop, with a log that may be cut anywhere: it opens, is whole, and adds up."""
    rng = random.Random(13)  # noqa: S311 - chance, no secret
    with gateway_process(tmp_path, **config(provider)) as gateway:
        budgets = load(gateway.config, {}, registry=KINDS).budgets
        copies = asyncio.run(_copies_under_load(gateway, rng))
        rows = 0
        for number, copy in enumerate(copies):
            if number % 2:
                cut_log(copy, rng)
            assert integrity(copy) == "ok"
            rows = max(rows, check_money(Books(stored_rows(copy), budgets, running=True)).exchanges)
        assert rows > COPIES


async def _copies_under_load(gateway: GatewayProcess, rng: random.Random) -> Sequence[Path]:
    stop = asyncio.Event()

    async def client(number: int) -> None:
        asked = 0
        while not stop.is_set():
            asked += 1
            await ask(gateway.port, Question(f"mk-{number:03}{asked:05}", streamed=asked % 2 == 0, say=2))

    clients = [asyncio.ensure_future(client(number)) for number in range(8)]
    copies = []
    for number in range(COPIES):
        await asyncio.sleep(rng.uniform(0.02, 0.2))
        copies.append(copy_store(gateway, gateway.directory / f"copy-{number}"))
    stop.set()
    await asyncio.gather(*clients)
    return copies


def copy_store(gateway: GatewayProcess, to: Path) -> Path:
    """The files as they are at one instant: the process is stopped meanwhile, wherever it is."""
    to.mkdir()
    pid = pid_of(gateway)
    os.kill(pid, signal.SIGSTOP)
    try:
        while _state(pid) != "T":
            time.sleep(0.001)
        for suffix in ("", "-wal"):
            shutil.copy(f"{gateway.store}{suffix}", to)
    finally:
        os.kill(pid, signal.SIGCONT)
    return to / gateway.store.name


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]


def cut_log(copy: Path, rng: random.Random) -> None:
    """As if the end of it had not reached the disk. What its first half holds is older than any checkpoint."""
    log = copy.with_name(f"{copy.name}-wal")
    size = log.stat().st_size
    os.truncate(log, rng.randint(size // 2, size))
