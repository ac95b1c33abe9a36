"""What nodes lend of budgets and rates, and where the loans are kept."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from penstock.core.budget import Place


class Want(NamedTuple):
    """A part of an account that a lease asks for: ``want`` where there is plenty, but not less than ``least``."""

    place: Place
    limit: int
    """That account's, now."""
    want: int
    least: int


class Lent(NamedTuple):
    """How an account stands after it was asked for a part."""

    known: bool
    """False: it was not set yet; nothing was lent of any account, and the numbers here are zeros."""
    lent: int = 0
    """Lent just now."""
    part: int = 0
    """What this lease has of it in all, whatever became of earlier answers."""
    taken: int = 0
    """``base`` and all parts: what nobody else can have now."""
    spent: int = 0
    """``base`` and what leases said they spent: this much no give-back frees."""


class Return(NamedTuple):
    """What a lease says of an account of its own."""

    place: Place
    back: int
    """Of its part, it gives so much back."""
    spent: int
    """So much of the part it has spent, in all. Beyond its part, the part grows: it is spent."""


class Beat(NamedTuple):
    """What a lease hears when it is renewed."""

    short: Sequence[Place]
    """Accounts of which it has a part, and of which somebody was refused one since it was renewed last."""
    silent: Sequence[str]
    """Leases that were not renewed for ``LEASE_S``: end them."""
    parts: Sequence[int]
    """What it has, in all, of each account that it spoke of; in their order."""
    ended: Sequence[str]
    """Leases that have ended and are not counted for good."""


class Rooms(Protocol):
    """What is lent of budgets, for all nodes (docs/adr/0014-many-nodes.md). Everything in it can be made again.

    On every account ``base + sum(parts) <= limit`` of the last who asked, but for what was spent beyond its part.
    Each call is one step that nothing comes between. All raise SharedUnavailable when nobody answers in time: then the
    step may have been taken or not, and it is never taken twice. Those that name an epoch raise EpochLost when it is
    not the one that stands, or what stands is older than what was seen of it.
    """

    async def server(self) -> str:
        """Which process, of those that may answer here, does: another one after a restart or a fail-over."""
        ...

    async def begin(self, epoch: int, server: str) -> None:
        """Everything of earlier epochs is forgotten; nothing changes where this one has begun at that server.

        For who made that epoch, once: of one that was begun and is lost again nobody could tell. Raises EpochLost when
        a later one has, or this one at another server, or another server answers now.
        """
        ...

    async def enter(self, epoch: int, lease: str) -> None:
        """A new lease, renewed now. Raises LeaseEnded when it has ended already."""
        ...

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Lend of all these accounts, or of none; in their order. Raises LeaseEnded.

        Each gets ``want``, but no more than its share of what is left, and in any case ``least``. Where one cannot
        have its ``least``, or is not known, all ``lent`` are 0.
        """
        ...

    async def give_back(self, epoch: int, lease: str, returns: Sequence[Return]) -> Sequence[int]:
        """The parts then; what was spent is never given back. Raises LeaseEnded."""
        ...

    async def renew(self, epoch: int, lease: str, returns: Sequence[Return]) -> Beat:
        """As ``give_back``, and the lease lives on. Raises LeaseEnded."""
        ...

    async def set_account(
        self, epoch: int, place: Place, base: int, spent: Mapping[str, int], forget_in_s: float
    ) -> bool:
        """Make an account: what is spent by no living lease, and what each living one has spent or holds.

        Only the first one counts. False: one of these leases has ended meanwhile, so look again what was spent.
        ``forget_in_s``: until the account is not needed any more, some time after its window; inf = never.
        """
        ...

    async def set_lease(self, epoch: int, lease: str, spent: Mapping[Place, int], *, final: bool) -> None:
        """A lease has ended: of each account of its parts it has what it spent there, nothing where nothing is said.

        ``final``: nothing that it did will come to another amount any more, so it is added to ``base``, once. To say it
        again changes nothing.
        """
        ...


PART_S: Final = 1.0
"""A part of a minute's requests or tokens must be used within so long: later it is worth nothing."""


class RateWant(NamedTuple):
    """A part of a rate that a node asks for."""

    what: str
    """``requests`` or ``tokens`` of a minute, or ``concurrency``."""
    limit: int
    want: int
    least: int


class RatePart(NamedTuple):
    """What it got: 0, or at least its ``least``; the same ends for all that were asked for together."""

    lent: int
    wait_s: float
    """0.0, or until its ``least`` may fit."""


class SharedRates(Protocol):
    """The rates of keys, for all nodes: lent in parts, so that a request takes from what its node has.

    A part of a minute is good for ``PART_S`` and then worth nothing; one of the concurrency for ``LEASE_S`` after the
    node asked for that key last, be it for nothing. Raises SharedUnavailable.
    """

    async def take(self, key_id: str, node: str, wants: Sequence[RateWant]) -> Sequence[RatePart]:
        """All of them or none."""
        ...

    async def give_back(self, key_id: str, node: str, back: Mapping[str, int]) -> None:
        """What was not used; negative: tokens that were used beyond what was taken."""
        ...
