"""As much of a gateway as the admin plane and ``serve`` need: real settings, stores, keys and metrics, no pipeline."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from penstock.background.balances import Balances
from penstock.background.today import Today
from penstock.clock import SystemClock, SystemRng, TimeIds
from penstock.config.budget_records import budgets_in_force
from penstock.config.load import load
from penstock.config.prices import load_book
from penstock.config.settings import Address, DeploymentSettings, ProviderSettings, Secret, Settings
from penstock.core.offer import Offer
from penstock.core.reconcile import Balance
from penstock.core.routing import Plan
from penstock.errors import ConfigError
from penstock.observe.metrics import Metrics
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.first import FirstName, Firsts, end
from penstock.pipeline.fleet import Fleet
from penstock.pipeline.gate import Gate
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.known import Known, restore_firsts
from penstock.pipeline.treasury import Moved, Treasury
from penstock.ports.clock import Clock, Ids
from penstock.ports.results import StoredResult
from penstock.ports.stores import Stores
from penstock.stores.open import open_stores
from tests.support.kinds import KINDS

PEPPER = b"a pepper of at least thirty-two bytes"


class Standing:
    """What outlives a reload."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self.gate = Gate(clock, settings.limits)
        self.fleet = Fleet(clock, SystemRng(), settings.limits)
        self.firsts: Firsts = {}


async def _ask_nobody(_provider: ProviderSettings) -> Sequence[Balance]:
    """No account is looked after."""
    return ()


class SmallGateway:
    """Satisfies ``server.gateway.Gateway``."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self.settings = settings
        self.stores = stores
        self.clock: Clock = SystemClock()
        self.ids: Ids = TimeIds(self.clock.now)
        self.metrics = Metrics(settings)
        self.pepper = PEPPER
        self.book = load_book()
        self.offers: Mapping[str, Offer] = {}
        self.keyring = KeyRing(PEPPER, settings.keys)
        self.standing = Standing(self.clock, settings)
        self.treasury = Treasury(self.clock, stores.ledger, settings.currency, self.metrics.budget_alert)
        self.today = Today(self.clock, stores.reader, lambda: self.settings.alerts.zone)
        self.balances = Balances(self.clock, lambda: self.settings, _ask_nobody, None)
        self.refuses: list[str] = []
        self.closed = False
        self.buried: Sequence[str] | None = None
        self.unburied: list[Exception] = []
        """What the next burials fail with."""
        self.adopted = asyncio.Event()

    def preview(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """All deployments, as in the config."""
        return Plan(exchange.model.deployments)

    async def start(self, moved: Moved | None = None) -> None:
        """Read the keys and the budgets."""
        if moved is not None:
            self.treasury.take_over(moved)
        await self.refresh_keys(always=True)
        await self.refresh_budgets(always=True)

    async def bury(self, held: Sequence[str]) -> None:
        """There is nothing to settle."""
        if self.unburied:
            raise self.unburied.pop(0)
        self.buried = held

    def known(self) -> Known:
        """The first requests alone."""
        return Known(firsts=[(name, first.body_digest) for name, first in self.standing.firsts.items()])

    def inherit(self, known: Known) -> None:
        """Likewise."""
        restore_firsts(self.standing.firsts, known.firsts)

    def end_first(self, name: FirstName, result: StoredResult | None) -> None:
        """Its repeats are told."""
        end(self.standing.firsts, name, self.standing.firsts.get(name), result)

    async def refresh_keys(self, *, always: bool = False) -> None:
        """Read the keys."""
        version = await self.stores.keys.version()
        if always or version != self.keyring.version:
            self.keyring.load(await self.stores.keys.list(), version)

    async def refresh_budgets(self, *, always: bool = False) -> None:
        """Read the budgets."""
        if always:
            await self.treasury.adopt(budgets_in_force(self.settings, await self.stores.budgets.list()))

    async def refresh_answers(self) -> None:
        """Nobody else purges."""

    def follow_reloads(self, reread: Callable[[], Awaitable[object]]) -> None:
        """Nobody else reloads."""

    async def tell_reload(self) -> None:
        """Nobody listens."""

    async def reload(self, load: Callable[[], Settings]) -> tuple[Settings, Sequence[str]]:
        """Take the settings, unless told to refuse them."""
        settings = load()
        if self.refuses:
            raise ConfigError(self.refuses)
        self.settings = settings
        self.adopted.set()
        return settings, ["server"]

    async def close(self) -> None:
        """Close the stores."""
        await self.stores.close()
        self.closed = True


def small_settings(token: str | None = None) -> Settings:
    """The built-in settings, on ephemeral ports, in memory."""
    settings = load(None, {}, registry=KINDS)
    server = replace(
        settings.server,
        listen=Address("127.0.0.1", 0),
        admin_listen=Address("127.0.0.1", 0),
        admin_token=None if token is None else Secret(token),
        drain_s=0.3,
    )
    return replace(settings, server=server, store="memory:")


async def small_gateway(settings: Settings) -> SmallGateway:
    """Open, not started."""
    stores = await open_stores(
        settings.store,
        Path(),
        max_answer_bytes=1_000_000,
        sync="normal",
        on_lost=lambda _rows, _reason: None,
        clock=SystemClock(),
    )
    return SmallGateway(settings, stores)
