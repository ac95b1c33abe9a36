"""The process before this one, as its successor sees it: what it leaves us, what it still asks, and its end."""

import asyncio
import logging
import os
import socket
from typing import Final, Self

from penstock.config.settings import Address
from penstock.core.budget import Payer
from penstock.errors import BudgetExceeded, PenstockError
from penstock.pipeline.treasury import Cost, Moved
from penstock.server.listener import Listener
from penstock.server.succession import (
    Ask,
    Channel,
    Gateway,
    Go,
    Held,
    Message,
    More,
    Papers,
    Ready,
    Refused,
    Serving,
    Settled,
    Topped,
    Withdrawn,
    receive_papers,
)

log = logging.getLogger(__name__)

PAPERS_WITHIN_S: Final = 10.0


class Predecessor:
    """From our start to its end."""

    def __init__(self, sock: socket.socket, papers: Papers, files: list[int]) -> None:
        """Use ``meet``."""
        self._sock = sock
        self._papers = papers
        self._sockets = {
            papers.listen: socket.socket(fileno=files[0]),
            papers.admin_listen: socket.socket(fileno=files[1]),
        }
        self._lane = socket.socket(fileno=files[2])
        self._lane.setblocking(False)
        self.lock = files[3] if len(files) > 3 else None  # noqa: PLR2004 - the papers' order
        """The file of its store's lock."""
        self.ended = asyncio.Event()
        self._held: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._channel: Channel | None = None

    @classmethod
    def meet(cls, file: int) -> Self:
        """Through the socket that it started us with. Raises PenstockError when it has ended."""
        sock = socket.socket(fileno=file)
        sock.set_inheritable(False)
        sock.settimeout(PAPERS_WITHIN_S)
        try:
            papers, files = receive_papers(sock)
        except (OSError, EOFError) as error:
            sock.close()
            raise PenstockError("there is no process to take over from", detail=str(error)) from error
        for each in files:
            os.set_inheritable(each, False)
        sock.setblocking(False)
        return cls(sock, papers, files)

    def socket_for(self, address: Address) -> socket.socket | None:
        """Its socket, if it was told to listen on this address too."""
        return self._sockets.pop(str(address), None)

    async def wait(self) -> Moved:
        """Say that we are ready, and wait for its bank. Raises PenstockError when it ends before."""
        self._channel = channel = await Channel.over(self._sock)
        channel.tell(Ready())
        message = await channel.hear()
        if not isinstance(message, Go):
            raise PenstockError("the process to take over from has ended before it handed over")
        self._close_sockets()
        self._held = set(message.moved.holds)
        return message.moved

    def follow(self, gateway: Gateway) -> None:
        """Say that we serve; hold for it what it asks for until it has ended, and then settle what it has left."""
        self._tell(Serving())
        self._listening = asyncio.create_task(self._follow(gateway), name="predecessor")

    def take_connections(self, listener: Listener) -> None:
        """Serve those that it gives away."""
        loop, taking = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def take() -> None:
            while (file := self._next_connection()) is not None:
                task = loop.create_task(listener.adopt(socket.socket(fileno=file)))
                taking.add(task)
                task.add_done_callback(taking.discard)

        loop.add_reader(self._lane, take)

    def _next_connection(self) -> int | None:
        """A descriptor; None when there is none now, or never again."""
        try:
            data, files, _, _ = socket.recv_fds(self._lane, 1, 1)
        except BlockingIOError:
            return None
        except OSError:
            data, files = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._lane)
        for file in files:
            os.set_inheritable(file, False)
            os.set_blocking(file, False)
            return file
        return None

    async def close(self) -> None:
        """Leave it alone: this process ends first."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        self._close_sockets()
        if self._lane.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._lane)
            self._lane.close()
        if self._channel is None:
            self._sock.close()
        else:
            await self._channel.close()

    def _close_sockets(self) -> None:
        """Those of addresses that are not ours."""
        for left in self._sockets.values():
            left.close()

    # --- what it asks

    async def _follow(self, gateway: Gateway) -> None:
        while self._channel is not None and (message := await self._channel.hear()) is not None:
            self._answer(gateway, message)
        for asking in self._asking.values():
            asking.cancel()
        if self._asking:
            await asyncio.wait(self._asking.values())
        try:
            await gateway.bury(sorted(self._held))
        except PenstockError:
            log.exception("what the process before this one left open could not be settled; the next start will")
        log.info("the process before this one has ended", extra={"left_open": len(self._held)})
        self.ended.set()

    def _answer(self, gateway: Gateway, message: Message) -> None:
        if isinstance(message, Ask):
            asking = asyncio.create_task(self._hold(gateway, message))
            self._asking[message.attempt_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(message.attempt_id, None))
        elif isinstance(message, More):
            fits = gateway.treasury.top_up(message.attempt_id, message.payer, message.cost)
            self._tell(Topped(message.attempt_id, message.cost if fits else Cost(0, 0)))
        elif isinstance(message, Settled):
            self._held.discard(message.attempt_id)
            gateway.treasury.settle(message.attempt_id, message.payer, message.at, message.cost)
        elif isinstance(message, Withdrawn):
            self._withdraw(gateway, message.attempt_id)

    async def _hold(self, gateway: Gateway, ask: Ask) -> None:
        try:
            at = await gateway.treasury.hold(ask.attempt_id, ask.payer, ask.cost, ask.wait_s)
        except BudgetExceeded as error:
            self._tell(Refused(ask.attempt_id, error.public, error.refused_by, error.retry_after_s))
        else:
            self._held.add(ask.attempt_id)
            self._tell(Held(ask.attempt_id, at))

    def _withdraw(self, gateway: Gateway, attempt_id: str) -> None:
        asking = self._asking.get(attempt_id)
        if asking is not None:
            asking.cancel()
        elif attempt_id in self._held:
            self._held.discard(attempt_id)
            gateway.treasury.settle(attempt_id, Payer(), gateway.clock.now(), Cost(0, 0))

    def _tell(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.tell(message)
