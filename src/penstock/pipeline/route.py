"""route: facts + policy -> plan. Every deployment that cannot serve the request is dropped with its reason."""

from collections.abc import Sequence

from penstock.config.settings import DeploymentSettings
from penstock.core.balance import SmoothWeighted
from penstock.core.routing import compile_plan
from penstock.errors import NoDeployment, NotCached
from penstock.pipeline.exchange import Exchange, Reply


class Route:
    """Compiles the plan that ``attempt`` walks."""

    def __init__(self) -> None:
        self._balancers: dict[str, SmoothWeighted] = {}

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises NoDeployment when every deployment was dropped, NotCached for one who wants none of them."""
        if exchange.asked.directive.only_if_cached:
            raise NotCached("no stored answer for this request, and Cache-Control says only-if-cached")
        model = exchange.model
        needed = "messages" if exchange.asked.dialect == "count_tokens" else exchange.asked.dialect

        def objection(deployment: DeploymentSettings) -> str:
            return "" if needed in deployment.provider.base_urls else f"does not speak {needed}"

        def first(kept: Sequence[DeploymentSettings]) -> int:
            balancer = self._balancers.setdefault(model.name, SmoothWeighted())
            weights = [deployment.weight if model.balance == "weighted" else 1 for deployment in kept]
            return balancer.pick([deployment.id for deployment in kept], weights)

        exchange.plan = plan = compile_plan(model.deployments, objection, first)
        if not plan.candidates:
            reasons = "; ".join(f"{dropped.id} {dropped.reason}" for dropped in plan.dropped)
            raise NoDeployment(f"no deployment of model {model.name!r} can serve this request: {reasons}")
        return None
