"""One connection to one server: commands go out as they come, replies come back in their order.

Many calls share it: what is sent within one turn of the loop is one write. A call that nobody waits for any more keeps
its place in the line, so no reply is ever taken for another's. The parser and the packing are hiredis' own; measured,
this costs 20 us of CPU per call where redis-py's pool costs 77 (eight at once). hiredis is of the optional extra
``scale``: it is imported when a URL asks for it, here and nowhere else.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from penstock.errors import SharedRefused, SharedUnavailable
from penstock.stores.redis_tls import security_of
from penstock.stores.redis_url import Address, RedisUrl

Word = str | bytes | int | float
Reply = Any
"""bytes, int, None, a list of replies, or a ReplyError."""

_NOTHING: Final = object()
_FOR_NOW: Final = ("LOADING", "BUSY", "MASTERDOWN", "ERR max number of clients")
"""Errors of a server that may let us in later."""


class ReplyError(Exception):
    """The server answers that it will not, or cannot."""


class Unreadable(Exception):
    """What came is no reply."""


class Parser(Protocol):
    """hiredis' own, as far as it is used."""

    def feed(self, data: bytes) -> None:
        """More bytes."""
        ...

    def gets(self) -> Reply:
        """The next reply, or ``_NOTHING``. Raises Unreadable."""
        ...


class Speech(NamedTuple):
    """What hiredis does for us."""

    parser: Parser
    pack: Callable[[tuple[Word, ...]], bytes]


class ConnectionLost(ConnectionError):
    """It broke, or was closed, before the reply came."""


class RedisConnection(asyncio.Protocol):
    """One that is open. ``server`` is the id of the process at its other end."""

    def __init__(self, speech: Speech, on_lost: "OnLost", on_push: Callable[[Reply], None] | None = None) -> None:
        """``on_push``: gets all replies that nobody waits for, as of subscriptions."""
        self.server = ""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._on_push = on_push
        self._parser, self._pack = speech
        self._line: deque[asyncio.Future[Reply]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    @property
    def alive(self) -> bool:
        """Whether anything may still be sent."""
        return self._transport is not None

    def send(self, command: tuple[Word, ...], reply: "asyncio.Future[Reply]", *, signed: bool = False) -> None:
        """Send it with this turn of the loop; ``signed``: the server's id is its last word."""
        if self._transport is None:
            fail(reply, ConnectionLost("the connection is closed"))
            return
        self._line.append(reply)
        self._write((*command, self.server) if signed else command)

    def tell(self, *command: Word) -> None:
        """Send what is answered by pushes."""
        if self._transport is not None:
            self._write(command)

    def call(self, *command: Word) -> "asyncio.Future[Reply]":
        """Send it; the reply."""
        reply = self._loop.create_future()
        self.send(command, reply)
        return reply

    def abort(self) -> None:
        """Close it at once; whoever waits hears ConnectionLost."""
        if self._transport is not None:
            self._transport.abort()
            self.connection_lost(None)

    # --- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand out what is complete."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _NOTHING:
                self._hand_out(reply)
        except Unreadable:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        """It is closed, by whomever."""
        if self._transport is None:
            return
        self._transport = None
        line, self._line = self._line, deque()
        for reply in line:
            fail(reply, ConnectionLost("the connection broke"))
        self._on_lost(self)

    def _hand_out(self, reply: Reply) -> None:
        if self._line:
            waiting = self._line.popleft()
            if not waiting.done():
                waiting.set_result(reply)
        elif self._on_push is not None:
            self._on_push(reply)

    def _write(self, command: tuple[Word, ...]) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(self._pack(command))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.writelines(out)


OnLost = Callable[[RedisConnection], None]


def fail(reply: "asyncio.Future[Reply]", error: Exception) -> None:
    """Whoever waits for it hears of the error."""
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # it is heard, also where nobody waits


def _learnt() -> Speech:
    try:
        import hiredis  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise SharedRefused("a shared store needs the extra: pip install 'penstock[scale]'") from error
    parser = hiredis.Reader(protocolError=Unreadable, replyError=ReplyError, notEnoughData=_NOTHING)
    return Speech(cast("Parser", parser), cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command))


async def connect(
    url: RedisUrl,
    address: Address,
    on_lost: OnLost,
    on_push: Callable[[Reply], None] | None = None,
) -> RedisConnection:
    """Connect, get in, ask who it is. Raises OSError, and SharedRefused where the server does not let us in."""
    speech, loop = _learnt(), asyncio.get_running_loop()
    security = security_of(url.files) if url.tls else None
    _, connection = await loop.create_connection(
        lambda: RedisConnection(speech, on_lost, on_push), address.host, address.port, ssl=security
    )
    try:
        connection.server = await _enter(connection, url)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _enter(connection: RedisConnection, url: RedisUrl) -> str:
    """All of it in one write. The id of the server's process."""
    login = [connection.call("AUTH", *url.login)] if url.login else []
    database = [connection.call("SELECT", url.db)] if url.db else []
    info = connection.call("INFO", "server")
    for reply in [*login, *database, info]:
        refused = await reply
        if isinstance(refused, ReplyError):
            kind = SharedUnavailable if str(refused).startswith(_FOR_NOW) else SharedRefused
            raise kind("Redis does not let this node in", detail=str(refused), retry_after_s=1.0)
    return _run_id(await info)


def _run_id(info: bytes) -> str:
    lines: Sequence[bytes] = info.splitlines()
    return next((line.partition(b":")[2].decode() for line in lines if line.startswith(b"run_id:")), "")
