"""The metrics that are read at the scrape: the stores, the slots, the fleet, budgets, prices, the day and accounts."""

from collections import Counter
from collections.abc import Iterator, Mapping

from penstock.core.breaker import State
from penstock.core.recent import per_s
from penstock.observe.counts import Labels
from penstock.observe.readings import Reading
from penstock.pipeline.fleet import MemberState
from penstock.server.fleet_api import configured
from penstock.server.gateway import Gateway
from penstock.server.money_gauges import money
from penstock.server.price_gauges import prices


def watch(gateway: Gateway) -> None:
    """Have them read whenever somebody scrapes."""
    metrics, stores, standing = gateway.metrics, gateway.stores, gateway.standing
    gate, fleet = standing.gate, standing.fleet
    metrics.watch("penstock_cache_entries", ("exact",), lambda: stores.answers.stats()[0])
    metrics.watch("penstock_cache_bytes", ("exact",), lambda: stores.answers.stats()[1])
    metrics.watch("penstock_ledger_healthy", (), lambda: float(stores.ledger.healthy))
    metrics.watch("penstock_ledger_oldest_unwritten_seconds", (), lambda: _unwritten_s(gateway))
    if stores.spooled_bytes is not None:
        metrics.watch("penstock_ledger_spooled_bytes", (), stores.spooled_bytes)
    metrics.watch("penstock_keys_age_seconds", (), lambda: gateway.keyring.age_s(gateway.clock.monotonic()))
    metrics.watch("penstock_queue_depth", (), lambda: gate.waiting + fleet.waiting)
    metrics.watch("penstock_concurrency_limit", (), lambda: gate.limit)
    metrics.watch("penstock_requests_per_second", (), lambda: _requests_per_s(gateway))
    metrics.watch_all("penstock_shed_total", lambda: _labelled(Counter(gate.shed) + Counter(fleet.shed)))
    metrics.watch_all("penstock_capacity_requests_per_second", lambda: _capacity(gateway))
    metrics.survey("the fleet", lambda: _fleet(gateway))
    metrics.survey("budgets", lambda: _budgets(gateway))
    metrics.survey("prices", lambda: prices(gateway))
    metrics.survey("money", lambda: money(gateway))


def _fleet(gateway: Gateway) -> Iterator[Reading | None]:
    """Every deployment of the config, whatever it is by then, and every model."""
    up: dict[str, bool] = {}
    for id_, each in configured(gateway.settings).items():
        state = gateway.standing.fleet.state(each.deployment)
        up.update({model: _is_up(state) or up.get(model, False) for model in each.models})
        yield from _deployment((id_,), state)
        for model in each.models:
            yield Reading("penstock_deployment_info", (model, id_), 1.0)
    for model, is_up in up.items():
        yield Reading("penstock_model_up", (model,), is_up)


def _deployment(labels: Labels, state: MemberState) -> Iterator[Reading]:
    yield Reading("penstock_deployment_up", labels, _is_up(state))
    yield Reading("penstock_deployment_in_flight", labels, state.in_flight)
    yield Reading("penstock_deployment_limit", labels, state.limit)
    if state.first_byte_s is not None:
        yield Reading("penstock_deployment_first_byte_seconds", labels, state.first_byte_s)


def _is_up(state: MemberState) -> bool:
    return state.state == State.CLOSED


def _budgets(gateway: Gateway) -> Iterator[Reading | None]:
    now = gateway.clock.now()
    for budget in gateway.treasury.budgets:
        elapsed = budget.span(now).elapsed(now)
        yield None if elapsed is None else Reading("penstock_budget_window_elapsed_ratio", (budget.name,), elapsed)
    for found in gateway.treasury.fullest():
        yield None if found is None else Reading("penstock_budget_used_ratio", found[:1], found[1])


def _capacity(gateway: Gateway) -> dict[Labels, float]:
    found = {
        "configured": gateway.settings.limits.capacity_per_s,
        "learned": gateway.standing.gate.capacity_per_s(gateway.clock.monotonic()),
    }
    return {(source,): each for source, each in found.items() if each is not None}


def _unwritten_s(gateway: Gateway) -> float:
    since = gateway.stores.unwritten_since()
    return 0.0 if since is None else max(0.0, gateway.clock.now() - since)


def _requests_per_s(gateway: Gateway) -> float:
    seconds, done = gateway.metrics.recent(gateway.clock.monotonic())
    return per_s(done.requests, seconds)


def _labelled(counts: Mapping[str, int]) -> dict[Labels, float]:
    return {(name,): count for name, count in counts.items()}
