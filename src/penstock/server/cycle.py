"""One request and its answer, as an ASGI application sees them: what ``receive`` gives and what ``send`` takes.

The head of an answer waits for its first piece of body: one system call and one packet for both. Header names come in
lower case, as ASGI wants them; no value may end its line.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from penstock.errors import PenstockError

Message = Mapping[str, Any]
Scope = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application: scope, receive, send."""

_NAMED: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
STATUS_LINES: Final = {**{code: b"HTTP/1.1 %d \r\n" % code for code in range(100, 600)}, **_NAMED}
"""Of every status, for a provider's refusal may carry one that nobody has registered."""
DISCONNECT: Final[Message] = {"type": "http.disconnect"}

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONTROLS: Final = bytes({*range(32), 127} - {9})
"""All but the tab, which a value may hold."""
_BODILESS: Final = frozenset({204, 304})

log = logging.getLogger(__name__)


class Wire(Protocol):
    """The connection, as its requests use it."""

    writable: asyncio.Event
    """Clear while the client is too slow to take what was written."""

    def write(self, data: bytes) -> None:
        """Send."""
        ...

    def resume_reading(self) -> None:
        """There is room for more of the body."""
        ...

    def answered(self, cycle: "Cycle") -> None:
        """The answer is complete."""
        ...

    def refuse(self, error: PenstockError) -> None:
        """Answer with ``error`` in the application's place, as far as that is possible, and end."""
        ...


class Cycle:
    """One request and its answer."""

    __slots__ = (
        "_body", "_chunked", "_head", "_held", "_more", "_news", "_owed", "_waiter", "_wire", "begun", "complete",
        "disconnected", "expects_continue", "keep_alive", "scope",
    )  # fmt: skip

    def __init__(self, wire: Wire, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        """``keep_alive``: the connection may serve another one after it."""
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.begun = False
        """The first byte of the answer is written."""
        self.complete = False
        """And its last one."""
        self.disconnected = False
        """Nobody listens any more."""
        self._wire = wire
        self._body: list[bytes] = []
        self._held = 0
        self._more = True
        self._news = False  # something has come that ``receive`` has not given yet
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._chunked = False
        self._owed = 0

    @property
    def headed(self) -> bool:
        """The head of the answer is made: what it says of the connection holds."""
        return self._head is not None

    @property
    def over(self) -> bool:
        """Nothing more can be sent."""
        return self.complete or self.disconnected

    async def run(self, app: App) -> None:
        """Let the application answer; whatever it does, the request is over then."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
        finally:
            if not self.over:
                self._wire.refuse(PenstockError("internal error"))

    # --- the request

    def feed(self, data: bytes) -> int:
        """A piece of the body has come; how many bytes of it are held now."""
        self._body.append(data)
        self._held += len(data)
        self._tell()
        return self._held

    def end_of_body(self) -> None:
        """The whole body has come."""
        self._more = False
        self._tell()

    def disconnect(self) -> None:
        """Nobody waits for the answer any more: tell the application."""
        self.disconnected = True
        self._tell()
        gone: Callable[[], object] | None = self.scope.get("penstock.gone")
        if gone is not None:
            gone()

    async def receive(self) -> Message:
        """What has come of the body since the last call, as soon as there is anything; or that it is over."""
        if self.expects_continue and not self.over:
            self.expects_continue = False
            self._wire.write(_CONTINUE)
        self._wire.resume_reading()
        if not (self._news or self.over):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._news = False
        if self.over:
            return DISCONNECT
        body = b"".join(self._body)
        self._body.clear()
        self._held = 0
        return {"type": "http.request", "body": body, "more_body": self._more}

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the answer

    async def send(self, message: Message) -> None:
        """Write a part of the answer, once the client has taken enough of what came before. Nobody there: nowhere."""
        if not self._wire.writable.is_set():
            await self._wire.writable.wait()
        if self.over:
            return
        if message["type"] == "http.response.start":
            self._head = self._make_head(message["status"], message.get("headers", ()))
        else:
            self._send_body(message.get("body", b""), last=not message.get("more_body"))

    def _send_body(self, body: bytes, *, last: bool) -> None:
        framed = self._framed(body, last=last)
        if not self.begun:
            if self._head is None:
                raise RuntimeError("a body before its head")
            framed = self._head + framed
        if framed:
            self.begun = True
            self._wire.write(framed)
        if last:
            self.complete = True
            self._tell()
            self._wire.answered(self)

    def _make_head(self, status: int, headers: Collection[tuple[bytes, bytes]]) -> bytes:
        """The head, with what the application leaves to us: the framing of the body, whether this is the end."""
        block = b"\r\n".join([*map(b": ".join, headers), b""])
        if len(block) - len(block.translate(None, _CONTROLS)) != len(b"\r\n") * len(headers):
            raise ValueError("a control character in a response header")
        named = dict(headers)
        ours = b""
        if named.get(b"connection") == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            ours = b"connection: close\r\n"
        if b"content-length" in named:
            self._owed = int(named[b"content-length"])
        elif status not in _BODILESS and self.scope["method"] != "HEAD":
            self._chunked = True
            ours += b"transfer-encoding: chunked\r\n"
        self.expects_continue = False
        return b"%b%b%b\r\n" % (STATUS_LINES[status], block, ours)

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        """A piece of body as it goes over the wire."""
        if self.scope["method"] == "HEAD":
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk + b"0\r\n\r\n" if last else chunk
        self._owed -= len(body)
        if self._owed < 0 or (last and self._owed):
            raise RuntimeError("the body is not as long as its content-length says")
        return body
