"""What a process and its successor say to each other, over the socket that the one hands the other at its start.

    predecessor                         successor
    Papers, with its sockets     ->     reads its config, opens the store
                                 <-     Ready
    closes its admin plane
    Go, with the bank            ->     takes the bank over
                                 <-     Serving
    Begin, with what it knows    ->     accepts from now on
    accepts no more, drains
    (connections that are idle, through a socket of their own)
    Ask, More, Withdrawn, Settled  ->
                                 <-     Held, Refused, Topped
    Ended                        ->     answers those who repeated a request that is answered there
    ends, and so does the socket ->     settles what was left open

Until Begin the successor has spent nothing of its own, so that it can be given up. Each sees the other's death,
whatever its cause, as the end of the socket.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, Self

import msgspec

from penstock.core.budget import Payer
from penstock.pipeline.first import FirstName, Firsts
from penstock.pipeline.known import Known
from penstock.pipeline.treasury import Cost, Moved, Treasury
from penstock.ports.results import StoredResult
from penstock.server import gateway

LANGUAGE: Final = 2
"""Of these messages: to be raised with every change of them, for the two may be of different versions of Penstock."""
_LENGTH: Final = 4
_PAPERS_BYTES: Final = 64 * 1024
_MOST_FILES: Final = 4


class Papers(msgspec.Struct, tag=True, frozen=True):
    """What comes with the files: both planes' sockets, one for connections, and the lock of the store if it has one."""

    listen: str
    """The address as it was configured, and not as it is: the successor compares it with its own config."""
    admin_listen: str
    language: int = 0


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The config is valid and the store is open."""


class Go(msgspec.Struct, tag=True, frozen=True):
    """The bank is yours, and so are the addresses."""

    moved: Moved


class Serving(msgspec.Struct, tag=True, frozen=True):
    """The bank is here, and nothing more can go wrong."""


class Begin(msgspec.Struct, tag=True, frozen=True):
    """Serve: nobody else accepts any more."""

    known: Known


class Ask(msgspec.Struct, tag=True, frozen=True):
    """May this attempt be held?"""

    attempt_id: str
    payer: Payer
    cost: Cost
    wait_s: float


class Held(msgspec.Struct, tag=True, frozen=True):
    """It is, in the windows of ``at``, epoch seconds."""

    attempt_id: str
    at: float


class Refused(msgspec.Struct, tag=True, frozen=True):
    """It is not: a BudgetExceeded."""

    attempt_id: str
    public: str
    refused_by: Mapping[str, str | int | float | None]
    retry_after_s: float | None


class Withdrawn(msgspec.Struct, tag=True, frozen=True):
    """Nobody waits for it any more."""

    attempt_id: str


class More(msgspec.Struct, tag=True, frozen=True):
    """May more be held for this attempt?"""

    attempt_id: str
    payer: Payer
    cost: Cost


class Topped(msgspec.Struct, tag=True, frozen=True):
    """So much more is held."""

    attempt_id: str
    cost: Cost


class Settled(msgspec.Struct, tag=True, frozen=True):
    """That is what it came to."""

    attempt_id: str
    payer: Payer
    at: float
    cost: Cost


class Ended(msgspec.Struct, tag=True, frozen=True):
    """What came of the first request under an Idempotency-Key; None = the key is free."""

    first: FirstName
    result: StoredResult | None


Message = Papers | Ready | Go | Serving | Begin | Ask | Held | Refused | Withdrawn | More | Topped | Settled | Ended
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Standing(gateway.Standing, Protocol):
    """What outlives a reload."""

    firsts: Firsts
    """Running first requests under an Idempotency-Key."""


class Gateway(gateway.Gateway, Protocol):
    """A gateway that can take over from another, and hand over to one."""

    @property
    def standing(self) -> Standing:
        """What outlives a reload."""
        ...

    @property
    def treasury(self) -> Treasury:
        """The bank."""
        ...

    async def start(self, moved: Moved | None = None) -> None:
        """Begin, with the bank of the process before this one if there is one."""
        ...

    def known(self) -> Known:
        """What a successor need not learn again."""
        ...

    def inherit(self, known: Known) -> None:
        """Go on with what the process before this one knows."""
        ...

    def end_first(self, name: FirstName, result: StoredResult | None) -> None:
        """What it was still answering under an Idempotency-Key has come to this; None = to nothing."""
        ...

    async def bury(self, held: Sequence[str]) -> None:
        """The process before this one has ended: settle what it left open, and what of ``held`` it never told."""
        ...


class Channel:
    """One end of the socket, on the loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use ``over``."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """The channel that owns ``sock``."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def tell(self, message: Message) -> None:
        """Say it, now or as soon as the other listens; to nobody, if the other has ended."""
        if self._writer.is_closing():
            return
        data = _encode(message)
        self._writer.write(len(data).to_bytes(_LENGTH) + data)

    async def hear(self) -> Message | None:
        """What the other says next; None when it has ended."""
        try:
            size = int.from_bytes(await self._reader.readexactly(_LENGTH))
            return _decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def close(self) -> None:
        """What was told still goes out."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:  # the other has ended before
            return


def send_papers(sock: socket.socket, papers: Papers, files: Sequence[int]) -> None:
    """The first thing on the socket, which has room for it."""
    socket.send_fds(sock, [_encode(papers)], files)


def receive_papers(sock: socket.socket) -> tuple[Papers, list[int]]:
    """Wait for them. Raises EOFError when the other has ended."""
    data, files, _, _ = socket.recv_fds(sock, _PAPERS_BYTES, _MOST_FILES)
    if not data:
        raise EOFError("the process to take over from has ended")
    return msgspec.msgpack.decode(data, type=Papers), files
