"""The centres of an edge, each followed by loops of its own. Without one nothing runs here."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock.background.sync import LOOK_S, Edge, Sync
from penstock.background.ticker import Ticker
from penstock.config.settings import ProviderSettings
from penstock.ports.centres import Centre


class _Followed(NamedTuple):
    provider: ProviderSettings
    sync: Sync
    tickers: tuple[Ticker, ...]


class Centres:
    """Follows those that the config names."""

    def __init__(self, edge: Edge, reader: Callable[[ProviderSettings], Centre]) -> None:
        """``reader``: how a centre is asked."""
        self._edge = edge
        self._reader = reader
        self._followed: dict[str, _Followed] = {}
        self._started = False

    async def start(self, providers: Mapping[str, ProviderSettings]) -> None:
        """Follow these; returns when each has been heard, or could not be."""
        self._started = True
        await self.follow(providers)

    async def follow(self, providers: Mapping[str, ProviderSettings]) -> None:
        """These from now on, once it is started."""
        if not self._started:
            return
        wanted = {name: each for name, each in providers.items() if each.charged_elsewhere}
        for name, followed in tuple(self._followed.items()):
            if wanted.get(name) != followed.provider:
                await self._leave(name)
        for name, provider in wanted.items():
            if name not in self._followed:
                await self._begin(name, provider)

    async def stop(self) -> None:
        """None any more."""
        self._started = False
        for name in tuple(self._followed):
            await self._leave(name)

    def up(self) -> dict[tuple[str, ...], float]:
        """Each by its name: 1 while it is heard, 0 while it is not."""
        return {(name,): float(followed.sync.up) for name, followed in self._followed.items()}

    async def _begin(self, name: str, provider: ProviderSettings) -> None:
        sync = Sync(name, self._reader(provider), self._edge, provider.sync_s)
        await sync.begin()
        looks = Ticker(self._edge.clock, LOOK_S, sync.look, f"hear what {name} purged")
        pulls = Ticker(self._edge.clock, LOOK_S, sync.pull, f"follow {name}")
        self._followed[name] = _Followed(provider, sync, (looks, pulls))
        for ticker in (looks, pulls):
            ticker.start()

    async def _leave(self, name: str) -> None:
        for ticker in self._followed.pop(name).tickers:
            await ticker.stop()
