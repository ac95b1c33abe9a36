"""What a scrape does to the requests beside it: how late the loop is, by how the text is made.

    python bench/micro_scrape.py [--scrapes 40]

The metrics are those of 50 models of 10 deployments that have failed in every way: about 15,000 series. The loop is
asked each millisecond how late it is, first with nothing beside it, then while one scrape follows another: ``pieces``
is what ``/metrics`` does, ``whole`` makes the text in one go in a thread, ``on the loop`` without one. Beside it the
loop does 150 us of Python each millisecond, as a gateway does. Bar: no request waits more than 5 ms for a scrape.
Lateness beyond that of ``nothing`` in the same run is the scrape's; the rest is the machine's. ``longest piece`` is the
most CPU that a piece took, which no other process adds to: so long a scrape keeps the loop from turning.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Final, NamedTuple

import uvloop

from penstock.config.load import load
from penstock.config.settings import DeploymentSettings, Settings
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.usage import Usage
from penstock.observe.exposition import Format
from penstock.observe.metrics import Metrics
from penstock.observe.readings import Reading
from penstock.providers.registry import KINDS

MODELS: Final = 50
DEPLOYMENTS: Final = 10
OUTCOMES: Final = (
    "ok", "provider_busy", "provider_error", "provider_timeout", "provider_unreachable", "provider_account",
    "provider_bad_answer", "provider_refused", "client_gone", "draining", "saturated", "rate_limited", "no_deployment",
    "budget_exceeded", "invalid_request",
)  # fmt: skip
GAUGES: Final = ("up", "in_flight", "limit", "first_byte_seconds")
EVERY_S: Final = 0.001
PASSES: Final = 5
BUSY_STEPS: Final = 2700
"""150 us."""
AT: Final = 1_795_000_000.0


class Lateness(NamedTuple):
    """Of the loop, in milliseconds."""

    median: float
    p99: float
    most: float
    each_ms: float
    """How long a scrape took."""


def largest() -> Settings:
    """So many models and deployments."""
    settings = load(None, {}, registry=KINDS)
    model = settings.models["sim-chat"]
    provider = model.deployments[0].provider
    providers = [replace(provider, name=f"p{number}") for number in range(DEPLOYMENTS)]
    models = {
        name: replace(model, name=name, deployments=tuple(DeploymentSettings(each, name, 1, "") for each in providers))
        for name in (f"model-{number}" for number in range(MODELS))
    }
    return replace(settings, models=models)


def full(settings: Settings) -> Metrics:
    """After everything has failed in every way."""
    metrics = Metrics(settings)
    for model, outcome, cache in product(settings.models.values(), OUTCOMES, ("exact", "joined", "miss", "off")):
        attempts = [_attempt(each, outcome) for each in model.deployments]
        metrics.observe(_row(model.name, outcome, cache), attempts, [])
    metrics.survey("the fleet", lambda: _fleet(settings))
    return metrics


def _row(model: str, outcome: str, cache: str) -> ExchangeRow:
    return ExchangeRow(
        id="req_0123456789abcdef0123456789abcdef", at=AT, endpoint="chat", model=model, outcome=outcome, status=200,
        cache=cache, currency="CNY", duration_s=0.5, first_byte_s=0.2, streamed=True, cost_nano=7, baseline_nano=9,
    )  # fmt: skip


def _attempt(deployment: DeploymentSettings, outcome: str) -> AttemptRow:
    return AttemptRow(
        id="at", exchange_id="ex", started_at=AT, ended_at=AT, provider=deployment.provider.name,
        deployment=deployment.id, outcome=outcome, usage=Usage(9, 8, 7, 6, 5), overrun=True,
    )  # fmt: skip


def _fleet(settings: Settings) -> Iterator[Reading]:
    for model in settings.models.values():
        for each in model.deployments:
            for name in GAUGES:
                yield Reading(f"penstock_deployment_{name}", (each.id,), 1.0)


async def lateness(scrape: Callable[[], Awaitable[object]] | None, scrapes: int) -> Lateness:
    """While one scrape follows another; None = for a while with none."""
    late: list[float] = []
    watching = asyncio.create_task(_watch(late))
    began = time.perf_counter()
    for _ in range(scrapes):
        await (asyncio.sleep(0.1) if scrape is None else scrape())
    each_ms = (time.perf_counter() - began) / scrapes * 1e3
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    late.sort()
    return Lateness(statistics.median(late), late[int(0.99 * len(late))], late[-1], each_ms)


def longest_piece_ms(metrics: Metrics) -> float:
    """By this thread's own CPU time."""
    taken: list[float] = []
    for _ in range(PASSES):
        made = metrics.pieces(Format.OPENMETRICS)
        while True:
            before = time.thread_time()
            piece = next(made, None)
            taken.append((time.thread_time() - before) * 1e3)
            if piece is None:
                break
    return max(taken)


async def _watch(late: list[float]) -> None:
    """Note in milliseconds how late the loop is, and be busy like a request."""
    while True:
        due = time.perf_counter() + EVERY_S
        await asyncio.sleep(EVERY_S)
        late.append(max(0.0, time.perf_counter() - due) * 1e3)
        for _ in range(BUSY_STEPS):
            pass


async def measure(scrapes: int) -> None:
    """Print a table."""
    metrics = full(largest())
    text = await metrics.scrape(Format.OPENMETRICS)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    sys.stdout.write(
        f"{series} series, {len(text)} bytes; longest piece {longest_piece_ms(metrics):.2f} ms. Milliseconds late:\n"
    )

    async def on_the_loop() -> None:
        metrics.render(Format.OPENMETRICS)
        await asyncio.sleep(0)

    ways: dict[str, Callable[[], Awaitable[object]] | None] = {
        "nothing": None,
        "pieces": lambda: metrics.scrape(Format.OPENMETRICS),
        "whole": lambda: asyncio.to_thread(metrics.render, Format.OPENMETRICS),
        "on the loop": on_the_loop,
        "nothing again": None,
    }
    sys.stdout.write("| beside | median | p99 | most | a scrape takes |\n|---|---|---|---|---|\n")
    for name, way in ways.items():
        found = await lateness(way, scrapes)
        figures = f"{found.median:.2f} | {found.p99:.2f} | {found.most:.2f} | {found.each_ms:.0f}"
        sys.stdout.write(f"| {name} | {figures} |\n")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description="How late the loop is while metrics are scraped.")
    parser.add_argument("--scrapes", type=int, default=40)
    uvloop.run(measure(parser.parse_args().scrapes))


if __name__ == "__main__":
    main()
