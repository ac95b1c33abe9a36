"""One client connection: uvicorn's HTTP/1.1 protocol with the bounds and the manners that it leaves to others.

What is added, and why, stands in docs/adr/0006. The request side is a small machine:

    HEAD    a request's headers are awaited: from connect, from its first byte, or from stray bytes between two
    BODY    its headers are complete, its body is not
    DONE    it is complete; an answer is awaited, or the connection is idle under the keep-alive timer
    DEAF    what followed it was malformed: finish the answer under way, read nothing more
    LINGER  the last answer is written and our side closed; what still comes in is thrown away until the client has
            read the answer and closes, for a reset that overtakes an answer takes it from the client

What the app may use: ``scope["penstock.gone"]``, a callable the app sets, is called once when the client leaves
before its answer is complete; ``scope["penstock.cut"]``, likewise, with the error that the app is to end its answer by
when the drain's window is over. ``scope["penstock.hurry"]()`` says that others wait for this answer too: from then on
``send`` buffers what the client is too slow to take. ``scope["penstock.refused"]`` is the error with which this layer
already answered in the app's place (a body too slow, a broken chunk): after ``http.disconnect`` look there first.
"""

import asyncio
import re
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from penstock.errors import BadRequest, BodyTooLarge, BodyTooSlow, PenstockError, Saturated
from penstock.server.edge import Edge
from penstock.server.replies import render_error

HEAD: Final = 0
BODY: Final = 1
DONE: Final = 2
DEAF: Final = 3
LINGER: Final = 4

EARLY_ANSWER_BYTES: Final = 64 * 1024
"""After an answer that did not wait for the body: how much of the rest is read to keep the connection."""

_OFFER: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_PROBE_AFTER_S: Final = (0.05, 0.15, 0.5)
"""When to look whether the client of a half-closed connection has reset it: one look after the other."""
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _RefusedError(Exception):
    """Stops the parser in the middle of its input."""


class _Ending:
    """The transport, except that to write and to close mean what ``Connection.write`` and ``Connection.end`` say."""

    __slots__ = (
        "abort", "close", "get_extra_info", "get_write_buffer_size", "is_closing", "pause_reading", "resume_reading",
        "write",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        write: Callable[[bytes], None],
        end: Callable[[], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write = write
        self.close = end
        self.is_closing = is_ending


class _PlainSend:
    """uvicorn's ``send``, and a short way for a whole answer whose head says ``penstock.plain``.

    Such a head has a content-length, no connection header, and values that are ours: it is joined with its body and
    written at once, where uvicorn looks at every header by two expressions and writes twice.
    """

    __slots__ = ("_cycle", "_head", "_write")

    def __init__(self, cycle: RequestResponseCycle, write: Callable[[bytes], None]) -> None:
        self._cycle = cycle
        self._write = write
        self._head: bytes | None = None

    async def __call__(self, message: Any) -> None:
        cycle = self._cycle
        if self._head is not None:
            self._finish(self._head + message["body"])
        elif message.get("penstock.plain") and cycle.keep_alive and not cycle.flow.write_paused:
            self._head = _plain_head(message["status"], message["headers"])
        else:
            await RequestResponseCycle.send(cycle, message)

    def _finish(self, data: bytes) -> None:
        cycle = self._cycle
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        self._write(data)
        cycle.message_event.set()
        cycle.on_response()


def _plain_head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A head. All values are looked at together: none may end its line."""
    if _CONTROL.search(b"".join([value for _, value in headers])):
        raise ValueError("a control character in a response header")
    return STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"


class Connection(HttpToolsProtocol):
    """One connection of one server."""

    def __init__(self, config: Config, server_state: ServerState, edge: Edge, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, server_state, {}, loop)
        self.url = b""
        self._edge = edge
        self._socket: asyncio.Transport
        self._phase = HEAD
        self._begun = False  # the first byte of a request has come, its headers are not complete
        self._since = edge.now
        self._head_bytes = 0
        self._body_bytes = 0
        self._read = b""
        self._declined = b""
        self._half_closed = False
        self._running: RequestResponseCycle | None = None
        self._headless: RequestResponseCycle | None = None  # the request whose answer's head was not written yet
        self._answer_head = b""
        self._choked = False  # the client does not take what was written
        self._hurried = False  # the answer under way does not wait for that
        self._stalled_since = 0.0
        self._stalled_bytes = -1
        self._refusal: tuple[PenstockError, int | None] | None = None

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Take it in, or say at once that there is no room."""
        super().connection_made(transport)
        self._socket = transport
        self.transport = cast("asyncio.Transport", _Ending(transport, self.write, self.end, self._is_ending))
        self._since = self._edge.now
        self._edge.watched.add(self)
        if len(self.connections) > self._edge.bounds.connections:
            self.refuse(Saturated("too many connections"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the app whose client has left."""
        left = self._unanswered()
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._edge.watched.discard(self)
        if left is not None:
            self._abandon(left)

    def eof_received(self) -> bool | None:  # type: ignore[override] # uvicorn never keeps a half-closed connection
        """Keep the connection when only the client's sending side is closed and its whole request is here.

        The end of input says either that, or that the client has left. A client that has left answers anything we
        send with a reset, and an interim response is something that every client must bear: so one is sent, and the
        reset is looked for. Once an answer is under way nobody half-closes: then the client has left.
        """
        cycle = self._unanswered()
        if cycle is None or self._phase != DONE or cycle.response_started:
            return None
        if not self._half_closed:
            self._half_closed = True
            self.cycle.keep_alive = False
            self._probe(cycle, 0)
        return True

    def pause_writing(self) -> None:
        """The client does not take its answer: watch it."""
        if not self._hurried:
            super().pause_writing()
        self._choked = True
        self._stalled_bytes = -1
        self._edge.watched.add(self)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._choked = False

    def hurry(self) -> None:
        """Let the answer under way be written as fast as it comes."""
        self._hurried = True
        super().resume_writing()

    def shutdown(self) -> None:
        """Drain: answer what is under way or has begun, then close; an idle connection may bring one last request."""
        if self._unanswered() is not None:
            self.cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """The drain's second step."""
        if self._unanswered() is None and not self._begun:
            self.transport.close()

    def cut(self, error: PenstockError) -> None:
        """The drain's end: who still waits is told why, by the app if it can and the client listens."""
        cycle = self._unanswered()
        cut = cycle.scope.get("penstock.cut") if cycle is not None and not self.flow.write_paused else None
        if cycle is not None and callable(cut):
            cycle.keep_alive = False
            cut(error)
            return
        if cycle is not None or self._begun:
            self.refuse(error)
        self.close()

    def close(self) -> None:
        """What was written still goes out."""
        self._socket.close()

    # Bytes in.

    def data_received(self, data: bytes) -> None:
        """Parse what came; look closer only when it did not complete a request."""
        phase = self._phase
        if phase >= DEAF:
            self._throw_away(len(data))
            return
        self._read = data
        super().data_received(data)
        self._read = b""
        if phase == BODY:
            self._body_bytes += len(data)
        elif self._phase == HEAD:
            self._head_bytes += len(data)
        if self._phase != DONE or self.cycle.response_complete:
            self._await_more()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._phase != HEAD:
            self._phase = HEAD
            self._since = self._edge.now
        self._begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse any transfer coding but chunked, and chunked in HTTP/1.0 (RFC 9112 6.1): framing must be plain."""
        name = name.lower()
        if name == b"transfer-encoding" and (value.lower() != b"chunked" or self.parser.get_http_version() != "1.1"):
            self._stop(BadRequest("this Transfer-Encoding is not served"))
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the app, unless the headers are too large."""
        edge = self._edge
        if self._head_bytes + len(self._read) > edge.bounds.header_bytes:
            self._measure_head()
        if self.parser.should_upgrade():
            self._decline_upgrade()
            return
        super().on_headers_complete()
        self._head_bytes = self._body_bytes = 0
        self._phase = BODY
        self._begun = False
        self._since = edge.now
        if edge.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._phase == HEAD:  # an upgrade offer: it is read again
            return
        self._phase = DONE
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Callable[..., object]) -> None:
        self._running = self._headless = cycle
        cycle.scope["penstock.hurry"] = self.hurry  # type: ignore[typeddict-unknown-key] # ours
        if self._hurried:
            self._hurried = False
            if self._choked:
                super().pause_writing()
        cycle.send = _PlainSend(cycle, self._write_whole)  # type: ignore[method-assign] # one fast case more
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type] # uvicorn's own type is private

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence is not ours
        """The parser gave up, or one of our callbacks stopped it."""
        error, status = self._refusal or (BadRequest("this is not a well-formed HTTP request"), None)
        self._refuse_input(error, status)

    def _unsupported_upgrade_warning(self) -> None:
        """Read the request again as if it had not offered an upgrade (Java's client offers one with every first POST).

        At an upgrade the parser takes a body for the new protocol's bytes and stops: so a new parser gets the same
        head without the offer, and what came behind it. Called inside uvicorn's handler of that stop.
        """
        stop = sys.exc_info()[1]
        if not isinstance(stop, HttpParserUpgrade):
            return
        rest = self._read[stop.args[0] :]
        head = [self._declined, *[name + b": " + value + b"\r\n" for name, value in self.headers if name not in _OFFER]]
        self.parser = HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _decline_upgrade(self) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._stop(BadRequest("this is not a proxy"))
        self._declined = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())

    def _measure_head(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
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
            if self.cycle.response_complete and self._body_bytes > EARLY_ANSWER_BYTES:
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
        if self._choked or self.transport.is_closing():
            self._sweep_stalled(now)
            return True
        return self._phase not in (DONE, DEAF)

    def _end_waiting_for_head(self) -> None:
        if self._begun:
            self._refuse_input(BodyTooSlow("the request's headers did not arrive in time"))
        elif self._unanswered() is None:
            self.transport.close()
        else:
            self._phase = DONE

    def _sweep_body(self, waited_s: float) -> None:
        bounds = self._edge.bounds
        if self.flow.read_paused:
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

    def _probe(self, cycle: RequestResponseCycle, look: int) -> None:
        if cycle.response_started or cycle.disconnected or self.transport.is_closing():
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

    def _unanswered(self) -> RequestResponseCycle | None:
        """The request under way whose client still waits."""
        cycle = self._running
        return None if cycle is None or cycle.response_complete or cycle.disconnected else cycle

    def _abandon(self, cycle: RequestResponseCycle) -> None:
        """Tell the app that nobody listens any more."""
        cycle.disconnected = True
        cycle.message_event.set()
        gone: Callable[[], object] | None = cycle.scope.get("penstock.gone")  # type: ignore[assignment] # our own key
        if gone is not None:
            gone()

    def _refuse_input(self, error: PenstockError, status: int | None = None) -> None:
        """Refuse what is arriving. It may stand behind a sound request: that one is answered first, without this."""
        cycle = self._unanswered()
        if cycle is None or (cycle is self.cycle and self._phase == BODY):
            self.refuse(error, status)
            return
        self._edge.on_refusal(error.kind)
        self.pipeline.clear()
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
        answered = self._running is not None and self._running is self.cycle and self._phase == BODY
        if cycle is not None:
            answered = cycle.response_started
            cycle.scope["penstock.refused"] = error  # type: ignore[typeddict-unknown-key] # our own key
            self._abandon(cycle)
        if not answered:
            self.transport.write(self._render(error, status))
        self.end()

    def _render(self, error: PenstockError, status: int | None) -> bytes:
        dialect = "messages" if b"/messages" in self.url else "chat"
        usual, body, headers = render_error(dialect, error, "")
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINE[status or usual], *lines, b"connection: close\r\n\r\n", body])

    def write(self, data: bytes) -> None:
        """Hold the head of an answer back until its first piece of body: one system call and one packet for both.

        The answer to HEAD has no body to wait for.
        """
        cycle = self._headless
        if cycle is not None and cycle.response_started:
            self._headless = None
            if cycle.scope["method"] != "HEAD":
                self._answer_head = data
                return
        if self._answer_head:
            data, self._answer_head = self._answer_head + data, b""
        self._socket.write(data)

    def _write_whole(self, data: bytes) -> None:
        self._headless = None
        self._socket.write(data)

    def end(self) -> None:
        """Close our side and wait for the client's; ``sweep`` sees to it that this ends."""
        if self._phase == LINGER or self._socket.is_closing():
            return
        if self._answer_head:
            self.write(b"")
        self._phase = LINGER
        self._begun = False
        self._body_bytes = 0
        self._since = self._edge.now
        self._edge.watched.add(self)
        self.flow.resume_reading()
        if self._half_closed:
            self._socket.close()
        else:
            self._socket.write_eof()

    def _is_ending(self) -> bool:
        return self._phase == LINGER or self._socket.is_closing()

    def _throw_away(self, size: int) -> None:
        self._body_bytes += size
        if self._phase == LINGER and self._body_bytes > self._edge.bounds.linger_bytes:
            self._socket.close()
