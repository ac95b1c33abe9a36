"""``penstock alerts relay`` as Alertmanager sees it: ``POST /alerts/BOT`` with its webhook, told to a bot, or refused.

It says 200 only when the bot has taken the message. What may be cured by coming again is a 502 or 503, for Alertmanager
repeats after these alone; a body that is no notification is a 400, an unknown bot a 404. With ``alerts.relay.token`` it
asks for it; without, it listens on loopback only, and refuses web pages and foreign Host names. Fails closed.
"""

import hmac
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.config.settings import Secret
from penstock.core.notice import Notice
from penstock.errors import BadHost, ProviderRefused, UpstreamError
from penstock.server.documents import document
from penstock.server.hosts import check_headers
from penstock.wire.alertmanager import notice_of, read_group

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class Messenger(Protocol):
    """Who tells bots."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a bot of that name."""
        ...

    async def tell(self, name: str, notice: Notice, *, news: str = "") -> bool:
        """Return when it was taken; False when the same news was just before. Raises UpstreamError."""
        ...


class Relay:
    """The routes."""

    def __init__(self, chat: Messenger, token: Secret | None) -> None:
        """``token``: what Alertmanager shows; None = nothing. A reload may change it."""
        self._chat = chat
        self.token = token

    def app(self) -> Starlette:
        """As an ASGI app."""
        alerts = Route("/alerts/{bot}", self._guarded(self.alerts), methods=["POST"])
        return Starlette(routes=[alerts, Route("/healthz", self.healthz)])

    async def healthz(self, _request: Request) -> Response:
        """Alive."""
        return document({"status": "ok"})

    async def alerts(self, request: Request) -> Response:
        """One notification."""
        name = request.path_params["bot"]
        body = await _read(request)
        if name not in self._chat:  # a reload may have left it out meanwhile
            return _refusal(404, "there is no such bot in alerts.relay.bots")
        if body is None:
            return _refusal(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        try:
            group = read_group(body)
        except ValueError as error:
            return _refusal(400, str(error))
        try:
            fresh = await self._chat.tell(name, notice_of(group), news=group.identity)
        except UpstreamError as error:
            return _undelivered(name, error)
        return document({"status": "told" if fresh else "told before"})

    def _guarded(self, route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if self.token is None:
                try:
                    check_headers(request.scope["headers"], open_mode=True)
                except BadHost:
                    return _refusal(403, "without alerts.relay.token only this machine is heard, and no web page")
            elif not _is_shown(request.headers.get("authorization", ""), self.token):
                return _refusal(401, "show alerts.relay.token as bearer token")
            return await route(request)

        return guarded


def _is_shown(authorization: str, token: Secret) -> bool:
    scheme, _, shown = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.reveal().encode())


async def _read(request: Request) -> bytes | None:
    """The body; None = it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _undelivered(name: str, error: UpstreamError) -> Response:
    """Alertmanager repeats after a 5xx, and logs what it says."""
    log.error("a bot was not told", extra={"bot": name, "why": error.public, "detail": error.detail})
    response = _refusal(502 if isinstance(error, ProviderRefused) else 503, error.public)
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return response


def _refusal(status: int, message: str) -> Response:
    return document({"error": {"message": message}}, status)
