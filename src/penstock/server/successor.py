"""A process that takes over from this one: started, tried, and only then trusted with the addresses and the bank.

Fails safe: as long as it does not serve, this process does, and says why in its log.
"""

import asyncio
import logging
import socket
import subprocess
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, TypeVar

from penstock.core.budget import Payer
from penstock.errors import BudgetExceeded, Draining, PenstockError
from penstock.pipeline.first import FirstName, Firsts
from penstock.pipeline.known import Known
from penstock.pipeline.treasury import Cost, Moved, MovedError
from penstock.ports.clock import Clock
from penstock.ports.results import StoredResult
from penstock.server import succession
from penstock.server.listener import Listener

log = logging.getLogger(__name__)

INHERIT: Final = "--inherit"
"""The option of ``penstock serve`` by which a successor is told its socket."""
READY_WITHIN_S: Final = 60.0
"""How long it may read its config and open the store."""
SERVING_WITHIN_S: Final = 10.0
ADMIN_DRAIN_S: Final = 5.0
"""How long requests to the admin plane may take to end before it is handed over."""

T = TypeVar("T")


class SuccessorLostError(Draining):
    """The bank has ended with the successor, and this process drains."""

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")


class Heir:
    """The bank, once it is the successor's."""

    def __init__(self, channel: succession.Channel) -> None:
        self._channel = channel
        self._asked: dict[str, asyncio.Future[float]] = {}
        self._more: dict[str, Cost | None] = {}
        """What more is held and not used yet; None = it was asked for."""
        self._lost: type[Exception] | None = None
        self._early: list[succession.Message] | None = []

    def open(self, moved: Moved) -> None:
        """Give it the bank, and say what was to be said since it left ours."""
        early, self._early = self._early or [], None
        for message in (succession.Go(moved), *early):
            self._channel.tell(message)

    def begin(self, known: Known, firsts: Firsts) -> None:
        """Let it serve, by what is known here, and say what comes of ``firsts``."""
        self._tell(succession.Begin(known))
        for name, first in firsts.items():
            first.result.add_done_callback(partial(self._end_first, name))

    def _end_first(self, name: FirstName, result: asyncio.Future[StoredResult | None]) -> None:
        self._tell(succession.Ended(name, None if result.cancelled() else result.result()))

    async def hold(self, attempt_id: str, payer: Payer, cost: Cost, wait_s: float) -> float:
        """As ``Treasury.hold``. Raises what ``lose`` was told, too."""
        if self._lost is not None:
            raise self._lost
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._asked[attempt_id] = answer
        self._tell(succession.Ask(attempt_id, payer, cost, wait_s))
        try:
            return await answer
        except asyncio.CancelledError:
            self._tell(succession.Withdrawn(attempt_id))
            raise
        finally:
            del self._asked[attempt_id]

    def top_up(self, attempt_id: str, payer: Payer, more: Cost) -> bool:
        """True when so much was granted since it was first asked for; else asks, once at a time."""
        if attempt_id not in self._more:
            self._more[attempt_id] = None
            self._tell(succession.More(attempt_id, payer, more))
            return False
        granted = self._more[attempt_id]
        if granted is None:
            return False
        del self._more[attempt_id]
        return granted.tokens >= more.tokens

    def settle(self, attempt_id: str, payer: Payer, at: float, cost: Cost) -> None:
        """Tell what it came to."""
        self._more.pop(attempt_id, None)
        self._tell(succession.Settled(attempt_id, payer, at, cost))

    async def listen(self) -> None:
        """Take the answers, until there are no more."""
        while (message := await self._channel.hear()) is not None:
            if isinstance(message, succession.Topped):
                self._top(message)
            elif isinstance(message, succession.Held | succession.Refused):
                self._answer(message)
        log.warning("the successor has ended: what is still under way here is served, and nothing new is spent")
        self.lose(SuccessorLostError)

    def lose(self, error: type[Exception]) -> None:
        """There is nobody to ask any more."""
        self._lost = error
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error())

    def _tell(self, message: succession.Message) -> None:
        if self._early is None:
            self._channel.tell(message)
        else:
            self._early.append(message)

    def _top(self, message: succession.Topped) -> None:
        if message.attempt_id not in self._more:
            return
        if message.cost.tokens:
            self._more[message.attempt_id] = message.cost
        else:
            del self._more[message.attempt_id]

    def _answer(self, message: succession.Held | succession.Refused) -> None:
        answer = self._asked.get(message.attempt_id)
        if answer is None or answer.done():
            return
        if isinstance(message, succession.Held):
            answer.set_result(message.at)
            return
        refused = BudgetExceeded(message.public, refused_by=message.refused_by, retry_after_s=message.retry_after_s)
        answer.set_exception(refused)


class Successor:
    """From its start until it serves."""

    def __init__(self, gateway: succession.Gateway, data: Listener, admin: Listener, command: Sequence[str]) -> None:
        """``command``: what starts it, in this directory and environment."""
        self._gateway = gateway
        self._data = data
        self._admin = admin
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: succession.Channel | None = None
        self._lane: socket.socket | None = None
        self._heir: Heir | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it is ready to take over. Raises PenstockError when it never is."""
        await self._gateway.stores.answers.withdraw()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._begin(ours, theirs)
            except OSError as error:
                ours.close()
                raise PenstockError(f"the successor could not be started: {error}") from error
        self._channel = await succession.Channel.over(ours)
        if not isinstance(await self._heard(READY_WITHIN_S), succession.Ready):
            raise PenstockError("the successor ended before it was ready; it says why itself")

    def _begin(self, ours: socket.socket, theirs: socket.socket) -> None:
        server, lock = self._gateway.settings.server, self._gateway.stores.lock
        self._lane, lane = socket.socketpair()
        self._lane.setblocking(False)
        with lane:
            files = [self._data.file, self._admin.file, lane.fileno(), *([] if lock is None else [lock.file])]
            papers = succession.Papers(str(server.listen), str(server.admin_listen), succession.LANGUAGE)
            succession.send_papers(ours, papers, files)
        ours.setblocking(False)
        command = [*self._command, INHERIT, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # noqa: S603 - our own command line

    async def take_over(self) -> None:
        """Give it the bank; return when it serves. The admin plane is closed before. Raises PenstockError."""
        gateway, channel = self._gateway, self._channel
        if channel is None:
            raise PenstockError("the successor was not started")
        gateway.stores.answers.retire()
        await gateway.treasury.ready()
        self._heir = heir = Heir(channel)
        moved = gateway.treasury.hand_over(heir)
        await gateway.stores.ledger.flush()  # what was settled before is for the ledger to tell
        heir.open(moved)
        if not isinstance(await self._heard(SERVING_WITHIN_S), succession.Serving):
            raise PenstockError("the successor ended before it served; it says why itself")
        heir.begin(gateway.known(), gateway.standing.firsts)
        self._listening = asyncio.create_task(heir.listen(), name="successor")

    def give(self, file: int) -> bool:
        """Let it have a connection; False when it does not take it now."""
        if self._lane is None:
            return False
        try:
            socket.send_fds(self._lane, [b"."], [file])
        except OSError:  # it has enough to do, or has ended
            return False
        return True

    async def give_up(self) -> None:
        """End it, and be as if it had never been. Raises OSError when the lock cannot be signed, after all the rest."""
        gateway = self._gateway
        try:
            if self._process is not None:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        finally:
            gateway.treasury.take_back()
            if self._heir is not None:
                self._heir.lose(MovedError)
            gateway.stores.answers.resume()
            await self.close()
        if gateway.stores.lock is not None:
            gateway.stores.lock.sign()

    async def close(self) -> None:
        """This process ends: which is what the end of the channel says."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._lane is not None:
            self._lane.close()
        if self._channel is not None:
            await self._channel.close()

    async def _heard(self, within_s: float) -> object:
        if self._channel is None:
            return None
        return await _within(self._gateway.clock, within_s, self._channel.hear())


async def _within(clock: Clock, seconds: float, awaitable: Awaitable[T]) -> T:
    deadline = clock.deadline()
    try:
        with deadline.until(clock.monotonic() + seconds):
            return await awaitable
    except TimeoutError:
        raise PenstockError(f"the successor has not said anything for {seconds:g} s") from None
    finally:
        deadline.close()
