"""B19: restarts and reloads under load fail nothing, cut nothing and lose nothing."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.background.recovery import CUT
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.gateway_process import PATIENCE_S, wait_for
from tests.support.invariants import check_money
from tests.support.invariants_books import Books, stored_rows
from tests.support.kill_client import Question, ask
from tests.support.restart_loop import Load, SucceededGateway, restart_config, restart_loop

pytestmark = pytest.mark.alone


def test_restarts_and_reloads_under_load(tmp_path: Path) -> None:
    """Three processes after each other, twelve reloads of which four are invalid; the books are exact."""
    with restart_loop(tmp_path, Load(rate=50, streams=8, gap_ms=25)) as loop:
        loop.run(restarts=3, reloads=12)
        report = loop.report
    assert [(each.marker, each.status, each.why) for each in report.failed] == []
    assert report.cut == []
    assert (len(report.restart_s), report.reloads, report.refused_reloads) == (3, 12, 4)
    assert report.over_budget > 0
    assert report.figures.estimated == 0
    assert report.figures.exact == report.figures.attempts


def test_a_successor_that_cannot_serve_changes_nothing(tmp_path: Path) -> None:
    """An invalid config: the old process serves on and says why; with a valid one the next restart succeeds."""
    with succeeded_gateway(tmp_path) as (gateway, _):
        sound, pid = gateway.config.read_text("utf-8"), gateway.pid
        gateway.config.write_text(sound + "\nnonsense: true\n", "utf-8")
        gateway.command("restart", code=2)
        gateway.signal(signal.SIGUSR2)
        wait_for(lambda: "there is no successor: this process serves on" in gateway.stderr, "the refusal")
        assert "nonsense: is no setting" in gateway.stderr
        assert gateway.pid == pid
        assert [asyncio.run(ask(gateway.port, question(number))).status for number in range(3)] == [200] * 3
        assert gateway.admin("/readyz")[0] == 200
        gateway.config.write_text(sound, "utf-8")
        assert gateway.command("restart").startswith(f"Process {gateway.pid} serves; process {pid} answers")
        assert gateway.pid != pid
        assert asyncio.run(ask(gateway.port, question(9))).status == 200


def test_an_end_during_a_restart_is_an_end(tmp_path: Path) -> None:
    """SIGTERM while the successor starts: neither of the two is left."""
    with succeeded_gateway(tmp_path) as (gateway, _):
        gateway.signal(signal.SIGUSR2)
        wait_for(lambda: "a successor is started" in gateway.stderr, "the restart")
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert gateway.ended


async def test_a_repeat_of_what_the_old_process_still_answers(tmp_path: Path) -> None:
    """Whoever of the two is asked: one call, one answer, for all that have the same Idempotency-Key."""
    with succeeded_gateway(tmp_path) as (gateway, provider):
        slow = question(1, say=60, gap_ms=50)
        asked = replace(slow, model="completes", headers={"idempotency-key": "order-7"})
        first = asyncio.ensure_future(ask(gateway.port, asked))
        await asyncio.to_thread(wait_for, lambda: any(call.output for call in provider.calls()), "the first words")
        await asyncio.to_thread(gateway.restart)
        repeats = [asyncio.ensure_future(ask(gateway.port, asked)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(repeat.done() for repeat in repeats)
        told = [await first, *[await repeat for repeat in repeats]]
        assert [each.complete for each in told] == [True] * 4
        assert [each.headers.get("idempotent-replayed") for each in told] == [None, "true", "true", "true"]
        assert len(provider.calls()) == 1


async def test_a_predecessor_that_is_killed_in_its_drain(tmp_path: Path) -> None:
    """Its successor settles what it left open, books it on the budgets, and touches none of its own."""
    with succeeded_gateway(tmp_path) as (gateway, provider):
        old = asyncio.ensure_future(ask(gateway.port, question(1, say=400, gap_ms=20)))
        await asyncio.to_thread(wait_for, lambda: any(call.output for call in provider.calls()), "the first words")
        pid = gateway.pid
        await asyncio.to_thread(gateway.restart)
        new = asyncio.ensure_future(ask(gateway.port, question(2, say=100, gap_ms=20)))
        await asyncio.to_thread(wait_for, lambda: len(provider.calls()) > 1, "the call of the successor")
        assert pending(gateway) > 0
        os.kill(pid, signal.SIGKILL)
        assert not (await old).complete
        assert (await new).complete
        await asyncio.to_thread(wait_for, lambda: "the process before this one has ended" in gateway.stderr, "the end")
        await asyncio.to_thread(wait_for, lambda: all(call.why for call in provider.calls()), "the bill")
        gateway.spend("model")  # flushes the ledger
        books = Books(stored_rows(gateway.store), bill=provider.calls())
        check_money(books)
        ended = sorted((attempt.outcome, attempt.estimated) for attempt in books.attempts.values())
        assert ended == [(CUT, True), ("ok", False)]
        charged = sum(attempt.charged_book_nano or 0 for attempt in books.attempts.values())
        assert (posted(gateway), pending(gateway)) == (charged, 0)


def test_a_supervisor_is_told_which_process_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, then its successor; the end only of the last, for the service goes on when the first ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with succeeded_gateway(tmp_path) as (gateway, _):
            pids = [gateway.pid]
            gateway.restart()
            pids.append(gateway.pid)
            wait_for(lambda: "the process before this one has ended" in gateway.stderr, "the end of the first")
            gateway.stop()
        told = [supervisor.recv(1000).decode() for _ in range(3)]
        assert told == [*(f"MAINPID={pid}\nREADY=1\n" for pid in pids), "STOPPING=1\n"]


def question(number: int, *, say: int = 4, gap_ms: int = 0) -> Question:
    """A stream at a provider that bills what it said."""
    return Question(f"mk-{number:07}", model="stops", say=say, gap_ms=gap_ms, fields={"max_tokens": 400})


def posted(gateway: SucceededGateway) -> int:
    """What the budget over everything says is spent, nano-units."""
    return _all(gateway, "used") - pending(gateway)


def pending(gateway: SucceededGateway) -> int:
    """What it says is held."""
    return _all(gateway, "pending")


def _all(gateway: SucceededGateway, column: str) -> int:
    rows = json.loads(gateway.admin("/admin/budgets")[1])["rows"]
    return int(Decimal(next(row[column] for row in rows if row["budget"] == "all")) * 10**9)


@contextmanager
def succeeded_gateway(directory: Path) -> Iterator[tuple[SucceededGateway, BillProvider]]:
    """One that may hand over, and its provider."""
    with bill_provider(directory / "bill.jsonl") as provider:
        gateway = SucceededGateway(directory)
        gateway.configure(**restart_config(provider, poor_tokens=400))
        gateway.start()
        try:
            yield gateway, provider
        finally:
            gateway.kill()
