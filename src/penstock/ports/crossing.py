"""Answers that cross from node to node while they are made."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Literal, Protocol

import msgspec

from penstock.errors import PenstockError
from penstock.ports.answers import StoredAnswer
from penstock.wire.sse import Event


class CrossingEnd(msgspec.Struct, frozen=True):
    """How a flight ended, for those who followed it on other nodes."""

    answer: StoredAnswer | None = None
    error: PenstockError | None = None


class Crossing(Protocol):
    """A flight that this node leads, and that others may follow. Never raises, never blocks: sends behind.

    Nothing is sent while nobody follows. It is renewed until it is ended.
    """

    leads: Literal[True]
    generation: int
    """How often leadership was handed on before."""
    heed: Callable[[int], object]
    """Called with 1 when somebody on another node begins to follow, with -1 when they cease."""
    behind: bool
    """Whether the store of all nodes may have an answer that was not found here."""

    @property
    def followers(self) -> int:
        """How many on other nodes wait for it, as far as is known."""
        ...

    def publish(self, event: Event, served_by: str) -> None:
        """One more event of its stream. Early ones are kept for those who come later, up to a bound."""
        ...

    def end(self, answer: StoredAnswer | None, error: PenstockError | None, *, store: bool) -> None:
        """Nothing more will come. ``store``: who asks later gets the answer too."""
        ...


class Following(Protocol):
    """A flight that another node leads. Close it whatever happens."""

    leads: Literal[False]
    generation: int
    served_by: str
    """``provider/model``; "" until it is known."""

    def batches(self) -> AsyncIterator[Sequence[Event]]:
        """The events of its stream from the first on, until it has ended."""
        ...

    async def end(self) -> CrossingEnd:
        """How it ended. A leader that fell silent is an Unreachable; one that outgrew its bounds as well."""
        ...

    def close(self) -> None:
        """Follow no more."""
        ...


class SharedAnswers(Protocol):
    """Finished answers and flights, for all nodes, in one round trip to ask and one to tell.

    Fails open: when nobody answers in time, everything is a miss and every node leads for itself.
    """

    async def get(self, key: bytes, *, stored_after: float = 0.0) -> StoredAnswer | None:
        """The answer, unless it expired, was purged, or was stored before then (epoch seconds)."""
        ...

    async def ask(
        self, key: bytes, *, stored_after: float = 0.0, look: bool = True, generation: int = 0
    ) -> StoredAnswer | Crossing | Following:
        """The answer, or the flight to follow, or the right to lead one, which must then be ended.

        ``look``: False leads whatever there is. ``generation``: of a flight in the place of one that failed.
        """
        ...

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> None:
        """As AnswerCache's; every node is told. Raises SharedUnavailable."""
        ...

    async def look_behind(self, last_end: Callable[[float], Awaitable[float]]) -> None:
        """Await it each second: so it is known what need not be looked for in the store.

        ``last_end``: until when what was stored there before then is good at most, epoch seconds. Raises
        SharedUnavailable, StoreError.
        """
        ...
