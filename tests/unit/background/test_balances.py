"""What accounts hold, asked again and again of a scripted provider, and held against what the ledger charged."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from penstock.background.balances import LOOK_S, Account, Balances
from penstock.background.ticker import Ticker
from penstock.clock import LoopClock
from penstock.config.settings import ProviderSettings, Settings
from penstock.core.reconcile import Balance, Charges
from penstock.errors import StoreError
from penstock.providers.ask import TIMEOUT_S
from penstock.providers.balance import ask_balance
from penstock.providers.scripted import Scripted
from tests.support.configs import built_in

pytestmark = pytest.mark.looptime

UNIT = 10**9
EVERY_S = 600.0
NOON = 1_795_017_600.0 + 12 * 3600
"""In Shanghai, 2026-11-19."""


class Bank:
    """A provider that tells what it is told to, a ledger that charged ``charged`` whatever the span, and who asks."""

    def __init__(self, at: float = NOON, **changes: Any) -> None:
        self.clock = LoopClock(at)
        self.upstream = Scripted(self.clock)
        self.settings: Settings = built_in({"DEEPSEEK_API_KEY": "sk-x"})
        self.set(**changes)
        self.charged: Sequence[Charges] | StoreError = []
        self.asked: list[tuple[str, float, float, str]] = []
        self.leads = True
        self.balances = Balances(self.clock, lambda: self.settings, self._ask, self._charges, self)

    def set(self, **changes: Any) -> None:
        """Change the provider's settings; by default it is asked every ten minutes, and bills in CNY."""
        before = self.settings.providers["deepseek"]
        provider = replace(before, **{"balance_every_s": EVERY_S, "currency": "CNY", **changes})
        self.settings = replace(self.settings, providers={provider.name: provider})

    def charges(self, units: float) -> None:
        """So much, in CNY."""
        nano = int(units * UNIT)
        self.charged = [Charges(0, "deepseek/m", "CNY", 1, 1, nano, nano, 0, 0, 0)]

    def tells(self, total: str, **others: str) -> None:
        """Its next answer: in CNY, and in other currencies."""
        told = {"CNY": total, **others}
        self.upstream.json(
            {
                "is_available": True,
                "balance_infos": [
                    {"currency": name, "total_balance": each, "granted_balance": "0", "topped_up_balance": each}
                    for name, each in told.items()
                ],
            }
        )

    async def poll(self) -> None:
        """Look, and let the time go by until it is asked again."""
        before = self.clock.monotonic()
        await self.balances.look()
        await self.clock.sleep(EVERY_S - (self.clock.monotonic() - before))

    @property
    def account(self) -> Account:
        """The only one."""
        (account,) = self.balances.accounts()
        return account

    @property
    def held(self) -> float | None:
        """What it tells of it, in units."""
        return None if self.account.last is None else self.account.last.total_nano / UNIT

    async def lead(self) -> bool:
        """The port Leader."""
        return self.leads

    async def _ask(self, provider: ProviderSettings) -> Sequence[Balance]:
        return await ask_balance(self.upstream, provider, "/user/balance", self.clock)

    async def _charges(self, provider: str, since: float, until: float, billed_at: str) -> Sequence[Charges]:
        self.asked.append((provider, since, until, billed_at))
        if isinstance(self.charged, StoreError):
            raise self.charged
        return self.charged


# --- the balance


async def test_the_purse_of_its_bills_is_told() -> None:
    """Another is none of ours: what is told has the currency of the config, whatever the provider answers."""
    bank = Bank()
    bank.tells("110.00", USD="-0.25")
    await bank.poll()
    assert bank.account.last is not None
    assert (bank.account.last.currency, bank.held) == ("CNY", 110)
    assert bank.upstream.calls[0].call.url.endswith("/user/balance")


async def test_it_is_asked_as_often_as_said() -> None:
    """At once, and then every ten minutes, however often somebody looks."""
    bank = Bank()
    for _ in range(7):
        bank.tells("110.00")
    ticker = Ticker(bank.clock, LOOK_S, bank.balances.look, "balances")
    ticker.start()
    await bank.clock.sleep(3600.0)
    await ticker.stop()
    assert len(bank.upstream.calls) == 6


async def test_who_is_not_asked_tells_nothing() -> None:
    """Nor who is no more asked, after a reload."""
    bank = Bank(balance_every_s=0.0, balance_low=Decimal(5))
    await bank.poll()
    assert (len(bank.balances.accounts()), bank.upstream.calls) == (0, [])
    bank.set()
    bank.tells("1")
    await bank.poll()
    assert bank.held == 1
    bank.set(balance_every_s=0.0)
    await bank.poll()
    assert len(bank.balances.accounts()) == 0


async def test_another_account_under_the_same_name_begins_anew() -> None:
    """What the one held is nothing to compare with what the other holds; it is asked at once."""
    bank = Bank()
    bank.tells("100")
    bank.tells("20")
    await bank.balances.look()
    bank.set(base_urls={"chat": "https://api.example"})
    await bank.balances.look()
    assert (bank.held, bank.account.drift, bank.asked) == (20, None, [])


async def test_only_the_node_that_leads_asks_and_tells() -> None:
    """Who leads no more forgets: another tells it by then."""
    bank = Bank()
    bank.tells("100")
    bank.tells("90")
    await bank.poll()
    bank.leads = False
    await bank.poll()
    assert (len(bank.balances.accounts()), len(bank.upstream.calls)) == (0, 1)
    bank.leads = True
    await bank.poll()
    assert (bank.held, bank.account.drift) == (90, None)


# --- what goes wrong


def rubbish(upstream: Scripted) -> None:
    """Ten megabytes of it."""
    upstream.raw(*[b"x" * 16_384] * 640)


FAULTS: dict[str, Callable[[Scripted], object]] = {
    "refuses": lambda upstream: upstream.refuse(),
    "breaks": lambda upstream: upstream.reset(),
    "is silent": lambda upstream: upstream.hang(),
    "begins, and is silent": lambda upstream: upstream.hang("first_byte"),
    "is overloaded": lambda upstream: upstream.fail(503),
    "does not know the key": lambda upstream: upstream.fail(401, "no key sk-x"),
    "has no such page": lambda upstream: upstream.raw(b"<html>", status=404),
    "talks rubbish": rubbish,
    "tells no balance": lambda upstream: upstream.json({"balance_infos": []}),
    "tells another currency": lambda upstream: upstream.json(
        {"balance_infos": [{"currency": "USD", "total_balance": "1"}]}
    ),
    "tells too much": lambda upstream: upstream.json(
        {"balance_infos": [{"currency": "CNY", "total_balance": "9e999999999"}]}
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_a_provider_does_is_said_once(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """Over a day: in two lines, that it fails and that it is well again, never with the key. Nothing is raised."""
    caplog.set_level(logging.INFO)
    bank = Bank()
    FAULTS[fault](bank.upstream)
    bank.upstream.times(144)
    bank.tells("50")
    for _ in range(145):
        await bank.poll()
    assert bank.held == 50
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "sk-x" not in str([record.__dict__ for record in caplog.records])
    assert bank.upstream.open == 0


async def test_a_silent_provider_holds_nobody_up_for_long() -> None:
    """A question has half a minute in all, and what rubbish is too much is not read."""
    bank = Bank()
    bank.upstream.hang()
    before = bank.clock.monotonic()
    await bank.balances.look()
    assert bank.clock.monotonic() - before == pytest.approx(TIMEOUT_S)
    rubbish(bank.upstream)
    await bank.clock.sleep(EVERY_S)
    await bank.balances.look()
    assert [each.ended for each in bank.upstream.calls] == ["left", "closed"]


async def test_what_was_told_long_ago_is_dropped() -> None:
    """One failure changes nothing; after three intervals nothing is told."""
    bank = Bank()
    bank.tells("100")
    bank.upstream.fail(503).times(3)
    bank.tells("50")
    held = []
    for _ in range(5):
        await bank.poll()
        held.append(bank.held)
    assert held == [100, 100, 100, None, 50]
    assert bank.account.drift is None


async def test_a_store_that_is_away_hides_the_drift_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The balance is told all the same; it is said once, and once that it is back."""
    caplog.set_level(logging.INFO)
    bank = Bank()
    for total in ("100", "90", "80", "70"):
        bank.tells(total)
    bank.charged = StoreError("away")
    for _ in range(3):
        await bank.poll()
    assert (bank.held, bank.account.drift) == (80, None)
    bank.charges(30)
    await bank.poll()
    assert (bank.held, bank.account.drift) == (70, 0.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_it_can_be_ended_at_any_time() -> None:
    """While it waits for an answer, as the gateway does when it closes."""
    bank = Bank()
    bank.upstream.hang()
    ticker = Ticker(bank.clock, LOOK_S, bank.balances.look, "balances")
    ticker.start()
    await bank.clock.sleep(LOOK_S + 1)
    await ticker.stop()
    assert bank.upstream.open == 0
    assert len(asyncio.all_tasks()) == 1


# --- the drift


async def test_the_drift_is_of_the_day_so_far() -> None:
    """From the first balance on, by the instant that decides the provider's tariffs: it fell by 11, 10 were charged."""
    bank = Bank(billed_at="start")
    for total in ("100", "94", "89"):
        bank.tells(total)
    bank.charges(10)
    await bank.poll()
    assert bank.account.drift is None
    await bank.poll()
    await bank.poll()
    assert bank.account.drift == 0.1
    assert bank.asked == [
        ("deepseek", NOON, NOON + EVERY_S, "start"),
        ("deepseek", NOON, NOON + 2 * EVERY_S, "start"),
    ]


async def test_a_top_up_begins_it_anew() -> None:
    """Nobody tells how much was paid in, so nothing is known until it was asked again."""
    bank = Bank()
    for total in ("100", "90", "190", "180"):
        bank.tells(total)
    bank.charges(10)
    drifts = []
    for _ in range(4):
        await bank.poll()
        drifts.append(bank.account.drift)
    assert drifts == [None, 0.0, None, 0.0]
    assert bank.asked[-1][1:3] == (NOON + 2 * EVERY_S, NOON + 3 * EVERY_S)


async def test_a_new_day_begins_it_anew() -> None:
    """In the zone of the alerts: at its midnight, and at no other."""
    bank = Bank(NOON + 12 * 3600 - EVERY_S)
    for total in ("100", "90", "80"):
        bank.tells(total)
    bank.charges(10)
    await bank.poll()
    await bank.poll()
    assert (bank.account.drift, bank.asked) == (None, [])
    await bank.poll()
    assert (bank.account.drift, bank.asked[0][1]) == (0.0, NOON + 12 * 3600)


async def test_somebody_else_on_the_account_is_a_drift() -> None:
    """Though nothing was charged; what is rounded is none."""
    bank = Bank()
    for total in ("100", "99.99", "40"):
        bank.tells(total)
    drifts = []
    for _ in range(3):
        await bank.poll()
        drifts.append(bank.account.drift)
    assert drifts == [None, 0.01, 60.0]


async def test_a_ledger_that_cannot_tell_has_no_drift() -> None:
    """It is in memory, or was charged in a currency that has no rate any more."""
    bank = Bank(currency="EUR")
    bank.settings = replace(bank.settings, currency="USD", fx={})
    bank.charges(1)
    bank.upstream.json({"balance_infos": [{"currency": "EUR", "total_balance": "9"}]}).times(4)
    await bank.poll()
    await bank.poll()
    assert (bank.held, bank.account.drift, len(bank.asked)) == (9, None, 1)
    forgetting = Balances(bank.clock, lambda: bank.settings, bank._ask, None)  # noqa: SLF001 - of this file
    await forgetting.look()
    await bank.clock.sleep(EVERY_S)
    await forgetting.look()
    assert [account.drift for account in forgetting.accounts()] == [None]
