"""How it ends: SIGTERM cuts nothing and loses nothing; kill -9 leaves a sound store."""

import asyncio
import json
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from penstock.core.usage import Usage
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.plain_gateway import ask, plain_config, question
from tests.support.sdk_gateway import amount, cost_nano
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

USAGE = Usage(input_miss=10, output=5)
COST = cost_nano(10, 0, 5)
STREAMS = 20
PIECES = [f"piece {number}" for number in range(10)]


@pytest.fixture
def running(up: Upstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that serves, without keys."""
    with gateway_process(tmp_path, **plain_config(up)) as gateway:
        yield gateway


async def test_sigterm_drains(running: GatewayProcess, up: Upstream) -> None:
    """Every stream under way comes to its end, nobody new gets in, it exits with 0, and the ledger has them all."""
    up.hold()
    up.script.stream(PIECES, usage=USAGE, gap_s=0.01).forever()
    begun = asyncio.Semaphore(0)

    async def stream(http: httpx2.AsyncClient, number: int) -> str:
        body = question(f"stream {number}", stream=True)
        async with http.stream("POST", "/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            first = await anext(lines)
            begun.release()
            return "\n".join([first, *[line async for line in lines]])

    async with httpx2.AsyncClient(base_url=running.base_url, timeout=60) as http:
        streams = [asyncio.ensure_future(stream(http, number)) for number in range(STREAMS)]
        for _ in range(STREAMS):
            await begun.acquire()
        running.signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: not _lets_in(running), "the closed door")
        assert running.admin("/readyz")[0] == 503
        up.release()
        told = await asyncio.gather(*streams)
    assert await asyncio.to_thread(running.wait) == 0
    for answer in told:
        assert [piece for piece in PIECES if piece not in answer] == []
        assert answer.rstrip().endswith("data: [DONE]")
    assert len(up.calls) == STREAMS
    row = running.json("spend", "--by", "model")["rows"][0]
    assert (row["requests"], row["errors"], row["cost"]) == (STREAMS, 0, amount(STREAMS * COST))


def _lets_in(gateway: GatewayProcess) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_what_outlasts_the_window_is_cut(up: Upstream, tmp_path: Path) -> None:
    """After ``server.drain`` a stream ends with an error that says why; the ledger has it as that; the exit is 0."""
    up.hold()
    up.script.stream(PIECES, usage=USAGE, gap_s=0.01).forever()
    with gateway_process(tmp_path, server={"drain": "300ms"}, **plain_config(up)) as gateway:
        async with (
            httpx2.AsyncClient(base_url=gateway.base_url, timeout=60) as http,
            http.stream("POST", "/chat/completions", json=question("long", stream=True)) as answer,
        ):
            lines = answer.aiter_lines()
            await anext(lines)
            gateway.signal(signal.SIGTERM)
            *_, last = [line async for line in lines if line]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
        assert await asyncio.to_thread(gateway.wait) == 0
        (row,) = gateway.json("spend", "--by", "model")["rows"]
        assert (row["requests"], row["errors"]) == (1, 1)
        shown = gateway.json("spend", "show", answer.headers["x-request-id"])["rows"]
        assert [row["outcome"] for row in shown if row["row"] == "exchange"] == ["draining"]


def test_kill_and_restart(running: GatewayProcess, up: Upstream) -> None:
    """After kill -9 in the middle of its work the store opens, is sound, and has every call.

    What it knew and had written is exact; the calls of its last moments are covered by their holds, and flagged.
    """
    up.script.reply(usage=USAGE).forever()
    for number in range(20):
        ask(running, f"before {number}")
    assert running.spend("model")[1]["requests"] == 20
    with httpx2.Client(base_url=running.base_url) as http:
        for number in range(50):
            http.post("/chat/completions", json=question(f"unwritten {number}"))
        running.kill()
    running.start()
    assert ask(running, "before 0").headers["x-penstock-cache"] == "exact"
    assert running.spend("model")[1]["requests"] >= 71 - 1
    assert running.stop() == 0
    store = sqlite3.connect(running.store)
    assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    calls = store.execute("SELECT estimated, charged_book_nano, held_nano FROM attempts").fetchall()
    store.close()
    assert len(calls) == 70
    assert {charged for estimated, charged, _ in calls if not estimated} == {COST}
    assert all(COST <= charged <= held for estimated, charged, held in calls if estimated)
    assert sum(not estimated for estimated, _, _ in calls) >= 20
