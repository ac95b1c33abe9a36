"""Where callers are, and in which order the regions of a model are tried for them. Outlives a reload.

A caller says its region itself (``x-penstock-region``), or its key or its network does. A region that was out comes
back only after it has been well for a while; until its breakers are closed single requests find out whether it is. A
measured order changes only for a clear gain that lasts; a region of unknown latency gets a stream now and then.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from penstock.config.settings import DeploymentSettings, ModelSettings, RegionSettings
from penstock.core.regions import WELL_FOR_S, MeasuredOrder, Networks, Recovery, rank_regions
from penstock.core.routing import Tier
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.fleet import Fleet
from penstock.ports.clock import Clock

EXPLORE_S: Final = 10.0
"""How often a region whose latency is not known is asked first, where the quickest counts."""

TierOf = Callable[[DeploymentSettings], Tier]


class Geography:
    """The regions of callers and of models."""

    def __init__(self, clock: Clock, fleet: Fleet, settings: RegionSettings, *, well_for_s: float = WELL_FOR_S) -> None:
        """``well_for_s``: how long a region that was out has to be well before it is failed back to."""
        self._clock = clock
        self._fleet = fleet
        self._well_for_s = well_for_s
        self._recoveries: dict[str, Recovery] = {}
        self._orders: dict[tuple[str, tuple[str, ...]], MeasuredOrder] = {}
        self._explored: dict[tuple[str, str], float] = {}
        """When a region of a model was asked last only to learn its latency."""
        self.adopt(settings)

    def adopt(self, settings: RegionSettings) -> None:
        """Go by these from now on."""
        self._keys = settings.keys
        self._networks = Networks(settings.networks)

    def region_of(self, exchange: Exchange) -> str:
        """Where its caller is; "" = nobody knows."""
        asked, principal = exchange.asked, exchange.principal
        by_key = self._keys.get(principal.name, "") or self._keys.get(principal.edge, "")
        return asked.region or by_key or self._networks.region(asked.address)

    def tiers(self, model: ModelSettings, exchange: Exchange, *, planned: bool = True) -> TierOf | None:
        """Which of its deployments come first for this caller; None = all are alike. ``planned``: it is going there."""
        if model.regions == "any":
            return _by_priority if any(each.priority for each in model.deployments) else None
        now = self._clock.monotonic()
        regions = tuple(dict.fromkeys(each.region for each in model.deployments))
        own = self.region_of(exchange) if model.regions == "caller" else ""
        order: Sequence[str] = () if model.regions == "caller" else regions
        if model.regions == "latency":
            order = self._measured(model, regions, now, exploring=planned and exchange.wants_stream)
        held = self._held(model, regions, now)
        ranks = rank_regions(regions, order, own, held)
        asked = rank_regions(regions, order, own) if held else ranks

        def tier(deployment: DeploymentSettings) -> Tier:
            of = asked if held and self._is_asked_again(deployment) else ranks
            return Tier(of[deployment.region], deployment.priority)

        return tier

    def _is_asked_again(self, deployment: DeploymentSettings) -> bool:
        """Whether one request is to find out if it is back: without one its region would never be."""
        return self._fleet.is_up(deployment) and not self._fleet.is_well(deployment)

    def _held(self, model: ModelSettings, regions: Sequence[str], now: float) -> frozenset[str]:
        """The regions that are not failed back to yet."""
        recovery = self._recoveries.setdefault(model.alias_of or model.name, Recovery(self._well_for_s))
        for region in regions:
            up = any(self._fleet.is_well(each) for each in model.deployments if each.region == region)
            recovery.see(region, up=up, now=now)
        return recovery.held(now)

    def _measured(
        self, model: ModelSettings, regions: tuple[str, ...], now: float, *, exploring: bool
    ) -> Sequence[str]:
        name = model.alias_of or model.name
        order = self._orders.setdefault((name, regions), MeasuredOrder(regions))
        latencies_s = {region: self._latency_s(region, model.deployments) for region in regions}
        measured = order.update(latencies_s, now)
        for region in measured[1:] if exploring else ():
            if latencies_s[region] is None and now - self._explored.get((name, region), -inf) >= EXPLORE_S:
                self._explored[name, region] = now
                return region, *measured
        return measured

    def _latency_s(self, region: str, deployments: Sequence[DeploymentSettings]) -> float | None:
        """That of its quickest deployment."""
        known = [self._fleet.load(each).latency_s for each in deployments if each.region == region]
        return min((latency_s for latency_s in known if latency_s is not None), default=None)


def _by_priority(deployment: DeploymentSettings) -> Tier:
    return Tier(0, deployment.priority)
