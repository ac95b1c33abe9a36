"""The metrics of the conventions for generative AI, as OpenTelemetry reads them."""

from typing import Any

import pytest

from penstock.clock import LoopClock, SystemRng
from penstock.core.usage import Usage
from penstock.observe.courier import Courier
from penstock.observe.instruments import MOST, Instruments
from penstock.observe.otlp import resource
from penstock.ports.telemetry import CollectorAnswer
from tests.support.house import settings_of
from tests.support.ledger_rows import AT, attempt_row, exchange_row
from tests.support.otlp import METRICS, KeptCollector


class Counted:
    """Instruments, and the collector that they are told to."""

    def __init__(self) -> None:
        self.clock = LoopClock(AT)
        self.collector = KeptCollector()
        self.told = self.collector.told
        self.instruments = Instruments(Courier(METRICS, self.collector, self.clock, SystemRng(1)), self.clock)
        self.instruments.adopt(resource({"service.name": "penstock"}), settings_of())

    def count(self, *outcomes: str, deployment: str = "one/m-1", **fields: Any) -> None:
        """An exchange whose calls ended so."""
        usage = Usage(100, 20, 0, 30)
        attempts = [
            attempt_row("att_1", "req_1", outcome=outcome, deployment=deployment, ended_at=AT + 0.125, usage=usage)
            for outcome in outcomes
        ]
        self.instruments.observe(exchange_row("req_1", **{"model": "m", "deployment": deployment, **fields}), attempts)


@pytest.mark.looptime
async def test_requests_calls_and_tokens_are_counted_in_the_conventions_words() -> None:
    """By operation, provider and model, what failed by how."""
    counted = Counted()
    counted.count("provider_busy", "ok", cache="miss", duration_s=0.5, streamed=True, first_byte_s=0.25)
    await counted.instruments.tell()
    point, chat = counted.told.point, {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "scripted"}
    request = point("gen_ai.server.request.duration", {**chat, "gen_ai.request.model": "m", "penstock.cache": "miss"})
    assert (request.count, request.sum) == (1, 0.5)
    assert request.bucket_counts[list(request.explicit_bounds).index(0.64)] == 1
    assert point("gen_ai.server.time_to_first_token", chat).sum == 0.25
    assert point("gen_ai.client.token.usage", {**chat, "gen_ai.token.type": "input"}).sum == 240
    assert point("gen_ai.client.token.usage", {**chat, "gen_ai.token.type": "output"}).sum == 60
    failed = point("gen_ai.client.operation.duration", {"error.type": "provider_busy"})
    assert (failed.count, failed.sum) == (1, 0.125)
    assert len(counted.told.points["gen_ai.client.operation.duration"]) == 2


@pytest.mark.looptime
async def test_what_is_told_is_all_since_the_beginning() -> None:
    """So what a collector did not take is in what it takes next."""
    counted = Counted()
    counted.count("ok")
    counted.collector.answers = [CollectorAnswer(503)]
    await counted.instruments.tell()
    counted.count("ok")
    await counted.instruments.tell()
    assert len(counted.collector.posts) == 1
    await counted.clock.sleep(60)
    await counted.instruments.tell()
    (call,) = counted.told.points["gen_ai.client.operation.duration"]
    assert (call.count, call.start_time_unix_nano, call.time_unix_nano) == (2, int(AT) * 10**9, int(AT + 60) * 10**9)


@pytest.mark.looptime
async def test_nothing_is_told_where_nothing_was_asked() -> None:
    """Not even that."""
    counted = Counted()
    await counted.instruments.tell()
    assert not counted.collector.posts


@pytest.mark.looptime
async def test_series_are_bounded_whatever_is_asked_and_goes_wrong() -> None:
    """Names come from the config, and of too many ways to fail the rest are one."""
    counted = Counted()
    for number in range(MOST + 500):
        counted.count(f"fails_{number}", model=f"m-{number}", deployment=f"x/{number}", outcome=f"fails_{number}")
    counted.count("ok")
    await counted.instruments.tell()
    for name in ("gen_ai.client.operation.duration", "gen_ai.server.request.duration"):
        assert len(counted.told.points[name]) == MOST + 2
        assert counted.told.point(name, {"error.type": "other"}).count == 500
    assert len(counted.told.points["gen_ai.client.token.usage"]) == 4
