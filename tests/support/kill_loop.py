"""kill -9, again and again: a gateway under load dies, restarts, and its ledger is held against the provider's bill.

    with kill_loop(directory, streams=16, seed=1) as loop:
        loop.cycle(Kill())                          # at some moment
        loop.cycle(Kill("settle", 7))               # at the seventh settlement
        print(loop.report)

Every cycle ends with the restart, so that what the death left is settled by the process that comes after it.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from penstock.background.recovery import CUT
from penstock.config.load import load
from penstock.providers.registry import KINDS
from tests.support.bill_provider import ROOT, BillProvider, bill_provider
from tests.support.bill_provider_lines import PRICES
from tests.support.gateway_process import GatewayProcess, wait_for
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books, integrity, stored_rows
from tests.support.kill_client import Question, Told, ask

MODELS: Final = ("stops", "stops", "completes", "completes", "completes.cached", "completes.reset-middle", "stops.429")
USERS: Final = 8
POOR: Final = "user-0"
"""Has next to nothing: its requests are refused sooner or later."""
LIVES_S: Final = (0.05, 0.6)
"""How long a gateway lives under load when nothing in particular kills it."""
REACHED_WITHIN_S: Final = 20.0
RECOVERED_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Kill:
    """How a gateway ends: at a fail-point's n-th passing, or at some moment."""

    point: str = ""
    passing: int = 1


@dataclass(slots=True)
class Report:
    """What a loop came to."""

    kills: int = 0
    asked: int = 0
    answered: int = 0
    """Clients that got their whole answer."""
    refused: int = 0
    restart_s: list[float] = field(default_factory=list)
    recovered: int = 0
    """Attempts that a restart settled."""
    figures: Figures = field(default_factory=Figures)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """As a table."""
        made, restarts = self.figures, sorted(self.restart_s or [0.0])
        return [
            ("kills", f"{self.kills}"),
            ("requests made", f"{self.asked}"),
            ("whole answers", f"{self.answered}"),
            ("exchanges in the ledger", f"{made.exchanges}"),
            ("attempts exact", f"{made.exact}"),
            ("attempts estimated", f"{made.estimated}"),
            ("of them settled by a restart", f"{self.recovered}"),
            ("billed / charged, CNY", f"{made.billed_nano / 1e9:.6f} / {made.charged_nano / 1e9:.6f}"),
            ("most charged beyond a bill, CNY", f"{made.largest_nano / 1e9:.6f}"),
            ("restart, median / worst, s", f"{restarts[len(restarts) // 2]:.2f} / {restarts[-1]:.2f}"),
        ]


class MortalGateway(GatewayProcess):
    """A gateway that can be told where to die. ``words``: it knows the bill provider's tokens to the word."""

    words = False

    def start(self, kill: Kill = Kill()) -> None:
        """Serve; returns when ``/readyz`` says so."""
        command = [sys.executable, "-m", "tests.support.gateway_with_failpoints", str(self.config)]
        command += [kill.point, str(kill.passing), *["words"] * self.words]
        with (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=stderr, stderr=stderr)
        wait_for(self._is_ready)

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None


class KillLoop:
    """Load, death, restart, check."""

    def __init__(self, gateway: MortalGateway, provider: BillProvider, *, streams: int, seed: int) -> None:
        """``streams``: how many clients ask at once."""
        self._gateway = gateway
        self._provider = provider
        self._streams = streams
        self._rng = random.Random(seed)  # noqa: S311 - chance, no secret
        self._number = 0
        self._budgets = load(gateway.config, {}, registry=KINDS).budgets
        self.report = Report()

    def cycle(self, kill: Kill) -> None:
        """One life and one death of the gateway, and the check of its books."""
        if self._gateway.dead:
            self._gateway.start(kill)
        else:  # it lives on from the cycle before, and was started without a point
            assert not kill.point, "a gateway is told at its start where to die"
        told = asyncio.run(self._load(kill))
        self._gateway.wait()
        self.report.kills += 1
        self._restart()
        self._check(told)
        self._gateway.kill()

    async def _load(self, kill: Kill) -> list[Told]:
        """Ask until the gateway is dead."""
        told: list[Told] = []
        clients = [asyncio.ensure_future(self._client(told)) for _ in range(self._streams)]
        until = time.monotonic() + REACHED_WITHIN_S
        if kill.point:
            while not self._gateway.dead:
                assert time.monotonic() < until, f"{kill} was not reached"
                await asyncio.sleep(0.01)
        else:
            await asyncio.sleep(self._rng.uniform(*LIVES_S))
            self._gateway.kill()
        await asyncio.gather(*clients)
        return told

    async def _client(self, told: list[Told]) -> None:
        while not self._gateway.dead:
            said = await ask(self._gateway.port, self._question())
            told.append(said)
            if not said.status:
                await asyncio.sleep(0.01)

    def _question(self) -> Question:
        rng = self._rng
        self._number += 1
        say = rng.randint(1, 60)
        fields: dict[str, Any] = {"user": f"user-{rng.randrange(USERS)}"}
        if rng.random() < 0.7:
            fields["max_tokens"] = rng.choice((say, 40, 200))
        return Question(
            marker=f"mk-{self._number:07}",
            model=rng.choice(MODELS),
            streamed=rng.random() < 0.6,
            say=say,
            gap_ms=rng.choice((0, 2, 10, 20)),
            padding=rng.randrange(20),
            leave_after=rng.randrange(4) if rng.random() < 0.1 else None,
            fields=fields,
        )

    def _restart(self) -> None:
        since = time.monotonic()
        self._gateway.start()
        self.report.restart_s.append(time.monotonic() - since)
        wait_for(lambda: not self._open_rows(), "the orphans")
        took = time.monotonic() - since
        assert took <= RECOVERED_WITHIN_S, f"orphans outlived the restart by {took:.1f} s"
        wait_for(lambda: all(call.why for call in self._provider.calls()), "the provider to end what was begun")

    def _open_rows(self) -> list[str]:
        books = Books(stored_rows(self._gateway.store), running=True)
        return [name for name, ends in books.ends.items() if not ends]

    def _check(self, told: list[Told]) -> None:
        report = self.report
        books = Books(stored_rows(self._gateway.store), self._budgets, None, self._provider.calls())
        report.figures = check_money(books)
        assert integrity(self._gateway.store) == "ok"
        attempts = books.by_marker
        report.recovered = sum(attempt.outcome == CUT for attempt in books.attempts.values())
        report.asked += len(told)
        for each in told:
            report.refused += each.status not in {0, 200}
            if each.status == 200:
                made = attempts.get(each.question.marker, [])
                assert made, f"{each.question.marker} was answered and left no attempt"
                report.answered += each.answered
                guessed = made[-1].outcome == CUT and made[-1].estimated
                assert not (each.answered and guessed), f"{each.question} was seen whole and charged its hold"


@contextmanager
def kill_loop(directory: Path, *, streams: int, seed: int) -> Iterator[KillLoop]:
    """A loop over a provider and a gateway of its own; what they wrote stays in ``directory``."""
    with bill_provider(directory / "bill.jsonl") as provider:
        gateway = MortalGateway(directory)
        gateway.configure(**mortal_config(provider))
        try:
            yield KillLoop(gateway, provider, streams=streams, seed=seed)
            assert "Traceback" not in gateway.stderr, gateway.stderr
        finally:
            gateway.kill()


def mortal_config(provider: BillProvider) -> dict[str, Any]:
    """Both kinds of provider, budgets that bind and one that refuses, and nothing that answers in their place."""
    kinds = {
        name: {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "after_disconnect": name}
        for name in ("stops", "completes")
    }
    models = {
        model: {"deployments": [{"provider": model.partition(".")[0], "model": model}], "default_output": 400}
        for model in MODELS
    }
    return {
        "providers": {name: kind | {"api_key": "sk-mortal"} for name, kind in kinds.items()},
        "models": models,
        "budgets": [
            {"name": "all", "scope": "global", "limit": "1000000 CNY", "window": "month", "timezone": "Asia/Shanghai"},
            {
                "name": "per-user",
                "scope": "user",
                "limit": "100000000 tokens",
                "window": "day",
                "timezone": "UTC",
                "entries": {POOR: "20000 tokens"},
            },
        ],
        "retry": {"attempts": 2, "backoff": "20ms", "budget": 0.2},
    }
