"""Restarts and reloads under load: a gateway that hands over again and again while its clients go on.

    with restart_loop(directory, Load(rate=50, streams=8)) as loop:
        loop.run(restarts=3, reloads=12)
        print(loop.report)

Every request is counted: refused, broken or cut ones are failures, whoever's they are, but for those of the one user
whose budget is too small. At the end the books are checked against the provider's bill.
"""

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, Final

from penstock.config.load import load
from penstock.providers.registry import KINDS
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.bill_provider_lines import PRICES
from tests.support.gateway_process import GatewayProcess, wait_for
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books, integrity, stored_rows
from tests.support.kept_client import Answered, KeptClient, Wanted

MODELS: Final = ("stops", "completes")
USERS: Final = 8
POOR: Final = "user-0"
DRAIN_S: Final = 120
"""Longer than any stream takes, on a slow machine too."""
INVALID_EACH: Final = 3


class SucceededGateway(GatewayProcess):
    """A gateway whose process changes."""

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        text = self._lock.read_text("ascii")
        return int(text) if text.strip() else 0

    @property
    def ended(self) -> bool:
        """No process has the store any more: neither one that serves nor one that drains."""
        with self._lock.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def restart(self) -> float:
        """Hand over; how many seconds that took."""
        old, since = self.pid, time.monotonic()
        os.kill(old, signal.SIGUSR2)
        wait_for(lambda: self.pid not in {0, old}, "the successor", 2 * DRAIN_S)
        return time.monotonic() - since

    def stop(self) -> int:
        """SIGTERM to the process that serves; 0 when none is left of any."""
        os.kill(self.pid, signal.SIGTERM)
        wait_for(lambda: self.ended, "the end of all processes")
        self.wait()
        return 0

    def kill(self) -> None:
        """Whatever is left of it."""
        super().kill()
        if self._lock.exists() and not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @property
    def _lock(self) -> Path:
        return self.store.with_name(f"{self.store.name}.lock")


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do: ``rate`` short requests a second, and so many long streams at any time."""

    rate: int
    streams: int
    stream_words: int = 120
    gap_ms: int = 50
    poor_tokens: int = 400
    """The limit of one of eight users: it is to be reached on the way."""


@dataclass(slots=True)
class Report:
    """What it came to."""

    restart_s: list[float] = field(default_factory=list)
    reloads: int = 0
    refused_reloads: int = 0
    answered: list[Answered] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    seconds: float = 0.0
    figures: Figures = field(default_factory=Figures)

    @property
    def failed(self) -> list[Answered]:
        """Requests without an answer, or with an error that is not the small budget's."""
        return [each for each in self.answered if each.status not in {200, 429}]

    @property
    def cut(self) -> list[Answered]:
        """Answers that did not come to their end."""
        return [each for each in self.answered if each.status and not each.complete]

    @property
    def over_budget(self) -> int:
        """Requests that the small budget refused."""
        return sum(each.status == 429 for each in self.answered)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """As a table."""
        made, took = self.figures, sorted(self.restart_s or [0.0])
        return [
            ("restarts", f"{len(self.restart_s)}"),
            ("reloads / of them refused as invalid", f"{self.reloads} / {self.refused_reloads}"),
            ("requests / of them streamed", f"{len(self.answered)} / {sum(each.streamed for each in self.answered)}"),
            ("requests per second", f"{len(self.answered) / max(self.seconds, 1e-9):.0f}"),
            ("failed", f"{len(self.failed)}"),
            ("cut", f"{len(self.cut)}"),
            ("refused by the small budget", f"{self.over_budget}"),
            ("connections / closed by a drain", f"{self.connections} / {self.closed}"),
            ("exchanges / attempts in the ledger", f"{made.exchanges} / {made.attempts}"),
            ("attempts exact / estimated", f"{made.exact} / {made.estimated}"),
            ("billed / charged, CNY", f"{made.billed_nano / 1e9:.6f} / {made.charged_nano / 1e9:.6f}"),
            ("to a successor that serves, median / worst, s", f"{took[len(took) // 2]:.2f} / {took[-1]:.2f}"),
        ]


class RestartLoop:
    """Clients and an operator."""

    def __init__(self, gateway: SucceededGateway, provider: BillProvider, load: Load) -> None:
        self._gateway = gateway
        self._provider = provider
        self._load = load
        self._client = KeptClient(gateway.port)
        self._numbers = count(1)
        self._over = False
        self.report = Report()

    def run(self, *, restarts: int, reloads: int) -> None:
        """The load, for as long as the operator works; then the end of the last process, and the check of the books."""
        asyncio.run(self._play(restarts, reloads))
        assert self._gateway.stop() == 0
        self._check()

    async def _play(self, restarts: int, reloads: int) -> None:
        since = time.monotonic()
        clients = [asyncio.ensure_future(self._long()) for _ in range(self._load.streams)]
        clients.append(asyncio.ensure_future(self._short()))
        try:
            await self._operate(restarts, reloads)
        finally:
            self._over = True
            await asyncio.gather(*clients)
            self.report.seconds = time.monotonic() - since
            await self._client.close()
            self.report.connections, self.report.closed = self._client.opened, self._client.closed

    # --- the operator

    async def _operate(self, restarts: int, reloads: int) -> None:
        await asyncio.sleep(0.5)
        for turn in range(restarts):
            self.report.restart_s.append(await asyncio.to_thread(self._gateway.restart))
            for number in range(turn * reloads // restarts, (turn + 1) * reloads // restarts):
                await asyncio.to_thread(self._reload, invalid=number % INVALID_EACH == INVALID_EACH - 1)
        await asyncio.sleep(0.5)

    def _reload(self, *, invalid: bool) -> None:
        wanted = self._gateway.config.read_text("utf-8")
        if invalid:
            self._gateway.config.write_text(wanted + "\nnonsense: true\n", "utf-8")
        status, body = self._gateway.admin("/admin/reload", "POST")
        self._gateway.config.write_text(wanted, "utf-8")
        assert status == (400 if invalid else 200), body
        self.report.reloads += 1
        self.report.refused_reloads += invalid

    # --- the clients

    async def _short(self) -> None:
        """At its rate, however long the answers take."""
        begun: set[asyncio.Future[None]] = set()
        since, sent = time.monotonic(), 0
        while not self._over:
            while sent < (time.monotonic() - since) * self._load.rate:
                sent += 1
                task = asyncio.ensure_future(self._ask(say=4, gap_ms=0, streamed=sent % 2 == 0))
                begun.add(task)
                task.add_done_callback(begun.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*begun)

    async def _long(self) -> None:
        while not self._over:
            await self._ask(say=self._load.stream_words, gap_ms=self._load.gap_ms, streamed=True, poor=False)

    async def _ask(self, *, say: int, gap_ms: int, streamed: bool, poor: bool = True) -> None:
        number = next(self._numbers)
        user = f"user-{number % USERS}" if poor else "user-1"
        model = MODELS[
            number % 8 != 0 if gap_ms else number // 2 % 2
        ]  # a slow answer that stops costs the provider much
        cap = 20 * say  # of a long answer more than is held at once
        answered = await self._client.ask(
            Wanted(f"mk-{number:07}", model, say, gap_ms, streamed=streamed, user=user, max_tokens=cap)
        )
        self.report.answered.append(answered)
        if answered.status != HTTPStatus.OK:
            await asyncio.sleep(0.2)

    # --- the books

    def _check(self) -> None:
        wait_for(lambda: all(call.why for call in self._provider.calls()), "the provider to end what was begun")
        rows = stored_rows(self._gateway.store)
        budgets = load(self._gateway.config, {}, registry=KINDS).budgets
        books = Books(rows, budgets, None, self._provider.calls())
        self.report.figures = check_money(books)
        assert integrity(self._gateway.store) == "ok"
        recorded = sorted(exchange.tags["marker"] for exchange in books.exchanges.values())
        assert recorded == sorted(each.marker for each in self.report.answered if each.status), "rows were lost"


@contextmanager
def restart_loop(directory: Path, load: Load) -> Iterator[RestartLoop]:
    """A loop over a provider and a gateway of its own."""
    with bill_provider(directory / "bill.jsonl") as provider:
        gateway = SucceededGateway(directory)
        gateway.configure(**restart_config(provider, load.poor_tokens))
        gateway.start()
        try:
            yield RestartLoop(gateway, provider, load)
            assert "Traceback" not in gateway.stderr, gateway.stderr
        finally:
            gateway.kill()


def restart_config(provider: BillProvider, poor_tokens: int) -> dict[str, Any]:
    """Both kinds of provider, under budgets that bind, one of which is used up."""
    kinds = {
        name: {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "after_disconnect": name}
        for name in MODELS
    }
    return {
        "server": {"drain": f"{DRAIN_S}s"},
        "limits": {"adaptive": False},  # the provider shares our CPU: its slowness is not the gateway's to answer for
        "providers": {name: kind | {"api_key": "sk-restart"} for name, kind in kinds.items()},
        "models": {
            name: {"deployments": [{"provider": name, "model": name}], "default_output": 400} for name in MODELS
        },
        "budgets": [
            {"name": "all", "scope": "global", "limit": "1000000 CNY", "window": "total"},
            {
                "name": "per-user",
                "scope": "user",
                "limit": "100000000 tokens",
                "window": "total",
                "entries": {POOR: f"{poor_tokens} tokens"},
            },
        ],
    }
