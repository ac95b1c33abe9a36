"""The data plane: a bare ASGI application, from the request's head to the last byte of its answer.

No framework stands on the hot path. One exchange is made per request and run through the pipeline; a whole answer is
sent with its cost in the headers, a stream one batch per send. A streaming asker that waits longer than
``KEEP_ALIVE_S`` gets its headers and comments until the answer begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from penstock.config.settings import Settings
from penstock.core.money import format_amount
from penstock.errors import BodyTooLarge, ClientGone, PenstockError, UnknownKey, UnknownPath
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.run import Pipeline
from penstock.pipeline.stream import Stream
from penstock.ports import Clock, Ids
from penstock.server.head import (
    MODEL_LISTS,
    MODEL_PATHS,
    Headers,
    find_dialect,
    read_asked,
    read_credential,
    read_headers,
)
from penstock.server.models import list_models
from penstock.server.origins import cors_headers, preflight
from penstock.server.replies import error_event, render_error

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

KEEP_ALIVE_S: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"
JSON: Final = (b"content-type", b"application/json")
EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE: Final = (b"cache-control", b"no-cache")
CLOSE: Final = (b"connection", b"close")


class Gate(Protocol):
    """What the data plane needs of the gateway; a reload swaps the settings and the pipeline."""

    settings: Settings
    pipeline: Pipeline
    keyring: KeyRing
    clock: Clock
    ids: Ids


class DataPlane:
    """The ASGI application of the data plane."""

    def __init__(self, gateway: Gate) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        gateway = self._gateway
        request_id = gateway.ids.new("req")
        path: str = scope["path"]
        dialect = "messages" if "/messages" in path else "chat"
        try:
            headers = read_headers(scope, open_mode=gateway.keyring.open)
            if scope["method"] == "OPTIONS" and b"origin" in headers:
                await _send_whole(send, *preflight(headers, gateway.settings.server.cors))
                return
            if path in MODEL_LISTS or path.startswith(MODEL_PATHS):
                await _send_whole(send, 200, self._models(scope, headers), [JSON, _request_id(request_id)])
                return
            dialect = find_dialect(path, scope["method"])
            asked = read_asked(dialect, headers)
        except PenstockError as error:
            status, body, out = render_error(dialect, error, request_id)
            await _send_whole(send, status, body, [*out, CLOSE])
            return
        body_reader = BodyReader(scope, receive, headers, gateway.settings.limits.max_body)
        exchange = Exchange(request_id, asked, body_reader.read, gateway.clock.now(), gateway.clock.monotonic())
        exchange.task = asyncio.current_task()
        scope["penstock.gone"] = exchange.client_left
        extra = cors_headers(headers, gateway.settings.server.cors) if b"origin" in headers else []
        try:
            await Answering(gateway, exchange, body_reader, send, extra).run()
        finally:
            del scope["penstock.gone"]
            exchange.task = None

    def _models(self, scope: Scope, headers: Headers) -> bytes:
        """The model list of who asks. Raises UnknownKey, UnknownPath."""
        principal = self._gateway.keyring.find(read_credential(headers), self._gateway.clock.now())
        if principal is None:
            raise UnknownKey("this API key is unknown, revoked or expired")
        if scope["method"] not in {"GET", "HEAD"}:
            raise UnknownPath("the model list takes GET")
        prefix, _, name = scope["path"].partition("/models")
        del prefix
        return list_models(
            self._gateway.settings.models, principal, name.lstrip("/"), anthropic=b"anthropic-version" in headers
        )


class BodyReader:
    """Reads a request's body, once, within ``limits.max_body``."""

    __slots__ = ("_limit", "_receive", "_scope", "_told", "complete")

    def __init__(self, scope: Scope, receive: Receive, headers: Headers, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._limit = limit
        told = headers.get(b"content-length", b"0")
        self._told = int(told) if told.isdigit() else 0
        self.complete = False
        """False: what is left of it would be taken for the next request."""

    async def read(self) -> bytes:
        """The body. Raises BodyTooLarge, before reading when its length is told; what the edge refused; ClientGone."""
        self._check(self._told)
        message = await self._receive()
        if not message.get("more_body") and message["type"] == "http.request":
            self.complete = True
            body: bytes = message["body"]
            self._check(len(body))
            return body
        parts: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            parts.append(message["body"])
            size += len(parts[-1])
            self._check(size)
            if not message.get("more_body"):
                self.complete = True
                return b"".join(parts)
            message = await self._receive()
        refused = self._scope.get("penstock.refused")
        raise refused if isinstance(refused, PenstockError) else ClientGone("the client left during its request")

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLarge(f"the body is larger than {self._limit} bytes (limits.max_body)")


class Answering:
    """One exchange on its way through the pipeline and out to its client."""

    def __init__(
        self, gateway: Gate, exchange: Exchange, body: BodyReader, send: Send, extra: list[tuple[bytes, bytes]]
    ) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._body = body
        self._send = send
        self._extra = extra
        self._begun = False
        self._timer = gateway.clock.later(KEEP_ALIVE_S, self._wake)
        self._waking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer, whatever happens; who is called off has nobody left to answer."""
        try:
            await self._answer()
        except asyncio.CancelledError:
            if not self._exchange.called_off:
                raise

    async def _answer(self) -> None:
        try:
            reply = await self._gateway.pipeline.run(self._exchange)
        finally:
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
        await _send_whole(self._send, reply.status, reply.body, headers)

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
        if not self._body.complete:
            headers.append(CLOSE)
        await _send_whole(self._send, status, body, headers)

    async def _begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": [EVENTS, NO_CACHE, *headers]})
        self._begun = True

    # --- headers

    def _headers(self, reply: Reply) -> list[tuple[bytes, bytes]]:
        headers = [_request_id(self._exchange.id), *self._told(), *self._extra]
        if reply.headers:
            headers += [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        return headers

    def _told(self) -> list[tuple[bytes, bytes]]:
        exchange = self._exchange
        headers = [
            (b"x-penstock-cache", exchange.cache.encode()),
            (b"x-penstock-attempts", b"%d" % exchange.dispatched),
        ]
        if exchange.served_by:
            headers.append((b"x-penstock-deployment", exchange.served_by.encode("latin-1", "replace")))
        return headers

    # --- waiting

    def _wake(self) -> None:
        """The answer takes long: begin the response, if it will be a stream. Who still uploads is looked at again."""
        if self._exchange.wants_stream:
            self._waking = asyncio.ensure_future(self._keep_alive())
        elif not self._body.complete:
            self._timer = self._gateway.clock.later(KEEP_ALIVE_S, self._wake)

    async def _keep_alive(self) -> None:
        """Until it is cancelled, which it never is in the middle of a message: a ``send`` waits, then writes it whole.

        Nothing is awaited between an answer and its first byte, so that no cancellation can come between the two and
        leave a stream that nobody ends.
        """
        await self._begin([_request_id(self._exchange.id), *self._extra])
        while not self._exchange.client_gone:
            await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
            await self._gateway.clock.sleep(KEEP_ALIVE_S)


def _request_id(request_id: str) -> tuple[bytes, bytes]:
    return (b"x-request-id", request_id.encode())


async def _send_whole(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
