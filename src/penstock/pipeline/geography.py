"""Where callers are, and in which order the regions of a model are tried for them. Outlives a reload.

A caller says its region itself (``x-penstock-region``), or its key or its network does. A region that was out comes
back only after it has been well for a while, and a measured order changes only for a clear gain that lasts.
"""

from collections.abc import Callable, Sequence

from penstock.config.settings import DeploymentSettings, ModelSettings, RegionSettings
from penstock.core.regions import MeasuredOrder, Networks, Recovery, rank_regions
from penstock.core.routing import Tier
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.fleet import Fleet
from penstock.ports import Clock

TierOf = Callable[[DeploymentSettings], Tier]


class Geography:
    """The regions of callers and of models."""

    def __init__(self, clock: Clock, fleet: Fleet, settings: RegionSettings) -> None:
        self._clock = clock
        self._fleet = fleet
        self._recoveries: dict[str, Recovery] = {}
        self._orders: dict[tuple[str, tuple[str, ...]], MeasuredOrder] = {}
        self.adopt(settings)

    def adopt(self, settings: RegionSettings) -> None:
        """Go by these from now on."""
        self._keys = settings.keys
        self._networks = Networks(settings.networks)

    def region_of(self, exchange: Exchange) -> str:
        """Where its caller is; "" = nobody knows."""
        asked = exchange.asked
        return asked.region or self._keys.get(exchange.principal.name, "") or self._networks.region(asked.address)

    def tiers(self, model: ModelSettings, exchange: Exchange) -> TierOf | None:
        """Which of its deployments come first for this caller; None = all are alike."""
        if model.regions == "any":
            return _by_priority if any(each.priority for each in model.deployments) else None
        now = self._clock.monotonic()
        regions = tuple(dict.fromkeys(each.region for each in model.deployments))
        own = self.region_of(exchange) if model.regions == "caller" else ""
        order: Sequence[str] = () if model.regions == "caller" else regions
        if model.regions == "latency":
            order = self._measured(model.name, regions, model.deployments, now)
        ranks = rank_regions(regions, order, own, self._held(model, regions, now))
        return lambda deployment: Tier(ranks[deployment.region], deployment.priority)

    def _held(self, model: ModelSettings, regions: Sequence[str], now: float) -> frozenset[str]:
        """The regions that are not failed back to yet."""
        recovery = self._recoveries.setdefault(model.name, Recovery())
        for region in regions:
            up = any(self._fleet.is_up(each) for each in model.deployments if each.region == region)
            recovery.see(region, up=up, now=now)
        return recovery.held(now)

    def _measured(
        self, name: str, regions: tuple[str, ...], deployments: Sequence[DeploymentSettings], now: float
    ) -> Sequence[str]:
        order = self._orders.setdefault((name, regions), MeasuredOrder(regions))
        return order.update({region: self._latency_s(region, deployments) for region in regions}, now)

    def _latency_s(self, region: str, deployments: Sequence[DeploymentSettings]) -> float | None:
        """That of its quickest deployment."""
        known = [self._fleet.load(each).latency_s for each in deployments if each.region == region]
        return min((latency_s for latency_s in known if latency_s is not None), default=None)


def _by_priority(deployment: DeploymentSettings) -> Tier:
    return Tier(0, deployment.priority)
