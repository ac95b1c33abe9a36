"""``/admin/fleet``: every deployment and the gateway as they do now; ``/admin/plan``: how a request would be routed."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.config.settings import DeploymentSettings, ModelSettings, Settings
from penstock.core.fleet_report import DeploymentRow, FleetReport, FleetTotal, rates, shortened
from penstock.core.recent import Sums
from penstock.core.routing import Placed, explain
from penstock.errors import BadRequest, ModelForbidden, UnknownModel
from penstock.pipeline.exchange import ANONYMOUS, Exchange, Principal
from penstock.pipeline.fleet import MemberState
from penstock.server.documents import check_parameters, document
from penstock.server.gateway import Gateway
from penstock.server.head import DIALECTS, read_asked

PLAN_PARAMETERS: Final = ("model", "key", "user", "region", "address", "session", "tags", "dialect")
_HEADERS: Final = {"region": b"x-penstock-region", "session": b"x-penstock-session", "tags": b"x-penstock-tags"}
"""The parameters that requests say in their head."""


class FleetApi:
    """The routes that tell of the fleet."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/admin/fleet", self.fleet), Route("/admin/plan", self.plan)]

    async def fleet(self, request: Request) -> Response:
        """Every deployment of the config, and in ``total`` the gateway. What ``penstock top`` shows."""
        check_parameters(request.query_params, ())
        return document(fleet_report(self._gateway))

    async def plan(self, request: Request) -> Response:
        """The plan that a request like this would get now, and why the others are not in it. Nobody's turn is taken.

        What the prompt decides (``balance: prefix``) and the ladder of budgets have no part in it.
        """
        exchange = self._exchange(request.query_params)
        model = exchange.model
        deployments = {each.id: each for each in model.deployments}
        rows = [self._planned(each, deployments[each.id]) for each in explain(self._gateway.preview(exchange))]
        total = {"model": model.name, "balance": model.balance, "regions": model.regions}
        return document({"rows": rows, "total": total})

    def _planned(self, placed: Placed, deployment: DeploymentSettings) -> dict[str, object]:
        state = self._gateway.standing.fleet.state(deployment)
        return {
            "place": placed.place,
            "deployment": placed.id,
            "region": placed.region,
            "region_rank": placed.tier.rank,
            "priority": deployment.priority,
            "weight": deployment.weight,
            "state": state.state,
            "in_flight": state.in_flight,
            "limit": state.limit,
            "latency_s": shortened(state.latency_s),
            "reason": placed.reason,
        }

    def _exchange(self, wanted: Mapping[str, str]) -> Exchange:
        """One that never runs. Raises BadRequest, UnknownModel, ModelForbidden."""
        check_parameters(wanted, PLAN_PARAMETERS)
        dialect, address = wanted.get("dialect", "chat"), wanted.get("address", "")
        if dialect not in DIALECTS.values():
            known = ", ".join(dict.fromkeys(DIALECTS.values()))
            raise BadRequest(f"there is no dialect {dialect[:64]!r}: use {known}", param="dialect")
        given = {header: wanted[name].encode() for name, header in _HEADERS.items() if name in wanted}
        asked = read_asked(dialect, given)
        asked.address = _checked_address(address)
        clock = self._gateway.clock
        exchange = Exchange("plan", asked, _no_body, clock.now(), clock.monotonic())
        exchange.principal = principal = self._principal(wanted.get("key"))
        exchange.requested = exchange.model = self._model(wanted.get("model"), principal)
        exchange.user = wanted.get("user", "")
        return exchange

    def _principal(self, name: str | None) -> Principal:
        if name is None or name == ANONYMOUS.name:
            return ANONYMOUS
        principal = self._gateway.keyring.named(name, self._gateway.clock.now())
        if principal is None:
            raise BadRequest(f"there is no live key {name[:64]!r}", param="key")
        return principal

    def _model(self, name: str | None, principal: Principal) -> ModelSettings:
        models = self._gateway.settings.models
        if not name:
            raise BadRequest(f"say which model: ?model= one of {', '.join(models)}", param="model")
        if name not in models:
            raise UnknownModel(f"unknown model {name[:200]!r}: use one of {', '.join(models)}", param="model")
        if principal.models and name not in principal.models:
            raise ModelForbidden(f"key {principal.name!r} may not use model {name!r}", param="model")
        return models[name]


class Configured(NamedTuple):
    """A deployment of the config, and the models that it serves, aliases left out."""

    deployment: DeploymentSettings
    models: list[str]


def configured(settings: Settings) -> dict[str, Configured]:
    """Every deployment of the config by its id, in its order."""
    found: dict[str, Configured] = {}
    for model in settings.models.values():
        for each in () if model.alias_of else model.deployments:
            found.setdefault(each.id, Configured(each, [])).models.append(model.name)
    return found


def fleet_report(gateway: Gateway) -> FleetReport:
    """The fleet as it does now."""
    settings, metrics, standing = gateway.settings, gateway.metrics, gateway.standing
    seconds, done = metrics.recent(gateway.clock.monotonic())
    total = FleetTotal(
        active=metrics.active,
        serving=standing.gate.active,
        limit=standing.gate.limit,
        waiting=standing.gate.waiting + standing.fleet.waiting,
        waiting_for_deployments=standing.fleet.waiting,
        shed=metrics.sheds(),
        last=rates(done, seconds, settings.currency),
    )
    every = sum(done.calls.values())
    rows = tuple(
        _row(each, standing.fleet.state(each.deployment), done, every) for each in configured(settings).values()
    )
    return FleetReport(rows=rows, total=total)


def _row(configured: Configured, state: MemberState, done: Sums, every: int) -> DeploymentRow:
    """``every``: the calls to all deployments."""
    deployment = configured.deployment
    calls = done.calls.get(deployment.id, 0)
    return DeploymentRow(
        deployment=deployment.id,
        provider=deployment.provider.name,
        models=tuple(configured.models),
        region=deployment.region,
        state=state.state,
        in_flight=state.in_flight,
        limit=state.limit,
        latency_s=shortened(state.latency_s),
        usual_s=shortened(state.usual_s),
        back_in_s=shortened(state.back_in_s),
        calls=calls,
        failures=done.failures.get(deployment.id, 0),
        share=shortened(calls / every) if every else None,
    )


def _checked_address(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise BadRequest(f"{text[:64]!r} is no address of a caller", param="address") from None


async def _no_body() -> bytes:
    return b""
