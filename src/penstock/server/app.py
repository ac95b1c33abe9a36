"""The data plane: a bare ASGI application, from the request's head to its exchange.

No framework stands on the hot path: one exchange is made per request and handed to ``answering.py``, which runs it
through the pipeline and sends what comes out.
"""

from collections.abc import Mapping
from typing import Protocol

from penstock.config.settings import Settings
from penstock.core.offer import Offer
from penstock.errors import PenstockError
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.run import Pipeline
from penstock.ports.clock import Clock, Ids
from penstock.ports.stores import Stores
from penstock.server.answering import CLOSE, JSON, Answering, Lines, Send, request_id_header, send_whole
from penstock.server.body import BodyReader, Receive, Scope
from penstock.server.callers import Callers
from penstock.server.head import (
    DIALECTS,
    Headers,
    asks_for_models,
    find_dialect,
    read_asked,
    read_credential,
    read_headers,
)
from penstock.server.models import list_models
from penstock.server.origins import cors_headers, preflight
from penstock.server.replies import render_error
from penstock.server.sync_api import PATHS, SyncApi


class Gate(Protocol):
    """What the data plane needs of the gateway; a reload swaps the settings and the pipeline."""

    settings: Settings
    pipeline: Pipeline
    keyring: KeyRing
    clock: Clock
    ids: Ids
    stores: Stores
    offers: Mapping[str, Offer]


class DataPlane:
    """The ASGI application of the data plane."""

    def __init__(self, gateway: Gate) -> None:
        self._gateway = gateway
        self._trusted: tuple[str, ...] = ()
        self._callers = Callers(())
        self._sync = SyncApi(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        gateway = self._gateway
        request_id = gateway.ids.new("req")
        path: str = scope["path"]
        dialect = "messages" if "/messages" in path else "chat"
        extra: Lines = []
        try:
            headers = read_headers(scope, open_mode=gateway.keyring.open)
            extra = cors_headers(headers, gateway.settings.server.cors) if b"origin" in headers else extra
            if scope["method"] == "OPTIONS" and b"origin" in headers:
                await send_whole(send, *preflight(headers, gateway.settings.server.cors))
                return
            if path not in DIALECTS and (document := await self._document(scope, headers)) is not None:
                length = (b"content-length", b"%d" % len(document))
                await send_whole(send, 200, document, [JSON, length, request_id_header(request_id), *extra])
                return
            dialect = find_dialect(path, scope["method"])
            asked = read_asked(dialect, headers)
            asked.address = self._address(scope, headers)
        except PenstockError as error:
            status, refusal, out = render_error(dialect, error, request_id)
            await send_whole(send, status, refusal, [*out, *extra, CLOSE])
            return
        body = BodyReader(scope, receive, headers, gateway.settings.limits.max_body)
        exchange = Exchange(request_id, asked, body.read, gateway.clock.now(), gateway.clock.monotonic())
        exchange.task = scope.pop("penstock.task", None)
        scope["penstock.gone"] = exchange.client_left
        scope["penstock.cut"] = exchange.cut
        exchange.hurry = scope.pop("penstock.hurry", exchange.hurry)
        try:
            await Answering(gateway, exchange, body, send, extra).run()
        finally:
            del scope["penstock.gone"], scope["penstock.cut"]
            exchange.task = None

    def _address(self, scope: Scope, headers: Headers) -> str:
        """The caller's address, by the proxies that are trusted now."""
        trusted = self._gateway.settings.server.trusted_proxies
        if trusted != self._trusted:
            self._trusted, self._callers = trusted, Callers(trusted)
        peer = scope.get("client")
        return self._callers.address(peer[0] if peer else "", headers.get(b"x-forwarded-for"))

    async def _document(self, scope: Scope, headers: Headers) -> bytes | None:
        """What is asked of a path that is no dialect's; None = there is no such path. Raises what it refuses with."""
        path, method = scope["path"], scope["method"]
        if asks_for_models(path, method):
            return self._models(path, headers)
        if path not in PATHS:
            return None
        return await self._sync.answer(path, method, read_credential(headers), scope.get("query_string", b""))

    def _models(self, path: str, headers: Headers) -> bytes:
        """The model list of who asks. Raises UnknownKey, UnknownModel."""
        clock = self._gateway.clock
        principal = self._gateway.keyring.identify(read_credential(headers), clock.now(), clock.monotonic())
        name = path.partition("/models")[2].lstrip("/")
        return list_models(self._gateway.settings.models, principal, name, anthropic=b"anthropic-version" in headers)
