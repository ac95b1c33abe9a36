"""The admin plane of several workers: their health and their metrics together, all else asked of one of them.

Ready means: all have served once, and half of them do. What is asked under ``/admin`` goes to a worker as it came, with
its token, and the worker decides; a reload goes to each. Fails closed, as ``admin_api`` does.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.config.settings import Settings
from penstock.errors import BodyTooLarge, ConfigError, Draining, PenstockError
from penstock.observe.aggregate import Aggregate, read
from penstock.observe.exposition import OPENMETRICS, format_of
from penstock.server.documents import MAX_BODY_BYTES
from penstock.server.health import Phase
from penstock.server.hosts import check_headers
from penstock.server.replies import render_error
from penstock.server.worker import Answer, Worker
from penstock.server.workers import Workers

_OK: Final = 200
_NOT_PASSED: Final = frozenset({b"connection", b"content-length", b"date", b"server"})
"""Headers of an answer that the connection writes itself."""
_WITH_EXEMPLARS: Final = ((b"host", b"127.0.0.1"), (b"accept", OPENMETRICS.encode()))
METHODS: Final = ("GET", "POST", "PUT", "DELETE")


class WorkersApi:
    """Its routes."""

    def __init__(
        self,
        workers: Workers,
        aggregate: Aggregate,
        phase: Phase,
        settings: Settings,
        load_settings: Callable[[], Settings],
    ) -> None:
        """``load_settings``: reads the config anew; raises ConfigError."""
        self.settings = settings
        self._workers = workers
        self._aggregate = aggregate
        self._phase = phase
        self._load_settings = load_settings

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/admin/reload", self.reload, methods=["POST"]),
            Route("/{path:path}", self.forward, methods=METHODS),
        ]

    async def healthz(self, _request: Request) -> Response:
        """Alive: this loop turns."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Ready for requests."""
        name, ready, count = self._phase.name, len(await self._workers.ready()), self._workers.count
        if name == "ready" and 2 * ready < count:
            name = "workers are missing"
        status = _OK if name == "ready" else 503
        return JSONResponse({"status": name, "workers": {"ready": ready, "of": count}}, status)

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format, or OpenMetrics for who accepts that, of all together."""
        format_ = format_of(request.headers.get("accept", ""))
        answering = [name for name in await asyncio.gather(*map(self._read, self._workers.living)) if name]
        return Response(self._aggregate.render(answering, format_), media_type=format_.value)

    async def _read(self, worker: Worker) -> str | None:
        """Its name, if it has answered."""
        try:
            answer = await worker.ask("GET", "/metrics", _WITH_EXEMPLARS)
        except PenstockError:
            return None
        if worker.exit.done() or answer.status != _OK:
            return None
        self._aggregate.take(worker.name, read(answer.body.decode()))
        return worker.name

    async def reload(self, request: Request) -> Response:
        """Every worker reads the config anew; the first refusal is the answer."""
        body = await _body(request)
        ready = await self._ready()
        answers = await asyncio.gather(*(_ask(worker, request, body) for worker in ready))
        await self.adopt()
        return _response(next((answer for answer in answers if answer.status != _OK), answers[0]))

    async def adopt(self) -> None:
        """Know what the workers have read."""
        try:
            self.settings = await asyncio.to_thread(self._load_settings)
        except ConfigError:
            return  # refused there too

    async def forward(self, request: Request) -> Response:
        """One of them answers."""
        body = await _body(request)
        return _response(await _ask((await self._ready())[0], request, body))

    async def _ready(self) -> list[Worker]:
        """Raises Draining when there is none."""
        ready = await self._workers.ready()
        if not ready:
            raise Draining("no worker takes requests now")
        return ready


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return body


async def _ask(worker: Worker, request: Request, body: bytes) -> Answer:
    scope = request.scope
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return await worker.ask(request.method, target.decode("ascii"), scope["headers"], body)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = [
        *[header for header in response.raw_headers if header[0] == b"content-length"],
        *[header for header in answer.headers if header[0] not in _NOT_PASSED],
    ]
    return response


class _Guard:
    """Refuses foreign Host names and web pages while no token is asked for."""

    def __init__(self, app: ASGIApp, api: WorkersApi) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            check_headers(scope["headers"], open_mode=self._api.settings.server.admin_token is None)
        except PenstockError as error:
            await _refusal(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def workers_app(api: WorkersApi) -> _Guard:
    """The ASGI application."""
    handlers: Mapping[Any, Any] = {PenstockError: _refused, 500: _failed}
    return _Guard(Starlette(routes=api.routes(), exception_handlers=dict(handlers)), api)


async def _refused(_request: Request, error: PenstockError) -> Response:
    return _refusal(error)


async def _failed(_request: Request, _error: Exception) -> Response:
    return _refusal(PenstockError("an error inside the gateway: see its log"))


def _refusal(error: PenstockError) -> Response:
    status, body, headers = render_error("chat", error, "")
    shown = {name.decode(): value.decode() for name, value in headers if name != b"content-length"}
    return Response(body, status, shown)
