"""What the admin plane and ``serve`` need of a running gateway."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from penstock.background.balances import Account
from penstock.config.settings import DeploymentSettings, Settings
from penstock.core.budget import Budget
from penstock.core.budget_report import BudgetStanding
from penstock.core.offer import Offer
from penstock.core.pricebook import PriceBook
from penstock.core.routing import Plan
from penstock.observe.metrics import Metrics
from penstock.pipeline.exchange import Exchange, Principal
from penstock.pipeline.fleet import MemberState
from penstock.ports.clock import Clock, Ids
from penstock.ports.ledger import Billed
from penstock.ports.stores import Stores


class Doors(Protocol):
    """Who is let in."""

    open: bool
    """No key exists anywhere."""

    def age_s(self, now: float) -> float:
        """How long ago the keys were the store's for sure."""
        ...

    def named(self, name: str, now: float) -> Principal | None:
        """Who holds the live key of that name or id; None = there is none."""
        ...


class Places(Protocol):
    """What requests wait for."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        ...

    @property
    def shed(self) -> Mapping[str, int]:
        """How many were sent away, by why."""
        ...


class Slots(Places, Protocol):
    """The gateway's slots."""

    @property
    def active(self) -> int:
        """How many are taken."""
        ...

    @property
    def limit(self) -> int:
        """How many there are now."""
        ...

    def capacity_per_s(self, now: float) -> float | None:
        """Requests per second that it can take, as far as it has learned."""
        ...


class Deployments(Places, Protocol):
    """The fleet."""

    def state(self, deployment: DeploymentSettings) -> MemberState:
        """A deployment as it does now, planned or not."""
        ...


class Standing(Protocol):
    """What outlives a reload."""

    @property
    def gate(self) -> Slots:
        """The gateway's slots."""
        ...

    @property
    def fleet(self) -> Deployments:
        """Every deployment."""
        ...


class Budgets(Protocol):
    """The budgets in force."""

    @property
    def budgets(self) -> Sequence[Budget]:
        """All of them."""
        ...

    def fullest(self) -> Iterator[tuple[str, float] | None]:
        """Each budget's name and what is used of its fullest account, step by step."""
        ...

    def standings(self) -> Sequence[BudgetStanding]:
        """Every account of the windows that are open."""
        ...


class Day(Protocol):
    """The ledger's current day."""

    def billed(self) -> Billed | None:
        """What providers billed for it, as last summed up; None = it was not yet."""
        ...


class Accounts(Protocol):
    """The accounts at providers."""

    def accounts(self) -> Collection[Account]:
        """Those that this node asks."""
        ...


class Gateway(Protocol):
    """A running gateway."""

    settings: Settings
    stores: Stores
    metrics: Metrics
    clock: Clock
    ids: Ids
    pepper: bytes
    book: PriceBook

    @property
    def offers(self) -> Mapping[str, Offer]:
        """Of our centres, by provider."""
        ...

    @property
    def keyring(self) -> Doors:
        """The keys this process knows."""
        ...

    @property
    def standing(self) -> Standing:
        """What outlives a reload."""
        ...

    @property
    def treasury(self) -> Budgets:
        """The budgets in force, and what is spent and held of them."""
        ...

    @property
    def today(self) -> Day:
        """The ledger's current day."""
        ...

    @property
    def balances(self) -> Accounts:
        """What accounts hold."""
        ...

    def preview(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The plan that an exchange would get now; it is nobody's turn."""
        ...

    async def start(self) -> None:
        """Read the keys and start the background loops."""
        ...

    async def refresh_keys(self, *, always: bool = False) -> None:
        """Take over what changed in the key store."""
        ...

    async def refresh_answers(self) -> None:
        """Forget what was purged; when this returns, other nodes have heard of it."""
        ...

    def follow_reloads(self, reread: Callable[[], Awaitable[object]]) -> None:
        """``reread``: to be called when another node was told to read its config anew."""
        ...

    async def tell_reload(self) -> None:
        """Let all other nodes read their config anew. Raises StoreError."""
        ...

    async def refresh_budgets(self, *, always: bool = False) -> None:
        """Take over what changed in the budget store."""
        ...

    async def reload(self, load: Callable[[], Settings]) -> tuple[Settings, Sequence[str]]:
        """Serve by new settings; these, and the names of those that need a restart.

        Raises ConfigError, and nothing changed.
        """
        ...

    async def close(self) -> None:
        """Flush the ledger and close everything."""
        ...
