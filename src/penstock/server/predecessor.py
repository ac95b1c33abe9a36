"""The process before this one, as its successor sees it: what it leaves us, what it still asks, and its end."""

import asyncio
import logging
import os
import socket
from typing import Final, Self

from penstock.config.settings import Address
from penstock.core.budget import Payer
from penstock.errors import BudgetExceeded, PenstockError
from penstock.pipeline.first import FirstName
from penstock.pipeline.treasury import Cost, Moved
from penstock.ports.results import StoredResult
from penstock.server import succession
from penstock.server.listener import Listener

log = logging.getLogger(__name__)

PAPERS_WITHIN_S: Final = 10.0
BURY_AGAIN_S: Final = 1.0
"""When what it left open could not be settled; doubled each time."""
BURY_AGAIN_MOST_S: Final = 30.0


class Predecessor:
    """From our start to its end."""

    def __init__(self, sock: socket.socket, papers: succession.Papers, files: list[int]) -> None:
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
        self.burial = asyncio.Lock()
        """Held while what it left open is being settled, and by whoever wants that not to be done meanwhile."""
        self._held: set[str] = set()
        self._firsts: set[FirstName] = set()
        """Those that it still answers."""
        self._adopting: set[asyncio.Task[None]] = set()
        self._begun: asyncio.Future[None] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._channel: succession.Channel | None = None

    @classmethod
    def meet(cls, file: int) -> Self:
        """Through the socket that it started us with. Raises PenstockError when it has ended, or speaks otherwise."""
        sock = socket.socket(fileno=file)
        sock.set_inheritable(False)
        sock.settimeout(PAPERS_WITHIN_S)
        try:
            papers, files = succession.receive_papers(sock)
        except (OSError, EOFError) as error:
            sock.close()
            raise PenstockError("there is no process to take over from", detail=str(error)) from error
        if papers.language != succession.LANGUAGE:
            for each in (sock.detach(), *files):
                os.close(each)
            raise PenstockError("the process to take over from is of a version that cannot hand over to this one")
        for each in files:
            os.set_inheritable(each, False)
        sock.setblocking(False)
        return cls(sock, papers, files)

    def socket_for(self, address: Address) -> socket.socket | None:
        """Its socket, if it was told to listen on this address too."""
        return self._sockets.pop(str(address), None)

    async def wait(self) -> Moved:
        """Say that we are ready, and wait for its bank. Raises PenstockError when it ends before."""
        self._channel = channel = await succession.Channel.over(self._sock)
        channel.tell(succession.Ready())
        message = await channel.hear()
        if not isinstance(message, succession.Go):
            raise PenstockError("the process to take over from has ended before it handed over")
        self._close_sockets()
        self._held = set(message.moved.holds)
        return message.moved

    async def follow(self, gateway: succession.Gateway) -> None:
        """Say that we can serve; return when we are to, which is also when it has ended without a word.

        From now on what it asks for is held for it, until it has ended; then what it has left is settled.
        """
        self._begun = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._follow(gateway), name="predecessor")
        self._tell(succession.Serving())
        await self._begun

    def take_connections(self, listener: Listener) -> None:
        """Serve those that it gives away."""
        loop = asyncio.get_running_loop()

        def take() -> None:
            while (file := self._next_connection()) is not None:
                task = loop.create_task(listener.adopt(socket.socket(fileno=file)))
                self._adopting.add(task)
                task.add_done_callback(self._adopting.discard)

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
        await _cancel(*([] if self._listening is None else [self._listening]), *self._asking.values(), *self._adopting)
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

    async def _follow(self, gateway: succession.Gateway) -> None:
        while self._channel is not None and (message := await self._channel.hear()) is not None:
            self._answer(gateway, message)
        for name in tuple(self._firsts):
            self._end_first(gateway, name, None)
        self._begin()
        await _cancel(*self._asking.values())
        await self._bury(gateway)

    async def _bury(self, gateway: succession.Gateway) -> None:
        """Settle what it has left. As long as that fails, what it held stays held, and it is tried again."""
        again_s = BURY_AGAIN_S
        while not await self._is_buried(gateway):
            self.ended.set()
            await gateway.clock.sleep(again_s)
            again_s = min(2 * again_s, BURY_AGAIN_MOST_S)
        log.info("the process before this one has ended", extra={"left_open": len(self._held)})
        self.ended.set()

    async def _is_buried(self, gateway: succession.Gateway) -> bool:
        try:
            async with self.burial:
                await gateway.bury(sorted(self._held))
        except Exception:
            log.exception("what the process before this one left open could not be settled; it is tried again")
            return False
        return True

    def _begin(self) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _end_first(self, gateway: succession.Gateway, name: FirstName, result: StoredResult | None) -> None:
        if name in self._firsts:
            self._firsts.discard(name)
            gateway.end_first(name, result)

    def _answer(self, gateway: succession.Gateway, message: succession.Message) -> None:
        if isinstance(message, succession.Ask):
            asking = asyncio.create_task(self._hold(gateway, message))
            self._asking[message.attempt_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(message.attempt_id, None))
        elif isinstance(message, succession.More):
            fits = gateway.treasury.top_up(message.attempt_id, message.payer, message.cost)
            self._tell(succession.Topped(message.attempt_id, message.cost if fits else Cost(0, 0)))
        elif isinstance(message, succession.Settled):
            self._held.discard(message.attempt_id)
            gateway.treasury.settle(message.attempt_id, message.payer, message.at, message.cost)
        elif isinstance(message, succession.Withdrawn):
            self._withdraw(gateway, message.attempt_id)
        elif isinstance(message, succession.Ended):
            self._end_first(gateway, message.first, message.result)
        elif isinstance(message, succession.Begin):
            gateway.inherit(message.known)
            self._firsts = {name for name, _ in message.known.firsts}
            self._begin()

    async def _hold(self, gateway: succession.Gateway, ask: succession.Ask) -> None:
        try:
            at = await gateway.treasury.hold(ask.attempt_id, ask.payer, ask.cost, ask.wait_s)
        except BudgetExceeded as error:
            self._tell(succession.Refused(ask.attempt_id, error.public, error.refused_by, error.retry_after_s))
        else:
            self._held.add(ask.attempt_id)
            self._tell(succession.Held(ask.attempt_id, at))

    def _withdraw(self, gateway: succession.Gateway, attempt_id: str) -> None:
        asking = self._asking.get(attempt_id)
        if asking is not None and asking.cancel():
            return
        if attempt_id in self._held:  # it may have been granted in this very turn
            self._held.discard(attempt_id)
            gateway.treasury.settle(attempt_id, Payer(), gateway.clock.now(), Cost(0, 0))

    def _tell(self, message: succession.Message) -> None:
        if self._channel is not None:
            self._channel.tell(message)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
