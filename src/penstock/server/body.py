"""A request's body, as the server hands it over: read once, within a bound."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from penstock.errors import BodyTooLarge, ClientGone, PenstockError
from penstock.server.head import Headers

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


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
