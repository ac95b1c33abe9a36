"""Who of many processes may write: leases, the fence behind them, and the one who leads."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from penstock.core.records import AttemptRow, ExchangeRow
from penstock.ports.ledger import Posted, PostedQuery


class Lease(NamedTuple):
    """A life of a node in which it may open attempts."""

    id: int
    node: str
    begun_at: float
    """Epoch seconds, by the store's clock."""


class Epoch(NamedTuple):
    """Since when what was lent is to be believed, and by which Redis."""

    number: int
    redis_id: str
    """Of the process that it was begun on; "" = none yet."""


class Leases(Protocol):
    """Who may open attempts, where several nodes write one ledger (docs/adr/0014). Every method raises StoreError."""

    async def begin(self, node: str) -> int:
        """A new lease of ``node``, a name for people; its id."""
        ...

    async def end(self, lease: int) -> bool:
        """Let nothing be opened under it any more; False when that was so already.

        When it returns, whatever was opened under it is in the ledger.
        """
        ...

    async def alive(self) -> Sequence[Lease]:
        """Those that have not ended, oldest first."""
        ...

    async def epoch(self) -> Epoch:
        """The one that holds."""
        ...

    async def next_epoch(self, redis_id: str, expected: int) -> Epoch:
        """Begin the epoch after ``expected``, and end all leases; where others have begun one, that one."""
        ...

    async def spent(self, lease: int, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``Ledger.posted``, of the attempts of one lease; those that are open count what they hold."""
        ...

    async def base(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``spent``, of all attempts that are of no living lease."""
        ...

    async def open_of(self, lease: int) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """As ``Ledger.open_rows``, of exchanges with an attempt under this lease."""
        ...

    async def unsettled(self) -> Sequence[int]:
        """Leases that have ended with something open under them; 0 = under none at all."""
        ...


class Fence(Protocol):
    """The ledger's side of a lease."""

    lease: int
    """Under which attempts are opened; 0 = under none, and without a fence."""
    may_open_alone: Callable[[], bool]
    """Whether something may be opened while nobody can ask whether the lease lives."""
    late_openings: int
    """How much was opened so and is in the ledger since, and came there when its lease had ended."""

    @property
    def fenced(self) -> bool:
        """Whether what is opened now is asked of the server."""
        ...

    async def settled(self) -> None:
        """Return when all that was appended before is at the server. Raises StoreError."""
        ...


class Leader(Protocol):
    """Whether this node is the one that sweeps, reconciles and settles for all."""

    async def lead(self) -> bool:
        """Whether it leads now; it tries to. Never raises."""
        ...


class Signals(Protocol):
    """What other nodes changed, told at once; a signal may be lost, so the truth is polled all the same."""

    def listen(self, callback: Callable[[str], object]) -> None:
        """Call it with the topic of each: ``keys budgets purges config leases epochs``, ``*`` = any may be missing."""
        ...

    async def tell(self, topic: str) -> int:
        """Signal it to all nodes, this one too; how often it was. Raises StoreError."""
        ...

    async def told(self, topic: str) -> int:
        """How often it was told by ``tell``, by any node: cheap to poll. Raises StoreError."""
        ...


class StoreLock(Protocol):
    """What keeps other servers from a store, and is shared with a successor alone."""

    file: int
    """The descriptor that is to be inherited."""

    def sign(self) -> None:
        """Say that this process is the one that serves."""
        ...


LEASE_S: Final = 5.0
"""A lease that was not renewed for so long, by the clock of whom it is kept at, is ended by whoever sees it first."""
