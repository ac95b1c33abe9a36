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


def _watch_deployments(gateway: Gateway, name: str, value: Callable[[MemberState], float]) -> None:
    """One for every deployment of the config, whatever it is by then."""

    def read() -> dict[tuple[str, ...], float]:
        fleet = gateway.standing.fleet
        return {
            (id_,): float(value(fleet.state(each.deployment))) for id_, each in configured(gateway.settings).items()
        }

    gateway.metrics.watch_all(name, read)


def _requests_per_s(gateway: Gateway) -> float:
    seconds, done = gateway.metrics.recent(gateway.clock.monotonic())
    return per_s(done.requests, seconds)


def _labelled(counts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(name,): count for name, count in counts.items()}
