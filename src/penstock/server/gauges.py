"""The metrics that are read at the scrape: the stores, the slots, the fleet."""

from collections import Counter
from collections.abc import Callable, Mapping

from penstock.core.breaker import State
from penstock.core.recent import per_s
from penstock.pipeline.fleet import MemberState
from penstock.server.fleet_api import configured
from penstock.server.gateway import Gateway


def watch(gateway: Gateway) -> None:
    """Have them read whenever somebody scrapes."""
    metrics, stores, standing = gateway.metrics, gateway.stores, gateway.standing
    gate, fleet = standing.gate, standing.fleet
    metrics.watch("penstock_cache_entries", ("exact",), lambda: stores.answers.stats()[0])
    metrics.watch("penstock_cache_bytes", ("exact",), lambda: stores.answers.stats()[1])
    metrics.watch("penstock_ledger_healthy", (), lambda: float(stores.ledger.healthy))
    if stores.spooled_bytes is not None:
        metrics.watch("penstock_ledger_spooled_bytes", (), stores.spooled_bytes)
    metrics.watch("penstock_keys_age_seconds", (), lambda: gateway.keyring.age_s(gateway.clock.monotonic()))
    metrics.watch("penstock_queue_depth", (), lambda: gate.waiting + fleet.waiting)
    metrics.watch("penstock_concurrency_limit", (), lambda: gate.limit)
    metrics.watch("penstock_requests_per_second", (), lambda: _requests_per_s(gateway))
    metrics.watch_all("penstock_shed_total", lambda: _labelled(Counter(gate.shed) + Counter(fleet.shed)))
    _watch_deployments(gateway, "penstock_deployment_up", lambda state: state.state == State.CLOSED)
    _watch_deployments(gateway, "penstock_deployment_in_flight", lambda state: state.in_flight)
    _watch_deployments(gateway, "penstock_deployment_limit", lambda state: state.limit)
    _watch_deployments(gateway, "penstock_deployment_first_byte_seconds", lambda state: state.first_byte_s)
    metrics.watch_all("penstock_model_up", lambda: _models_up(gateway))
    metrics.watch_all("penstock_capacity_requests_per_second", lambda: _capacity(gateway))


def _watch_deployments(gateway: Gateway, name: str, value: Callable[[MemberState], float | None]) -> None:
    """One for every deployment of the config, whatever it is by then; None = no value now."""

    def read() -> dict[tuple[str, ...], float]:
        fleet = gateway.standing.fleet
        found = {id_: value(fleet.state(each.deployment)) for id_, each in configured(gateway.settings).items()}
        return {(id_,): float(each) for id_, each in found.items() if each is not None}

    gateway.metrics.watch_all(name, read)


def _models_up(gateway: Gateway) -> dict[tuple[str, ...], float]:
    up: dict[tuple[str, ...], float] = {}
    for each in configured(gateway.settings).values():
        well = gateway.standing.fleet.state(each.deployment).state == State.CLOSED
        up.update({(model,): max(float(well), up.get((model,), 0.0)) for model in each.models})
    return up


def _capacity(gateway: Gateway) -> dict[tuple[str, ...], float]:
    found = {
        "configured": gateway.settings.limits.capacity_per_s,
        "learned": gateway.standing.gate.capacity_per_s(gateway.clock.monotonic()),
    }
    return {(source,): each for source, each in found.items() if each is not None}


def _requests_per_s(gateway: Gateway) -> float:
    seconds, done = gateway.metrics.recent(gateway.clock.monotonic())
    return per_s(done.requests, seconds)


def _labelled(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): count for name, count in counts.items()}
