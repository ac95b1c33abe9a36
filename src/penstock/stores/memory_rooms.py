"""What is lent of budgets, in the memory of one process: the rules that ``lua/*.lua`` follow, without a server.

For the lab, tests and nodes that share one process. Amounts are integers in the unit of their budget.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from penstock.core.budget import Place
from penstock.errors import EpochLost, LeaseEnded
from penstock.ports.leases import LEASE_S
from penstock.ports.lending import Beat, Lent, Return, Want

SPREAD: Final = 2
"""Of what is left nobody gets more than one part in so many for each lease, unless it needs it at once."""

LEASE_ENDED: Final = "the lease of this node has ended: what it was lent is not its own any more"


@dataclass(slots=True)
class Part:
    """What one lease has of an account."""

    lent: int = 0
    spent: int = 0


@dataclass(slots=True)
class RoomAccount:
    """One account."""

    base: int
    forget_at: float
    parts: dict[str, Part] = field(default_factory=dict)
    short_at: float = -inf

    @property
    def taken(self) -> int:
        """What nobody else can have."""
        return self.base + sum(part.lent for part in self.parts.values())

    @property
    def spent(self) -> int:
        """What leases said they spent, and who came before them did."""
        return self.base + sum(part.spent for part in self.parts.values())

    def part(self, lease: str) -> Part:
        """That of a lease, a new one where it has none."""
        return self.parts.setdefault(lease, Part())


class MemoryRooms:
    """The port Rooms."""

    def __init__(self, now: Callable[[], float], server: str = "memory") -> None:
        """``now``: seconds on any clock that all its users share; ``server``: what it is called."""
        self._now = now
        self._server = server
        self._epoch: int | None = None
        self._accounts: dict[Place, RoomAccount] = {}
        self._renewed: dict[str, float] = {}
        self._ended: set[str] = set()
        self._final: set[str] = set()

    @property
    def accounts(self) -> Mapping[Place, RoomAccount]:
        """Every account, to be read only."""
        return self._accounts

    async def server(self) -> str:
        """Its name."""
        return self._server

    async def begin(self, epoch: int, server: str) -> None:
        """Forget everything of earlier ones."""
        if server != self._server or (self._epoch is not None and self._epoch > epoch):
            raise EpochLost(self._epoch)
        if epoch != self._epoch:
            self.empty()
            self._epoch = epoch

    async def enter(self, epoch: int, lease: str) -> None:
        """A new lease."""
        self._guard(epoch)
        if lease in self._final:
            raise LeaseEnded(LEASE_ENDED)
        self._renewed[lease] = self._now()

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Of all of them, or of none."""
        self._guard(epoch, lease)
        granted = [self._may_have(want) for want in wants]
        fits = None not in granted
        return [
            self._lend(lease, want.place, amount if fits and amount else 0)
            for want, amount in zip(wants, granted, strict=True)
        ]

    async def give_back(self, epoch: int, lease: str, returns: Sequence[Return]) -> Sequence[int]:
        """Book what is spent, take what comes back."""
        self._guard(epoch, lease)
        return [self._take_back(lease, each) for each in returns]

    async def renew(self, epoch: int, lease: str, returns: Sequence[Return]) -> Beat:
        """As ``give_back``; and who is silent, and where somebody is short."""
        parts = await self.give_back(epoch, lease, returns)
        now, before = self._now(), self._renewed[lease]
        self._renewed[lease] = now
        self._forget(now)
        short = [
            place for place, account in self._accounts.items() if account.short_at >= before and lease in account.parts
        ]
        silent = [each for each, at in self._renewed.items() if at < now - LEASE_S]
        return Beat(short, silent, parts, sorted(self._ended))

    async def set_account(
        self, epoch: int, place: Place, base: int, spent: Mapping[str, int], forget_in_s: float
    ) -> bool:
        """The first one counts."""
        self._guard(epoch)
        if place in self._accounts:
            return True
        if any(lease not in self._renewed for lease in spent):
            return False
        parts = {lease: Part(amount, amount) for lease, amount in spent.items()}
        self._accounts[place] = RoomAccount(base, self._now() + forget_in_s, parts)
        return True

    async def set_lease(self, epoch: int, lease: str, spent: Mapping[Place, int], *, final: bool) -> None:
        """What it has is what it spent; for good, if it is final."""
        self._guard(epoch)
        if lease in self._final:
            return
        self._renewed.pop(lease, None)
        for place, account in self._accounts.items():
            if account.parts.pop(lease, None) is None:
                continue  # it was made after the end, and what was spent is in its base
            amount = spent.get(place, 0)
            if final:
                account.base += amount
            elif amount:
                account.parts[lease] = Part(amount, amount)
        self._ended.add(lease)
        if final:
            self._ended.discard(lease)
            self._final.add(lease)

    def empty(self) -> None:
        """All is lost, as by FLUSHALL."""
        self._epoch = None
        self._accounts.clear()
        self._renewed.clear()
        self._ended.clear()
        self._final.clear()

    # --- the rules

    def _guard(self, epoch: int, lease: str | None = None) -> None:
        if epoch != self._epoch:
            raise EpochLost(self._epoch)
        if lease is not None and lease not in self._renewed:
            raise LeaseEnded(LEASE_ENDED)

    def _may_have(self, want: Want) -> int | None:
        """How much of one account; None = not even the least, or it is not known."""
        account = self._accounts.get(want.place)
        if account is None:
            return None
        left = max(0, want.limit - account.taken)
        if left < want.least:
            account.short_at = self._now()
            return None
        return max(want.least, min(want.want, left // (SPREAD * len(self._renewed))))

    def _lend(self, lease: str, place: Place, amount: int) -> Lent:
        account = self._accounts.get(place)
        if account is None:
            return Lent(known=False)
        if amount:
            account.part(lease).lent += amount
        part = account.parts.get(lease) or Part()
        return Lent(True, amount, part.lent, account.taken, account.spent)

    def _take_back(self, lease: str, told: Return) -> int:
        account = self._accounts.get(told.place)
        if account is None:
            return 0
        part = account.part(lease)
        part.spent = max(part.spent, told.spent)
        part.lent = max(part.lent - told.back, part.spent)
        return part.lent

    def _forget(self, now: float) -> None:
        for place in [place for place, account in self._accounts.items() if account.forget_at <= now]:
            del self._accounts[place]
