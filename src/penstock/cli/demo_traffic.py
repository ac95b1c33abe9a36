"""Plays the demo's traffic on its two ways at once: through the gateway, and straight to the same kind of provider.

Both ways get the same questions at the same instants and are timed by the same clock, from the request to the last byte
of the answer. The gateway is reached over HTTP on loopback, as by any client.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.cli.demo_report import Leg, quantile
from penstock.cli.demo_workload import Ask
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.ports.providers import Adapter, Transport, UpstreamCall, UpstreamResponse
from penstock.wire.sse import Event, SseParser

DIALECT = "chat"
MAX_ANSWER_BYTES = 2**20
HITS = ("exact", "joined")
"""What ``x-penstock-cache`` says of an answer that no call was made for."""


@dataclass(slots=True)
class Tally:
    """What has come back on a way so far. Latencies are in the traffic's own seconds."""

    answered: int = 0
    errors: int = 0
    hits: int = 0
    cost_nano: int = 0
    repeats_nano: int = 0
    """The part of the cost that repeated questions are, where this way prices answers itself."""
    latencies_s: list[float] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Questions that are over."""
        return self.answered + self.errors

    @property
    def p95_s(self) -> float:
        """Of the answered questions."""
        return quantile(self.latencies_s, 95)

    def leg(self) -> Leg:
        """As a column of the report."""
        return Leg(self.done, self.errors, self.hits, self.cost_nano, self.latencies_s)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to an answer; ``tally`` is what came back on it."""

    transport: Transport
    adapter: Adapter
    call: Callable[[Ask], UpstreamCall]
    """The request that asks the question on this way."""
    price: Callable[[Usage], int]
    """Nano-units to add for an answer's usage."""
    tally: Tally = field(default_factory=Tally)

    async def ask(self, ask: Ask, clock: Clock, speed: float) -> None:
        """Send the question and count what comes of it."""
        start = clock.monotonic()
        tally = self.tally
        try:
            cache, usage = await self._answer(self.call(ask))
        except PenstockError:
            tally.errors += 1
            return
        tally.answered += 1
        tally.hits += cache in HITS
        tally.latencies_s.append((clock.monotonic() - start) * speed)
        cost_nano = self.price(usage)
        tally.cost_nano += cost_nano
        tally.repeats_nano += cost_nano if ask.repeats else 0

    async def _answer(self, call: UpstreamCall) -> tuple[str, Usage]:
        """(cache header, usage) of a good answer. Raises UpstreamError."""
        response = await self.transport.send(call)
        try:
            if response.status != 200:  # noqa: PLR2004 - the one status that carries an answer
                body = await response.read(MAX_ANSWER_BYTES)
                raise self.adapter.refusal(response.status, response.headers, body)
            usage = NO_USAGE
            for event in await events_of(response):
                usage = self._take(event, usage)
            return response.headers.get("x-penstock-cache", ""), usage
        finally:
            await response.close()

    def _take(self, event: Event, usage: Usage) -> Usage:
        """The usage so far. Raises UpstreamError when the event is an error."""
        body = event.json
        if not isinstance(body, dict):
            return usage
        error = self.adapter.error_inside(DIALECT, body)
        if error is not None:
            raise error
        return self.adapter.usage(DIALECT, body, usage) or usage


async def events_of(response: UpstreamResponse) -> list[Event]:
    """All there is of an answer, whole or streamed. Raises UpstreamError when it is cut."""
    if "event-stream" not in response.headers.get("content-type", ""):
        body = await response.read(MAX_ANSWER_BYTES)
        return [Event(body, body, whole=True)]
    parser = SseParser()
    events: list[Event] = []
    while data := await response.next():
        events += parser.feed(data)
    return events + parser.finish()


async def play(asks: Sequence[Ask], ways: Sequence[Way], clock: Clock, *, speed: float) -> None:
    """Ask every question on every way at its instant; returns when all are over.

    ``speed``: how many of the traffic's seconds pass in one of the clock's.
    """
    start = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        for ask in asks:
            await clock.sleep(max(0.0, start + ask.at_s / speed - clock.monotonic()))
            for way in ways:
                group.create_task(way.ask(ask, clock, speed))


def body_of(ask: Ask, model: str) -> tuple[dict[str, object], bytes]:
    """The request's fields and its bytes."""
    body = ask.body(model)
    return body, msgspec.json.encode(body)
