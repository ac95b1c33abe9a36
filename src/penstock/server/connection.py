"""One client connection: httptools' strict parser with the bounds and the manners that it leaves to others.

What they are, and why, stands in docs/adr/0006. The request side is a small machine:

    HEAD    a request's headers are awaited: from connect, from its first byte, or from stray bytes between two
    BODY    its headers are complete, its body is not
    DONE    it is complete; an answer is awaited, or the connection is idle
    DEAF    what followed it was malformed: finish the answer under way, read nothing more
    LINGER  the last answer is written and our side closed; what still comes in is thrown away until the client has
            read the answer and closes, for a reset that overtakes an answer takes it from the client

One task per connection answers its requests, one after the other: the order that HTTP/1.1 demands.

What the app may use: ``scope["penstock.gone"]``, a callable the app sets, is called once when the client leaves
before its answer is complete; ``scope["penstock.cut"]``, likewise, with the error that the app is to end its answer by
when the drain's window is over. ``scope["penstock.hurry"]()`` says that others wait for this answer too: from then on
``send`` buffers what the client is too slow to take. ``scope["penstock.refused"]`` is the error with which this layer
already answered in the app's place (a body too slow, a broken chunk): after ``http.disconnect`` look there first.
``scope["penstock.task"]`` is the task that runs the app.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final, cast
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from penstock.errors import BadRequest, BodyTooLarge, BodyTooSlow, PenstockError, Saturated
from penstock.server.cycle import STATUS_LINES, App, Cycle, Scope
from penstock.server.edge import Edge
from penstock.server.replies import render_error

HEAD: Final = 0
BODY: Final = 1
DONE: Final = 2
DEAF: Final = 3
LINGER: Final = 4

EARLY_ANSWER_BYTES: Final = 64 * 1024
"""After an answer that did not wait for the body: how much of the rest is read to keep the connection."""

HIGH_WATER: Final = 64 * 1024
"""Bytes of body held for the app before reading stops."""

_OFFER: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_PROBE_AFTER_S: Final = (0.05, 0.15, 0.5)
"""When to look whether the client of a half-closed connection has reset it: one look after the other."""
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class _RefusedError(Exception):
    """Stops the parser in the middle of its input."""


class Connection(asyncio.Protocol):
    """One connection of one server."""

    transport: asyncio.Transport
    _scope: Scope
    _arriving: Cycle
    """The latest request whose headers are complete."""

    def __init__(self, app: App, edge: Edge, loop: asyncio.AbstractEventLoop) -> None:
        """``app``: who answers; ``edge``: what the connections of the server share."""
        self._app = app
        self._edge = edge
        self._loop = loop
        self.writable = asyncio.Event()
        self.writable.set()
        # What arrives.
        self._parser = _new_parser(self)
        self._phase = HEAD
        self._begun = False  # the first byte of a request has come, its headers are not complete
        self._since = edge.now
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._read = b""
        self._read_paused = False
        self._half_closed = False
        self._refusal: tuple[PenstockError, int | None] | None = None
        # What is answered.
        self._cycles: deque[Cycle] = deque()  # the first of them now
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._idle_since = edge.now
        self._choked = False  # the client does not take what was written
        self._hurried = False  # the answer under way does not wait for that
        self._stalled_since = 0.0
        self._stalled_bytes = -1

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it in, or say at once that there is no room."""
        self.transport = cast("asyncio.Transport", transport)
        self._scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "scheme": "http",
            "server": _address(transport, "sockname"),
            "client": _address(transport, "peername"),
            "root_path": "",
            "penstock.hurry": self.hurry,
        }
        self._since = self._edge.now
        self._edge.connections.add(self)
        self._edge.watched.add(self)
        if len(self._edge.connections) > self._edge.bounds.connections:
            self.refuse(Saturated("too many connections"))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Tell the app whose client has left."""
        left = self._unanswered()
        self._phase = LINGER
        self._edge.connections.discard(self)
        self._edge.watched.discard(self)
        self.writable.set()
        del self._parser, self._scope  # they hold this connection
        if left is not None:
            left.disconnect()
        self._wake()

    def eof_received(self) -> bool | None:
        """Keep the connection when only the client's sending side is closed and its whole request is here.

        The end of input says either that, or that the client has left. A client that has left answers anything we
        send with a reset, and an interim response is something that every client must bear: so one is sent, and the
        reset is looked for. Once an answer is under way nobody half-closes: then the client has left.
        """
        cycle = self._unanswered()
        if cycle is None or self._phase != DONE or cycle.begun:
            return None
        if not self._half_closed:
            self._half_closed = True
            self._cycles[-1].keep_alive = False
            self._probe(cycle, 0)
        return True

    def pause_writing(self) -> None:
        """The client does not take its answer: watch it."""
        if not self._hurried:
            self.writable.clear()
        self._choked = True
        self._stalled_bytes = -1
        self._edge.watched.add(self)

    def resume_writing(self) -> None:
        """It does again."""
        self.writable.set()
        self._choked = False

    def hurry(self) -> None:
        """Let the answer under way be written as fast as it comes."""
        self._hurried = True
        self.writable.set()

    def shutdown(self) -> None:
        """Drain: answer what is under way, and say that it was the last; else one more request may come."""
        if self._unanswered() is not None and not self._cycles[-1].headed:
            self._cycles[-1].keep_alive = False

    def give_away(self, give: Callable[[int], bool]) -> None:
        """Let another process have it, if it is idle: what comes on it from now on is read there.

        ``give``: takes the descriptor, or says that it cannot.
        """
        waits = self._phase == DONE or (self._phase == HEAD and not self._begun)
        if not waits or self._cycles or self.transport.is_closing() or self.transport.get_write_buffer_size():
            return
        self.pause_reading()
        if give(self.transport.get_extra_info("socket").fileno()):
            self.transport.abort()  # closes our descriptor: the connection lives on in the other
        else:
            self.resume_reading()

    def close_if_idle(self) -> None:
        """The drain's second step."""
        if self._unanswered() is None and not self._begun:
            self.end()

    def close_if_idle_since(self, then: float) -> None:
        """The end of its life as a kept connection."""
        if self._phase == DONE and self._idle_since <= then:
            self.close_if_idle()

    def cut(self, error: PenstockError) -> None:
        """The drain's end: who still waits is told why, by the app if it can and the client listens."""
        cycle = self._unanswered()
        cut = cycle.scope.get("penstock.cut") if cycle is not None and self.writable.is_set() else None
        if cycle is not None and callable(cut):
            cycle.keep_alive = False
            cut(error)
            return
        if cycle is not None or self._begun:
            self.refuse(error)
        self.close()

    def close(self) -> None:
        """What was written still goes out."""
        self.transport.close()

    # Requests, one after the other.

    async def _serve(self) -> None:
        """Answer them until the connection ends."""
        while not self._is_ending():
            if not self._cycles:
                self._next = self._loop.create_future()
                await self._next
                continue
            cycle = self._cycles[0]
            cycle.scope["penstock.task"] = self._task
            self._keep_pace()
            await cycle.run(self._app)
            self._cycles.popleft()

    def _begin(self, cycle: Cycle) -> None:
        """Answer a request, after those that came before it."""
        if self._unanswered() is not None:
            self.pause_reading()
        self._cycles.append(cycle)
        if self._task is None:
            self._task = self._loop.create_task(self._serve())
            self._edge.tasks.add(self._task)
            self._task.add_done_callback(self._edge.tasks.discard)
        self._wake()

    def _wake(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def _keep_pace(self) -> None:
        """The haste was the last answer's."""
        if self._hurried:
            self._hurried = False
            if self._choked:
                self.writable.clear()

    def answered(self, cycle: Cycle) -> None:
        """Its last byte is written."""
        self._idle_since = self._edge.now
        if cycle.keep_alive:
            self.resume_reading()
        else:
            self.end()

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def pause_reading(self) -> None:
        """More than is needed now has come."""
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """There is room again."""
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()

    # Bytes in.

    def data_received(self, data: bytes) -> None:
        """Parse what came; look closer only when it did not complete a request."""
        phase = self._phase
        if phase >= DEAF:
            self._throw_away(len(data))
            return
        self._read = data
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as stop:
            self._decline_upgrade(stop.args[0])
            return
        except HttpParserError:  # the parser gave up, or one of our callbacks stopped it
            error, status = self._refusal or (BadRequest("this is not a well-formed HTTP request"), None)
            self._refuse_input(error, status)
        self._read = b""
        if phase == BODY:
            self._body_bytes += len(data)
        elif self._phase == HEAD:
            self._head_bytes += len(data)
        if self._phase != DONE or self._unanswered() is None:
            self._await_more()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._phase != HEAD:
            self._phase = HEAD
            self._since = self._edge.now
        self._begun = True
        self._url = b""
        self._headers = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        """Its target, or a piece of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse any transfer coding but chunked, and chunked in HTTP/1.0 (RFC 9112 6.1): framing must be plain."""
        name = name.lower()
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or self._parser.get_http_version() != "1.1"):
            self._stop(BadRequest("this Transfer-Encoding is not served"))
        elif name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the headers are too large."""
        edge, parser = self._edge, self._parser
        if self._head_bytes + len(self._read) > edge.bounds.header_bytes:
            self._measure_head()
        if parser.should_upgrade():
            return
        path, raw_path, query = _split(self._url)
        scope = {
            **self._scope,
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
        }
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        self._arriving = Cycle(
            self,
            scope,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not edge.draining,
            expects_continue=self._expects_continue,
        )
        self._head_bytes = self._body_bytes = 0
        self._phase = BODY
        self._begun = False
        self._since = edge.now
        self._begin(self._arriving)

    def on_body(self, data: bytes) -> None:
        """A piece of its body."""
        cycle = self._arriving
        if not cycle.complete and cycle.feed(data) > HIGH_WATER:
            self.pause_reading()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._phase == BODY:  # else it offered an upgrade, and is read again
            self._phase = DONE
            self._arriving.end_of_body()

    def _decline_upgrade(self, parsed: int) -> None:
        """Read the request again as if it had not offered an upgrade (Java's client offers one with every first POST).

        At an upgrade the parser takes a body for the new protocol's bytes and stops: so a new parser gets the same
        head without the offer, and what came behind it.
        """
        parser, rest = self._parser, self._read[parsed:]
        method = parser.get_method()
        if method == b"CONNECT":
            self._refuse_input(BadRequest("this is not a proxy"))
            return
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, parser.get_http_version().encode())
        head = [name + b": " + value + b"\r\n" for name, value in self._headers if name not in _OFFER]
        self._parser = _new_parser(self)
        self.data_received(b"".join([line, *head, b"\r\n", rest]))

    def _measure_head(self) -> None:
        size = len(self._url) + sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > self._edge.bounds.header_bytes:
            self._stop(*self._head_too_large())

    def _stop(self, error: PenstockError, status: int | None = None) -> None:
        self._refusal = (error, status)
        raise _RefusedError

    def _head_too_large(self) -> tuple[PenstockError, int]:
        return BodyTooLarge(f"the headers exceed {self._edge.bounds.header_bytes} bytes"), 431

    def _await_more(self) -> None:
        """Bytes came and no request waits for its answer: the client owes us more, so watch it."""
        if self._phase == HEAD:
            if self._head_bytes > self._edge.bounds.header_bytes:
                self._refuse_input(*self._head_too_large())
        elif self._phase == BODY:
            if self._arriving.complete and self._body_bytes > EARLY_ANSWER_BYTES:
                self.end()
        elif self._phase == DONE:  # stray bytes, or the rest of a body nobody waits for, ended the keep-alive timer
            self._phase = HEAD
            self._since = self._edge.now
        self._edge.watched.add(self)

    # Time.

    def sweep(self, now: float) -> bool:
        """Hold the connection to the bounds; False when it may leave the watch."""
        bounds = self._edge.bounds
        waited_s = now - self._since + bounds.interval_s
        if self._phase == HEAD:
            if waited_s >= bounds.header_s:
                self._end_waiting_for_head()
        elif self._phase == BODY:
            self._sweep_body(waited_s)
        elif self._phase == LINGER and waited_s >= bounds.linger_s:
            self.transport.abort()
        if self._choked or self._is_ending():
            self._sweep_stalled(now)
            return True
        return self._phase not in (DONE, DEAF)

    def _end_waiting_for_head(self) -> None:
        if self._begun:
            self._refuse_input(BodyTooSlow("the request's headers did not arrive in time"))
        elif self._unanswered() is None:
            self.end()
        else:
            self._phase = DONE

    def _sweep_body(self, waited_s: float) -> None:
        bounds = self._edge.bounds
        if self._read_paused:
            self._since += bounds.interval_s
        elif waited_s >= bounds.body_grace_s + self._body_bytes / bounds.body_rate:
            self._refuse_input(BodyTooSlow("the request's body did not arrive in time"))

    def _sweep_stalled(self, now: float) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting != self._stalled_bytes:
            self._stalled_bytes = waiting
            self._stalled_since = now
        elif now - self._stalled_since >= self._edge.bounds.stall_s:
            self._edge.on_refusal("answer_not_taken")
            self.transport.abort()

    def _probe(self, cycle: Cycle, look: int) -> None:
        if cycle.begun or cycle.disconnected or self._is_ending():
            return
        if look == 0 and cycle.scope["http_version"] == "1.1":
            self.transport.write(_INTERIM)
        elif self._was_reset():
            self.transport.abort()
            return
        if look < len(_PROBE_AFTER_S):
            self._edge.clock.later(_PROBE_AFTER_S[look], lambda: self._probe(cycle, look + 1))

    def _was_reset(self) -> bool:
        sock = self.transport.get_extra_info("socket")
        return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    # Refusals.

    def _unanswered(self) -> Cycle | None:
        """The request under way whose client still waits."""
        for cycle in self._cycles:
            if not (cycle.complete or cycle.disconnected):
                return cycle
        return None

    def _refuse_input(self, error: PenstockError, status: int | None = None) -> None:
        """Refuse what is arriving. It may stand behind a sound request: that one is answered first, without this."""
        cycle = self._unanswered()
        if cycle is None or (cycle is self._arriving and self._phase == BODY):
            self.refuse(error, status)
            return
        self._edge.on_refusal(error.kind)
        cycle.keep_alive = False
        self._phase = DEAF

    def refuse(self, error: PenstockError, status: int | None = None) -> None:
        """Answer with ``error`` in the app's place, if no answer has begun, and end the connection.

        ``status``: instead of the one that belongs to the error's kind.
        """
        if self._phase == LINGER:
            return
        self._edge.on_refusal(error.kind)
        cycle = self._unanswered()
        answered = self._phase == BODY if cycle is None else cycle.begun
        if cycle is not None:
            cycle.scope["penstock.refused"] = error
            cycle.disconnect()
        if not answered:
            self.transport.write(self._render(error, status))
        self.end()

    def _render(self, error: PenstockError, status: int | None) -> bytes:
        dialect = "messages" if b"/messages" in self._url else "chat"
        usual, body, headers = render_error(dialect, error, "")
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINES[status or usual], *lines, b"connection: close\r\n\r\n", body])

    def end(self) -> None:
        """Close our side and wait for the client's; ``sweep`` sees to it that this ends."""
        if self._phase == LINGER or self.transport.is_closing():
            return
        self._phase = LINGER
        self._begun = False
        self._body_bytes = 0
        self._since = self._edge.now
        self._edge.watched.add(self)
        self.resume_reading()
        if self._half_closed:
            self.transport.close()
        else:
            self.transport.write_eof()

    def _is_ending(self) -> bool:
        return self._phase == LINGER or self.transport.is_closing()

    def _throw_away(self, size: int) -> None:
        self._body_bytes += size
        if self._phase == LINGER and self._body_bytes > self._edge.bounds.linger_bytes:
            self.transport.close()


def _new_parser(connection: Connection) -> HttpRequestParser:
    """A parser that goes on after a request that is to be the last: what follows it is refused by our own rules."""
    parser = HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


@lru_cache(maxsize=64)
def _split(url: bytes) -> tuple[str, bytes, bytes]:
    """A request's target as (path, path as it came, query): there are as many as endpoints. Raises HttpParserError."""
    parts = parse_url(url)
    path = parts.path.decode("ascii")
    return unquote(path) if "%" in path else path, parts.path, parts.query or b""


def _address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | None:
    address = transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
