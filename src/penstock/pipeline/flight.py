"""An answer on its way to one asker, that identical askers may share."""

import asyncio
from typing import Protocol

from penstock.core.records import AttemptRow
from penstock.core.usage import Usage
from penstock.errors import PenstockError
from penstock.wire.sse import Event


class Leader(Protocol):
    """What those who follow need of the exchange that makes the call."""

    served_by: str
    usage: Usage
    estimated: bool

    @property
    def paid(self) -> AttemptRow | None:
        """The attempt that its answer is of; None = none was made."""
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

    __slots__ = ("_waiters", "ended", "error", "events", "generation", "leader")

    def __init__(self, leader: Leader, generation: int = 0) -> None:
        """``leader``: the exchange that makes the call."""
        self.leader = leader
        self.generation = generation
        self.events: list[Event] = []
        self.ended = False
        self.error: PenstockError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def publish(self, event: Event) -> None:
        """One more event for those who follow."""
        self.events.append(Event(event.raw, event.data, event.name))  # without what was decoded of it
        if self._waiters:
            self._wake()

    def end(self, error: PenstockError | None) -> None:
        """Nothing more will come."""
        self.ended = True
        self.error = error
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
