"""What accounts hold at providers that tell it, and how far that falls otherwise than our ledger charges there.

Each account is asked every ``providers.NAME.balance.every``, away from every request, for the balance in the currency
of its bills. The drift is that between the first balance of a day and the last one; it begins anew with the day, and
with whatever was paid in, of which nobody tells us how much it was.

Of several nodes only the one that leads asks, and tells: a provider sees one asker, and there is one drift. A provider
that is away, slow or talks rubbish is said once; what it said before is dropped after three intervals. A ledger that
cannot be asked hides the drift alone.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from penstock.config.settings import ProviderSettings, Settings
from penstock.core.reconcile import Balance, BalanceChange, Charged, Charges, sum_in
from penstock.core.windows import span_at
from penstock.errors import BadAnswer, PenstockError
from penstock.ports.clock import Clock
from penstock.ports.leases import Leader

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
OLD: Final = 3
"""Intervals without an answer, after which the last one is no more told."""
_NOTHING: Final = Charged(0, 0)

Ask = Callable[[ProviderSettings], Awaitable[Sequence[Balance]]]
Charge = Callable[[str, float, float, str], Awaitable[Sequence[Charges]]]
"""As ``AuditStore.charges``."""


@dataclass(slots=True)
class Account:
    """What is known of one."""

    provider: ProviderSettings
    last: Balance | None = None
    """What it held when it was last asked."""
    drift: float | None = None
    """As ``BalanceChange.drift_ratio`` since ``first``; None = unknown."""
    first: Balance | None = None
    next_at: float = -inf
    """When it is asked again, monotonic."""
    told_at: float = 0.0
    """When it last answered, monotonic."""
    fails: bool = False


class Balances:
    """Asks whom it is time to ask."""

    def __init__(
        self,
        clock: Clock,
        settings: Callable[[], Settings],
        ask: Ask,
        charges: Charge | None,
        leader: Leader | None = None,
    ) -> None:
        """``ask``: raises UpstreamError. ``charges``: raises StoreError; None = no drift is known.

        ``leader``: None = there are no other nodes.
        """
        self._clock, self._settings = clock, settings
        self._ask, self._charges = ask, charges
        self._leader = leader
        self._accounts: dict[str, Account] = {}

    async def look(self) -> None:
        """Ask those whose time has come, one after the other. What fails is logged, not raised."""
        polled = [each for each in self._settings().providers.values() if each.balance_every_s]
        if polled and self._leader is not None and not await self._leader.lead():
            polled = []
        self._accounts = {each.name: self._account(each) for each in polled}
        for account in self._accounts.values():
            await self._look_at(account)

    def accounts(self) -> Collection[Account]:
        """Those that are asked, by this node."""
        return self._accounts.values()

    def _account(self, provider: ProviderSettings) -> Account:
        """The one that is known, unless a reload made another of it."""
        known = self._accounts.get(provider.name)
        return known if known is not None and known.provider == provider else Account(provider)

    async def _look_at(self, account: Account) -> None:
        every_s, now = account.provider.balance_every_s, self._clock.monotonic()
        if now >= account.next_at:
            account.next_at = now + every_s
            await self._poll(account)
        if self._clock.monotonic() >= account.told_at + OLD * every_s:
            account.last = account.first = account.drift = None

    async def _poll(self, account: Account) -> None:
        name = account.provider.name
        try:
            await self._measure(account, await self._balance(account.provider))
        except PenstockError as error:
            if not account.fails:
                said = {"provider": name, "why": error.public}
                log.warning("an account cannot be looked after; it is tried again", extra=said)
            account.fails = True
            return
        if account.fails:
            log.info("an account can be looked after again", extra={"provider": name})
        account.fails = False

    async def _balance(self, provider: ProviderSettings) -> Balance:
        """In the currency of its bills: another purse of the account is nothing to us. Raises UpstreamError."""
        for balance in await self._ask(provider):
            if balance.currency == provider.currency:
                return balance
        raise BadAnswer(f"{provider.name} tells no balance in {provider.currency}, which is its `currency`")

    async def _measure(self, account: Account, now: Balance) -> None:
        """Take the balance, and hold it against the ledger. Raises StoreError."""
        before, first = account.last, account.first
        account.last, account.told_at, account.drift = now, self._clock.monotonic(), None
        rose = before is not None and BalanceChange(before, now, _NOTHING).rose
        day = span_at("day", self._settings().alerts.zone, now.at)
        if first is None or rose or not day.start <= first.at < now.at:
            account.first = now
        else:
            account.drift = await self._drift(account.provider, first, now)

    async def _drift(self, provider: ProviderSettings, first: Balance, now: Balance) -> float | None:
        if self._charges is None:
            return None
        charges, settings = await self._charges(provider.name, first.at, now.at, provider.billed_at), self._settings()
        try:
            charged = sum_in(charges, now.currency, settings.currency, settings.fx)
        except ValueError:  # charged in a currency that has no rate any more
            return None
        return BalanceChange(first, now, charged).drift_ratio
