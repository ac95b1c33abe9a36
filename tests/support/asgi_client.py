"""A client of an ASGI application, in process: it streams, dawdles and leaves like one behind a real connection.

What it does to the application is what ``server/connection.py`` and ``server/cycle.py`` do: a slow reader makes
``send`` wait; to leave wakes it, tells ``receive``, calls ``scope["penstock.gone"]``, and makes every further ``send``
go nowhere. A slow reader whose answer others wait for (``scope["penstock.hurry"]``) holds nobody up.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Self

import msgspec

App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

HOST: Final = (b"host", b"127.0.0.1:8787")


class Asking:
    """One request on its way, as its client sees it. ``parts``: what came, with the loop's time at which it came."""

    def __init__(self, app: App, scope: dict[str, Any], body: Iterable[bytes]) -> None:
        """``body``: its pieces; the request is complete with the last one."""
        self.scope = scope
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[tuple[float, bytes]] = []
        self.begun_at = 0.0
        self.complete = False
        self.gone = False
        self._pieces = list(body)
        self._holds_s = 0.0
        self._reading = asyncio.Event()
        self._reading.set()
        self._changed = asyncio.Condition()
        self._left = asyncio.Event()
        scope["penstock.hurry"] = self._reading.set
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._run(app))
        scope["penstock.task"] = self.task

    async def done(self) -> Self:
        """Wait until the application is through. Raises what it raised."""
        await self.task
        return self

    async def begun(self, parts: int = 1) -> Self:
        """Wait until so many parts have come; the head alone for 0."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.task.done() or (self.status and len(self.parts) >= parts))
        return self

    def leave(self) -> None:
        """Close the connection."""
        if self.gone or self.complete:
            return
        self.gone = True
        self._reading.set()
        self._left.set()
        tell: Callable[[], object] | None = self.scope.get("penstock.gone")
        if tell is not None:
            tell()

    def hold(self, seconds: float) -> None:
        """Send the rest of the body only after so long."""
        self._holds_s = seconds

    def pause(self) -> None:
        """Take nothing more for now."""
        self._reading.clear()

    def resume(self) -> None:
        """Take what comes."""
        self._reading.set()

    @property
    def unsent(self) -> list[bytes]:
        """What of the body nobody asked for."""
        return self._pieces

    # --- what came

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(data for _, data in self.parts)

    @property
    def json(self) -> Any:
        """The decoded body."""
        return msgspec.json.decode(self.body)

    @property
    def data(self) -> list[bytes]:
        """The data of every event of a stream, in order."""
        return [
            event[6:] for block in self.body.split(b"\n\n") for event in block.split(b"\n") if event[:6] == b"data: "
        ]

    @property
    def chunks(self) -> list[Any]:
        """The decoded data of every event but ``[DONE]``."""
        return [msgspec.json.decode(data) for data in self.data if data != b"[DONE]"]

    @property
    def text(self) -> str:
        """What the answer says, whichever form and dialect it has."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return "".join(map(_delta, self.chunks))
        return _said(self.json)

    @property
    def error(self) -> Any:
        """The error object of the answer, or of the last event of a stream."""
        body = self.chunks[-1] if self.headers["content-type"].startswith("text/event-stream") else self.json
        return body["error"]

    # --- the connection

    async def _run(self, app: App) -> None:
        try:
            await app(self.scope, self._receive, self._send)
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _receive(self) -> Mapping[str, Any]:
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        if self._pieces:
            await self._held()
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _held(self) -> None:
        holds_s, self._holds_s = self._holds_s, 0.0
        if holds_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), holds_s)

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._reading.wait()
        if self.gone:
            return
        if message["type"] == "http.response.start":
            assert not self.status, "the response began twice"
            self.status = message["status"]
            self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            self.begun_at = asyncio.get_running_loop().time()
        else:
            assert self.status, "a body before its head"
            assert not self.complete, "a body after its end"
            self._take(message)
        async with self._changed:
            self._changed.notify_all()

    def _take(self, message: Mapping[str, Any]) -> None:
        if message["body"]:
            self.parts.append((asyncio.get_running_loop().time(), bytes(message["body"])))
        self.complete = not message.get("more_body", False)


def http_scope(
    path: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    method: str = "POST",
    host: bytes | None = HOST[1],
    peer: str = "127.0.0.1",
    query: bytes = b"",
) -> dict[str, Any]:
    """The scope of a request from ``peer``. ``host`` None = no Host header."""
    hosts = [] if host is None else [(b"host", host)]
    return {
        "type": "http", "method": method, "path": path, "query_string": query, "headers": [*hosts, *headers],
        "http_version": "1.1", "scheme": "http", "client": (peer, 40_000), "server": ("127.0.0.1", 8787),
    }  # fmt: skip


def _delta(chunk: Any) -> str:
    if chunk.get("type") == "content_block_delta":
        return str(chunk["delta"].get("text", ""))
    choices = chunk.get("choices") or [{}]
    return str(choices[0].get("text") or (choices[0].get("delta") or {}).get("content") or "")


def _said(body: Any) -> str:
    if body.get("type") == "message":
        return "".join(block.get("text", "") for block in body["content"])
    choice = body["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])
