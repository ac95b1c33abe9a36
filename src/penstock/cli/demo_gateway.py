"""The demo's gateway: a real one, in this process, from a config file that the ordinary loader reads.

The file and the ledger lie in the directory that is given, so that ``penstock spend -c`` can be asked about the demo
while it serves.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from penstock.compose import World, open_gateway
from penstock.config.load import load
from penstock.config.settings import DeploymentSettings, Settings
from penstock.core.usage import Usage
from penstock.gateway.gateway import Gateway
from penstock.pipeline.accounts import Accounts
from penstock.ports.ledger import SpendQuery, SpendRow
from penstock.providers.registry import KINDS
from penstock.server.admin_api import admin_app
from penstock.server.app import DataPlane
from penstock.server.health import Phase
from penstock.server.replies import row_of
from penstock.server.serve import serve

MODEL = "sim-chat"
CONFIG_FILE = "penstock.yaml"
_LOOK_S = 0.01
"""How often to see whether it listens yet."""
_CONFIG = """\
# Written by `penstock demo`; gone when it ends.
server: {{listen: "127.0.0.1:{port}", admin_listen: "127.0.0.1:{admin_port}", drain: 1s}}
store: sqlite:penstock.db
currency: CNY
providers:
  sim: {{kind: sim}}
models:
  sim-chat:
    deployments:
      - {{provider: sim, model: sim-chat}}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the ledger says of the demo."""

    requests: int
    errors: int
    cost_nano: int
    hits: int
    saved_nano: Mapping[str, int]
    """By lever."""


@dataclass(frozen=True, slots=True)
class DemoGateway:
    """A gateway that serves until ``served`` is done: a signal ended it, or it could not go on."""

    gateway: Gateway
    served: asyncio.Task[None]
    since: float

    @property
    def url(self) -> str:
        """The base URL that a client is given."""
        return f"http://{self.gateway.settings.server.listen}/v1"

    @property
    def admin_url(self) -> str:
        """Where the metrics are."""
        return f"http://{self.gateway.settings.server.admin_listen}"

    @property
    def deployment(self) -> DeploymentSettings:
        """The one that its model is served by."""
        return self.gateway.settings.models[MODEL].deployments[0]

    def price_nano(self, usage: Usage) -> int:
        """What the provider charges for a usage now: the book's prices, as for any attempt."""
        settings = self.gateway.settings
        accounts = Accounts(self.gateway.book, settings.currency, settings.fx)
        charged = accounts.charge(self.deployment, usage, self.gateway.clock.now())
        return charged[0].book_nano if charged else 0

    async def spent(self) -> Spent:
        """What the ledger has got to by now."""
        query = SpendQuery(by="lever", since=self.since, until=self.gateway.clock.now() + 1, timezone="UTC")
        groups, total = await self.gateway.stores.reader.spend(query)
        return spent_of({row.group: row for row in groups}, total)

    async def settle(self) -> None:
        """Return when every row so far is on disk."""
        await self.gateway.stores.ledger.flush()


def spent_of(levers: Mapping[str, SpendRow], total: SpendRow) -> Spent:
    """The demo's figures in what ``spend --by lever`` says: a hit is an answer that no call was made for."""
    hits = sum(row.requests for lever, row in levers.items() if lever in {"exact", "joined"})
    saved = {lever: row.saved_nano for lever, row in levers.items() if lever in {"exact", "joined"}}
    return Spent(total.requests, total.errors, total.cost_nano, hits, saved)


def demo_settings(directory: Path, port: int, admin_port: int) -> Settings:
    """The settings of the file that this writes into ``directory``. The environment has no part in them."""
    path = directory / CONFIG_FILE
    path.write_text(_CONFIG.format(port=port, admin_port=admin_port))
    return load(path, {}, registry=KINDS)


@asynccontextmanager
async def serving(settings: Settings, world: World) -> AsyncIterator[DemoGateway]:
    """The gateway as ``penstock serve`` runs it, in ``world``. Raises ListenError, StoreError."""
    gateway = await open_gateway(settings, lambda error: row_of(error).status, world)
    phase = Phase()
    planes = DataPlane(gateway), admin_app(gateway, phase, lambda: settings)
    served = asyncio.create_task(
        serve(gateway, *planes, phase=phase, load_settings=lambda: settings, banner=StringIO())
    )
    while not phase.listening and not served.done():
        await world.clock.sleep(_LOOK_S)
    if served.done():
        await served
    try:
        yield DemoGateway(gateway, served, world.clock.now())
    finally:
        if not served.done():
            signal.raise_signal(signal.SIGTERM)
        await served
