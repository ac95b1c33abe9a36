"""An answer on its way to one asker, that identical askers may share."""

import asyncio
from typing import Protocol

from penstock.core.usage import Usage
from penstock.errors import ClientGone, Origin, PenstockError, Retry, UpstreamError
from penstock.ports.answers import StoredAnswer
from penstock.wire.sse import Event


class Leader(Protocol):
    """What those who follow need of the exchange that makes the call."""

    served_by: str
    usage: Usage
    estimated: bool

    @property
    def paid_by(self) -> str:
        """The id of the attempt that its answer is of; "" = none was made."""
        ...

    def answer(self) -> bytes | None:
        """The whole answer, once it is finished."""
        ...

    def join(self) -> None:
        """One more waits for the answer."""
        ...

    def part(self) -> None:
        """One less does: stop, if nobody waits any more."""
        ...


class Flight:
    """The leader publishes events; followers read them from the start, whenever they came, and wait for more.

    ``generation`` counts how often leadership was handed on after a failure.
    """

    __slots__ = ("_waiters", "ended", "error", "events", "found", "generation", "leader")

    def __init__(self, leader: Leader, generation: int = 0) -> None:
        """``leader``: the exchange that makes the call."""
        self.leader = leader
        self.generation = generation
        self.events: list[Event] = []
        self.ended = False
        self.error: PenstockError | None = None
        self.found: StoredAnswer | None = None
        """It was stored somewhere all the time: to be served as such."""
        self._waiters: list[asyncio.Future[None]] = []

    def publish(self, event: Event) -> None:
        """One more event for those who follow."""
        if self.found is not None:
            return
        self.events.append(Event(event.raw, event.data, event.name))  # without what was decoded of it
        if self._waiters:
            self._wake()

    def find(self, answer: StoredAnswer) -> None:
        """No call is made: there is an answer."""
        self.found = answer
        self._wake()

    def end(self, error: PenstockError | None) -> None:
        """Nothing more will come."""
        self.ended = True
        self.error = error
        if self._waiters:
            self._wake()

    async def change(self) -> None:
        """Return when something was published or it ended."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def is_handed_on(error: PenstockError | None, generation: int) -> bool:
    """Whether a follower takes over: once, and not for an error that another call cannot cure."""
    if generation or error is None:
        return False
    if isinstance(error, UpstreamError):
        return error.retry is Retry.ANYWHERE
    return error.origin is Origin.CLIENT or isinstance(error, ClientGone)


def shared(error: PenstockError) -> PenstockError:
    """The leader's error as its followers' own; a leader that left is no fault of theirs."""
    if isinstance(error, ClientGone):
        return UpstreamError("the request this one was joined to was given up: try again")
    return error
