"""Calls to a gateway in the same process, as if over HTTP: what an edge in one house asks of the centre in another."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from penstock.errors import Unreachable
from penstock.ports.providers import UpstreamCall
from tests.support.asgi_client import App, Asking, http_scope


class AsgiTransport:
    """The port Transport over an application. ``calls``: everything that was sent, in order."""

    def __init__(self, app: App) -> None:
        self.calls: list[Asking] = []
        self.sent: list[UpstreamCall] = []
        self.lose: Callable[[int], bool] = lambda _number: False
        """Whether the answer to the call of that number, from 1, gets lost on its way back."""
        self.down = False
        self._app = app

    async def send(self, call: UpstreamCall) -> "AsgiResponse":
        """Send it; wait for the head."""
        if self.down:
            raise Unreachable("the provider cannot be reached")
        path, _, query = call.url.partition("//")[2].partition("/")[2].partition("?")
        lines = [(name.encode(), value.encode()) for name, value in call.headers.items()]
        lines.append((b"content-length", b"%d" % len(call.body)))
        scope = http_scope(f"/{path}", lines, method=call.method, query=query.encode())
        asking = Asking(self._app, scope, [call.body])
        self.calls.append(asking)
        self.sent.append(call)
        try:
            if self.lose(len(self.calls)):
                await asking.done()
                raise Unreachable("the connection broke")
            await asking.begun(0)
        except asyncio.CancelledError:
            asking.leave()
            raise
        return AsgiResponse(asking)

    async def close(self) -> None:
        """Nothing is kept."""


class AsgiResponse:
    """The port UpstreamResponse."""

    def __init__(self, asking: Asking) -> None:
        self.status = asking.status
        self.headers: Mapping[str, str] = asking.headers
        self._asking = asking
        self._read = 0

    async def read(self, limit: int) -> bytes:
        """All of it."""
        body = b""
        while data := await self.next():
            body += data
        assert len(body) <= limit
        return body

    async def next(self) -> bytes:
        """What has come since."""
        asking: Any = self._asking
        await asking.begun(self._read + 1)
        found = asking.parts[self._read :]
        self._read += len(found)
        return b"".join(data for _, data in found)

    async def close(self) -> None:
        """Leave."""
        self._asking.leave()
