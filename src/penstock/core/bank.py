"""The accounts of budgets and the holds on them: what is posted, what is pending, and what still fits.

A hold is an upper bound of what one attempt may cost, pending on every account it falls under until it is settled
(what was billed is posted) or released. Each attempt ends once: a second settlement changes nothing. All amounts are
integers in the unit of their budget. On every account of a hard budget

    posted + pending <= limit

holds whatever comes, except by what providers billed beyond their hold (an overrun) and where a limit was lowered.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from penstock.core.budget import Place


class Claim(NamedTuple):
    """What a hold wants of one account. ``limit`` is that account's, now; a soft one never stands in the way.

    Of an account that is shared with other nodes ``limit`` is what they have not spent, and ``part`` what this node was
    lent of it; None = it is not shared.
    """

    place: Place
    amount: int
    limit: int
    hard: bool = True
    part: int | None = None

    @property
    def most(self) -> int:
        """What may be posted and pending here."""
        return self.limit if self.part is None else min(self.limit, self.part)


class Fit(Enum):
    """Whether claims fit."""

    NOW = "now"
    LATER = "later"
    """Into what is posted, but not beside what is pending, or lent to others: when that ends, they may fit."""
    NEVER = "never"
    """Not in this window, whatever the holds come to."""


class Account:
    """The sums of one account."""

    __slots__ = ("pending", "posted")

    def __init__(self) -> None:
        self.posted = 0
        self.pending = 0

    @property
    def used(self) -> int:
        """Posted and pending together."""
        return self.posted + self.pending


class Bank:
    """All accounts of one process, and the holds that are open."""

    def __init__(self) -> None:
        self._accounts: dict[Place, Account] = {}
        self._holds: dict[str, dict[Place, int]] = {}
        self._changed: dict[Place, None] = {}

    # --- questions

    def account(self, place: Place) -> Account:
        """The sums of an account, to be read only; zeros where nothing was ever spent."""
        return self._accounts.get(place) or Account()

    def accounts(self) -> Mapping[Place, Account]:
        """Every account that something was ever booked on."""
        return self._accounts

    def holds(self) -> Mapping[str, Mapping[Place, int]]:
        """The open holds by attempt id: what each has pending where."""
        return self._holds

    def fit(self, claims: Iterable[Claim]) -> tuple[Fit, Claim | None]:
        """Whether all claims fit, and the first that stands in the way most."""
        worst: tuple[Fit, Claim | None] = (Fit.NOW, None)
        for claim in claims:
            account = self.account(claim.place)
            if not claim.hard or account.used + claim.amount <= claim.most:
                continue
            if account.posted + claim.amount > claim.limit:
                return Fit.NEVER, claim
            if worst[1] is None:
                worst = Fit.LATER, claim
        return worst

    def changed(self) -> Iterable[Place]:
        """The accounts that something was booked on since this was asked last, in order; some may be forgotten."""
        changed, self._changed = self._changed, {}
        return changed

    # --- changes

    def hold(self, attempt_id: str, claims: Iterable[Claim]) -> None:
        """Open a hold, empty where no budget applies. The caller has asked ``fit`` at the same instant."""
        if attempt_id in self._holds:
            raise ValueError(f"{attempt_id} is held already")
        self._holds[attempt_id] = {}
        self.top_up(attempt_id, claims)

    def top_up(self, attempt_id: str, claims: Iterable[Claim]) -> None:
        """Hold more for an attempt. Raises KeyError when it has ended."""
        held = self._holds[attempt_id]
        for claim in claims:
            held[claim.place] = held.get(claim.place, 0) + claim.amount
            self._open(claim.place).pending += claim.amount

    def settle(self, attempt_id: str, billed: Mapping[Place, int]) -> bool | None:
        """End an attempt: what was held is free, what was billed is posted, also where nothing was held for it.

        True when it was billed more than was held somewhere; None when it had ended before: then nothing changes.
        """
        held = self._holds.pop(attempt_id, None)
        if held is None:
            return None
        for place, amount in held.items():
            self._open(place).pending -= amount
        over = False
        for place, amount in billed.items():
            self.post(place, amount)
            over = over or amount > held.get(place, amount)
        return over

    def release(self, attempt_id: str) -> None:
        """End an attempt that cost nothing, such as one that was never dispatched."""
        self.settle(attempt_id, {})

    def post(self, place: Place, amount: int) -> None:
        """Book what the ledger says was spent."""
        if amount:
            self._open(place).posted += amount

    def forget(self, budget: str | None = None, *, before: float | None = None) -> None:
        """Drop the accounts of one budget, or those of windows that began before an instant; what is held stays.

        Of a budget that is dropped as a whole nothing stays posted: should it come back, the ledger tells.
        """
        held = {place for hold in self._holds.values() for place in hold}
        for place in list(self._accounts):
            of_it = budget is None or place.budget == budget
            if not of_it or (before is not None and place.start >= before):
                continue
            if place not in held:
                del self._accounts[place]
                self._changed.pop(place, None)
            elif before is None:
                self._accounts[place].posted = 0

    def _open(self, place: Place) -> Account:
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = Account()
        self._changed[place] = None
        return account
