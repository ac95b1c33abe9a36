"""One exchange on its way out: a whole answer with its cost in the headers, a stream one batch per send.

A streaming asker that waits longer than ``KEEP_ALIVE_S`` gets its headers and comments until the answer begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from penstock.config.settings import Settings
from penstock.core.edge import Told
from penstock.core.money import format_amount
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.run import Pipeline
from penstock.pipeline.stream import Stream
from penstock.ports.clock import Clock, Timer
from penstock.server.body import BodyReader
from penstock.server.replies import error_event, render_error, told_kind

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Lines = list[tuple[bytes, bytes]]

KEEP_ALIVE_S: Final = 15.0
SEARCHED_BYTES: Final = 4096
"""Above this a timer is cheaper than to look whether the body speaks of a stream."""
KEEP_ALIVE: Final = b": keep-alive\n\n"
JSON: Final = (b"content-type", b"application/json")
EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE: Final = (b"cache-control", b"no-cache")
CLOSE: Final = (b"connection", b"close")


class Answers(Protocol):
    """What answering needs of the gateway."""

    settings: Settings
    pipeline: Pipeline
    clock: Clock


class Answering:
    """One exchange on its way through the pipeline and out to its client."""

    __slots__ = ("_begun", "_body", "_exchange", "_extra", "_gateway", "_send", "_timer", "_waking")

    def __init__(self, gateway: Answers, exchange: Exchange, body: BodyReader, send: Send, extra: Lines) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._body = body
        self._send = send
        self._extra = extra
        self._begun = False
        self._timer: Timer | None = None
        self._waking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer, whatever happens; who is called off has nobody left to answer, who is cut is told why."""
        self._exchange.read_body = self._read
        try:
            await self._answer()
        except asyncio.CancelledError:
            if not self._exchange.called_off:
                raise
            await self._fail()
        finally:
            self._exchange.read_body = self._body.read  # no cycle is left for the collector

    async def _read(self) -> bytes:
        """The body, for the pipeline. A client that may want a stream is not left waiting in silence."""
        body = await self._body.read()
        if len(body) > SEARCHED_BYTES or b'"stream"' in body:
            self._timer = self._gateway.clock.later(KEEP_ALIVE_S, self._wake)
        return body

    async def _answer(self) -> None:
        try:
            reply = await self._gateway.pipeline.run(self._exchange)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._waking is not None:
                self._waking.cancel()
        if reply is None:
            await self._fail()
        elif reply.batches is not None:
            await self._stream(reply, reply.batches)
        elif self._begun:
            await self._send({"type": "http.response.body", "body": reply.body, "more_body": False})
        else:
            await self._whole(reply)

    async def _whole(self, reply: Reply) -> None:
        exchange = self._exchange
        currency = self._gateway.settings.currency
        headers = [JSON, (b"content-length", b"%d" % len(reply.body)), *self._headers(reply)]
        cost, baseline = exchange.cost_nano, exchange.baseline_nano
        if cost is not None:
            headers.append((b"x-penstock-cost", f"{format_amount(cost)} {currency}".encode()))
            if baseline is not None:
                headers.append((b"x-penstock-saved", f"{format_amount(baseline - cost)} {currency}".encode()))
        await send_whole(self._send, reply.status, reply.body, headers)

    async def _stream(self, reply: Reply, batches: Stream) -> None:
        """Batch by batch; an error after the first byte is an event of the stream."""
        send, exchange = self._send, self._exchange
        async with aclosing(batches):
            async for batch in batches:
                if not self._begun:
                    await self._begin(self._headers(reply))
                if not exchange.client_gone:
                    body = batch[0].raw if len(batch) == 1 else b"".join([event.raw for event in batch])
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        if exchange.error is not None:
            await self._fail()
        else:
            if not self._begun:
                await self._begin(self._headers(reply))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self) -> None:
        exchange = self._exchange
        error = exchange.error
        if error is None or exchange.client_gone:
            return
        if self._begun:
            last = error_event(exchange.asked.dialect, error, exchange.id)
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
            return
        status, body, headers = render_error(exchange.asked.dialect, error, exchange.id)
        headers += [*self._told(), *self._extra]
        if exchange.asked.passed is not None:
            headers.append((b"x-penstock-error", told_kind(error).encode()))
        if not self._body.complete:
            headers.append(CLOSE)
        await send_whole(self._send, status, body, headers)

    async def _begin(self, headers: Lines) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": [EVENTS, NO_CACHE, *headers]})
        self._begun = True

    # --- headers

    def _headers(self, reply: Reply) -> Lines:
        headers = [request_id_header(self._exchange.id), *self._told(), *self._extra]
        if reply.headers:
            headers += [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        return headers

    def _told(self) -> Lines:
        exchange = self._exchange
        headers = [
            (b"x-penstock-cache", exchange.cache.encode()),
            (b"x-penstock-attempts", b"%d" % exchange.dispatched),
        ]
        degraded = exchange.degraded if exchange.told is None else (*exchange.degraded, *exchange.told.degraded)
        if degraded:
            headers.append((b"x-penstock-degraded", ",".join(dict.fromkeys(degraded)).encode()))
        if exchange.cache == "exact":
            headers.append((b"age", b"%d" % exchange.age_s))
        if exchange.told is not None:
            headers += _upstream(exchange.told)
        if exchange.served_by:
            headers.append((b"x-penstock-deployment", exchange.served_by.encode("latin-1", "replace")))
        return headers

    # --- waiting

    def _wake(self) -> None:
        """The answer takes long: begin the response, if it will be a stream."""
        if self._exchange.wants_stream:
            self._waking = asyncio.ensure_future(self._keep_alive())

    async def _keep_alive(self) -> None:
        """Until it is cancelled, which it never is in the middle of a message: a ``send`` waits, then writes it whole.

        Nothing is awaited between an answer and its first byte, so that no cancellation can come between the two and
        leave a stream that nobody ends.
        """
        await self._begin([request_id_header(self._exchange.id), *self._extra])
        while not self._exchange.client_gone:
            await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
            await self._gateway.clock.sleep(KEEP_ALIVE_S)


def _upstream(told: Told) -> Lines:
    """What our centre said of the answer."""
    lines = [("cache", told.cache), ("cost", told.cost), ("request-id", told.request_id)]
    return [(f"x-penstock-upstream-{name}".encode(), value.encode()) for name, value in lines if value]


def request_id_header(request_id: str) -> tuple[bytes, bytes]:
    """The header that names the exchange."""
    return (b"x-request-id", request_id.encode())


async def send_whole(send: Send, status: int, body: bytes, headers: Lines) -> None:
    """An answer that is all there."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
