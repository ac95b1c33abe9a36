"""route: facts + policy -> plan, and a seat at its first deployment. Who cannot serve is dropped, with the reason.

Fails closed: what is sensitive is planned for private providers only. Where all that could serve are full, the request
waits in its line; where all are out, it is refused, and told until when.
"""

from collections.abc import Sequence
from copy import deepcopy

from penstock.config.settings import DeploymentSettings, ModelSettings, SensitiveSettings
from penstock.core.balance import balancer
from penstock.core.load import Asker, Balancer
from penstock.core.prefixes import prompt_prefixes
from penstock.core.routing import Plan, compile_plan
from penstock.errors import NoDeployment, NotCached
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.fleet import Fleet
from penstock.pipeline.geography import Geography
from penstock.ports.clock import Clock, Rng

Balancers = dict[tuple[str, str], Balancer]
"""Whose turn it is, by model and the name of its rule; outlives a reload."""


class Route:
    """Compiles the plan that ``attempt`` walks."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Rng,
        fleet: Fleet,
        geography: Geography,
        balancers: Balancers,
        sensitive: SensitiveSettings,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._fleet = fleet
        self._geography = geography
        self._balancers = balancers
        self._sensitive = sensitive

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises NoDeployment, Saturated; NotCached for one who wants no deployment at all."""
        if exchange.asked.directive.only_if_cached:
            raise NotCached("no stored answer for this request, and Cache-Control says only-if-cached")
        if self._fleet.has_lines and self._fleet.must_wait(self._able(exchange)):
            await self._wait(exchange)
        self._sit_alone(exchange)
        while exchange.seat is None:
            exchange.plan = plan = self.plan(exchange)
            if plan.candidates:
                exchange.seat = self._fleet.take(plan.candidates[0], plan.candidates)
                if exchange.seat is None:  # the clock went on between the two: look again, after the others
                    await self._clock.sleep(0)
            elif any(self._fleet.is_full(each) for each in self._able(exchange)):
                await self._wait(exchange)
            else:
                raise self._nobody(exchange, plan)
        return None

    def _sit_alone(self, exchange: Exchange) -> None:
        """Where there is one deployment nothing is to be ordered: who gets a seat there has its plan."""
        deployments = exchange.model.deployments
        if len(deployments) == 1 and not _mismatch(deployments[0], *self._needs(exchange)):
            exchange.plan = Plan(deployments)
            exchange.seat = self._fleet.take(deployments[0], deployments)

    def leave(self, exchange: Exchange) -> None:
        """Give the seat back, if no call was made from it."""
        if exchange.seat is not None:
            exchange.seat.release()
            exchange.seat = None

    def plan(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The order in which its deployments would be tried now. It is the balancer's next turn."""
        return self._compile(exchange, self._balancer(exchange.model), planned=True)

    def preview(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The same, and it is nobody's turn."""
        return self._compile(exchange, deepcopy(self._balancer(exchange.model)), planned=False)

    def _balancer(self, model: ModelSettings) -> Balancer:
        """That of the model; its aliases share it."""
        name = model.alias_of or model.name
        named = self._balancers.get((name, model.balance))
        if named is None:
            named = self._balancers[name, model.balance] = balancer(model.balance)
        return named

    def _compile(self, exchange: Exchange, turns: Balancer, *, planned: bool) -> Plan[DeploymentSettings]:
        model, fleet, needs = exchange.model, self._fleet, self._needs(exchange)
        tier = self._geography.tiers(model, exchange, planned=planned)

        def objection(deployment: DeploymentSettings) -> str:
            return _mismatch(deployment, *needs) or fleet.objection(deployment)

        def first(kept: Sequence[DeploymentSettings]) -> int:
            able = [each for each in model.deployments if not _mismatch(each, *needs)]
            beside = able if tier is None else [each for each in able if tier(each) == tier(kept[0])]
            return turns.pick([fleet.load(each) for each in kept], self._asker(exchange, beside))

        return compile_plan(model.deployments, objection, first, tier)

    def _able(self, exchange: Exchange) -> list[DeploymentSettings]:
        """Those that could serve it, were all of them up and idle."""
        needs = self._needs(exchange)
        return [each for each in exchange.model.deployments if not _mismatch(each, *needs)]

    def _needs(self, exchange: Exchange) -> tuple[str, bool]:
        """The dialect that it needs, and whether private providers only may see it."""
        dialect = exchange.asked.dialect
        return "messages" if dialect == "count_tokens" else dialect, is_sensitive(self._sensitive, exchange)

    def _asker(self, exchange: Exchange, beside: Sequence[DeploymentSettings]) -> Asker:
        """What its balancer goes by. ``beside``: those that share its traffic when all of them are up."""
        model = exchange.model
        if model.balance == "ip_hash":
            roster = [(each.id, each.weight) for each in beside]
            return Asker(hash_key=_hash_key(exchange, model.hash_by), roster=roster)
        if model.balance == "prefix":
            return Asker(prefixes=prompt_prefixes(exchange.asked.dialect, exchange.fields))
        return Asker(chance=self._rng.random())

    async def _wait(self, exchange: Exchange) -> None:
        """Waiting for others to end is not our work."""
        able = self._able(exchange)
        since = self._clock.monotonic()
        left_s = exchange.started + exchange.total_s - since
        try:
            await self._fleet.wait(able, exchange.principal.key_id, batch=exchange.asked.batch, most_s=left_s)
        finally:
            exchange.waited_s += self._clock.monotonic() - since

    def _nobody(self, exchange: Exchange, plan: Plan[DeploymentSettings]) -> NoDeployment:
        able = self._able(exchange)
        reasons = "; ".join(f"{dropped.id} {dropped.reason}" for dropped in plan.dropped)
        return NoDeployment(
            f"no deployment of model {exchange.model.name!r} can serve this request: {reasons}",
            retry_after_s=(self._fleet.back_in_s(able) or 0.0) if able else None,
        )


def _mismatch(deployment: DeploymentSettings, dialect: str, private: bool) -> str:  # noqa: FBT001 - as ``_needs`` says
    """Why a deployment can never serve what needs that; "" = it can."""
    if dialect not in deployment.provider.base_urls:
        return f"does not speak {dialect}"
    if private and not deployment.provider.private:
        return "is not private, and this request is sensitive"
    return ""


def is_sensitive(sensitive: SensitiveSettings, exchange: Exchange) -> bool:
    """Whether private providers only may see it: by its model, its key or its edge's, a tag, or its own word."""
    asked, principal = exchange.asked, exchange.principal
    if asked.sensitive or exchange.model.sensitive or exchange.requested.sensitive:
        return True
    if sensitive.keys and (principal.name in sensitive.keys or principal.edge in sensitive.keys):
        return True
    return bool(sensitive.tags) and any(name in sensitive.tags for name in asked.tag_names)


def _hash_key(exchange: Exchange, by: str) -> str:
    """What a caller is told apart by; a session that nobody names is its key's."""
    asked, key = exchange.asked, exchange.principal.key_id
    if by == "address":
        return asked.address
    return (asked.session or exchange.user or key) if by == "session" else key
